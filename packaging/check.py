"""Builds sdist and wheel twice, from copies in different places, and compares the bytes.

    python packaging/check.py DIST SCRATCH

The first wheel is built from the unpacked sdist in a venv that has setuptools and nothing
else, with no package index, and on Linux as root without any network. What git tracks must
be in the sdist, but for what only a repository needs.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
GENERATED = shutil.ignore_patterns("build", ".git", "*.egg-info", "__pycache__", ".*_cache")
OF_THE_REPOSITORY = (".github/", ".gitignore", ".editorconfig")


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """A command that must succeed."""
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)  # noqa: S603


def offline() -> list[str]:
    """A wrapper that takes the network away, where one can be had."""
    unshare = shutil.which("unshare")
    return [unshare, "-n"] if unshare and os.getuid() == 0 else []


def same(one: Path, other: Path, what: str) -> None:
    """Complain unless two files have the same name and bytes."""
    if one.name != other.name or not filecmp.cmp(one, other, shallow=False):
        sys.exit(f"two builds of the {what} differ: {one}, {other}")
    print(f"ok: {what}, {one.name}, twice the same {one.stat().st_size} bytes")


def tracked() -> set[str]:
    """What the sdist must hold."""
    git = ["git", "-C", str(TREE), "ls-files"]
    if not (TREE / ".git").exists():  # this is an unpacked sdist
        return set()
    names = subprocess.run(git, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return {name for name in names.split() if not name.startswith(OF_THE_REPOSITORY)}


def main(dist: Path, scratch: Path) -> None:
    """Leaves the sdist in `dist`."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    run(sys.executable, "-m", "venv", scratch / "venv")
    built = scratch / "venv/bin/python"
    run(built, "-m", "pip", "-q", "--disable-pip-version-check", "install", "setuptools>=77")

    sources = []
    for place in (scratch / "a", scratch / "elsewhere/b"):
        shutil.copytree(TREE, place / "tree", ignore=GENERATED)
        for file in place.rglob("*"):
            os.utime(file)
        run(built, "packaging/sdist.py", place, cwd=place / "tree")
        sources += place.glob("*.tar.gz")
    same(*sources, "sdist")

    with tarfile.open(sources[0]) as archive:
        root = archive.getnames()[0].split("/")[0]
        missing = {f"{root}/{name}" for name in tracked()} - set(archive.getnames())
        if missing:
            sys.exit(f"the sdist lacks {sorted(missing)}")
        archive.extractall(scratch / "unpacked", filter="data")

    wheels = []
    for i, place in enumerate([scratch / "unpacked" / root, scratch / "elsewhere/b/tree"]):
        out = scratch / f"wheel{i}"
        wheel = [built, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps"]
        run(*offline(), *wheel, "--no-build-isolation", "-w", out, place)
        wheels += out.glob("*.whl")
    same(*wheels, "wheel")
    run(built, "-m", "pip", "-q", "install", "--no-index", wheels[0])
    run(built, "-P", "-c", "import secalloc; secalloc.random(32).rotate()", cwd=scratch)
    dist.mkdir(parents=True, exist_ok=True)
    shutil.copy(sources[0], dist)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
