"""Makes the source distribution so that two builds give the same bytes.

    python packaging/sdist.py DIRECTORY

setuptools writes the times, owners and modes that the files happen to have. Here every
file bears the time SOURCE_DATE_EPOCH, no owner, and one of two modes, in order of name.
"""

import contextlib
import gzip
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

from setuptools import build_meta

FIRST = 1577836800  # where nobody says when: the start of 2020


def plain(entry: tarfile.TarInfo, time: int) -> tarfile.TarInfo:
    """The entry without what depends on machine and moment."""
    same = tarfile.TarInfo(entry.name)
    same.size, same.type, same.mtime = entry.size, entry.type, time
    same.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
    return same


def normalise(archive: Path, to: Path, time: int) -> None:
    """Write the archive's content anew."""
    out = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for entry in sorted(old, key=lambda entry: entry.name):
            new.addfile(plain(entry, time), old.extractfile(entry) if entry.isfile() else None)
    with to.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
        packed.write(out.getvalue())


def main(directory: str) -> None:
    """Build in the current directory, a tree of the source."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        with contextlib.redirect_stdout(io.StringIO()):
            name = build_meta.build_sdist(scratch)
        time = int(os.environ.get("SOURCE_DATE_EPOCH", FIRST))
        normalise(Path(scratch, name), target / name, time)


if __name__ == "__main__":
    main(sys.argv[1])
