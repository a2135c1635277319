"""The whole story with real processes: ``python -m secalloc demo``.

A child keeps a key in an arena and a control copy in plain bytes, hashes with
the key, and writes past its end. The parent, which got both over a socket,
reads the marker, the exit signal and the core file.
"""

import ctypes
import hashlib
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path
from typing import NamedTuple

import secalloc
from secalloc._commands.answer import print_json
from secalloc._commands.paint import has_colour, paint, width_to_fill

_SIZE = 32
_CHILD = "from secalloc._commands.demo import _child; _child()"
_FAULTS = (signal.SIGSEGV, signal.SIGBUS) if sys.platform == "darwin" else (signal.SIGSEGV,)


def _child() -> None:
    """Hold a key, tell the parent about it, and run off its end.

    Nothing here makes a copy of the key: the kernel fills the arena, and the
    socket and the hash read it in place.
    """
    channel = socket.socket(fileno=int(sys.argv[1]))
    secalloc.set_lockdown_fd(int(sys.argv[2]))
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    # By default the kernel leaves some kinds of mapping out of a core file. Here
    # it is to write all of them: the key must be absent because it was wiped and
    # kept out, not because nobody looked.
    mappings = Path("/proc/self/coredump_filter")
    if mappings.exists():
        mappings.write_text("0xff")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        key = secalloc.random(_SIZE)
    control = os.urandom(_SIZE)
    report = {
        "granted": " ".join(str(p.name) for p in secalloc.Protection if p in key.protection),
        "missing": " ".join(str(p.name) for p in secalloc.Protection if p not in key.protection),
        "why": " ".join(str(w.message) for w in caught),
        "sha256": hashlib.sha256(key).hexdigest(),
    }
    channel.sendall(key)
    channel.sendall(control)
    channel.sendall(json.dumps(report).encode())
    channel.close()

    ctypes.memset(key.address + key.size, 0, 1)
    os._exit(0)  # only if the write went through


class _Story(NamedTuple):
    """What came back from the child."""

    child: int
    key: secalloc.Arena
    control: bytes
    report: dict[str, str]
    end: int
    marker: bytes


class _Core(NamedTuple):
    """What was found in the core file."""

    size: int
    control: bool
    key: bool


class Outcome(NamedTuple):
    """What happened to the child, without any secret."""

    child: int
    report: dict[str, str]
    same: bool
    """The arena's hash was that of its bytes."""
    marker: bytes
    end: int
    core: _Core | None
    no_core: str
    """Why there is no core file; "" where there is one."""

    @property
    def died_of(self) -> str | None:
        """The name of the signal that ended the child."""
        return signal.Signals(-self.end).name if self.end < 0 else None

    @property
    def wiped(self) -> bool:
        """The marker said that every arena is wiped."""
        return self.marker == b"F"

    @property
    def fell(self) -> bool:
        """The child died of what an overrun dies of."""
        return -self.end in _FAULTS

    @property
    def well(self) -> bool:
        """All was as it should be."""
        found = self.core is None or (self.core.control and not self.core.key)
        return self.same and self.wiped and self.fell and found

    def told(self) -> dict[str, object]:
        """For programs."""
        return {
            "well": self.well,
            "granted": self.report["granted"].split(),
            "missing": self.report["missing"].split(),
            "why_missing": self.report["why"],
            "same_hash": self.same,
            "marker": self.marker.decode("ascii", "backslashreplace"),
            "signal": self.died_of,
            "core": self.core and {**self.core._asdict()},
            "why_no_core": self.no_core,
        }


def _row(name: str, text: str) -> None:
    """One fact, as wide as the terminal."""
    lead = f"  {name:<9}"
    rows = textwrap.fill(
        text,
        width_to_fill(sys.stdout),
        initial_indent=lead,
        subsequent_indent=" " * len(lead),
        break_on_hyphens=False,
    )
    print(rows.replace("FAIL", paint("FAIL", "red", on=has_colour(sys.stdout))))


def _run(directory: Path) -> _Story:
    """Run the child in `directory` to its end."""
    ours, theirs = socket.socketpair()
    listen, marker_fd = os.pipe()
    with ours, open(listen, "rb", buffering=0) as listener:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", _CHILD, str(theirs.fileno()), str(marker_fd)],
            cwd=directory,
            pass_fds=(theirs.fileno(), marker_fd),
        )
        theirs.close()
        os.close(marker_fd)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the child's report says what is missing
            key = secalloc.Arena(_SIZE)
        got = ours.recv_into(key, _SIZE, socket.MSG_WAITALL)
        with ours.makefile("rb") as rest:
            control, report = rest.read(_SIZE), rest.read()
        end = child.wait()
        marker = listener.read()
    if got != _SIZE or not report:
        raise SystemExit(f"the child failed before it could show anything: status {end}")
    return _Story(child.pid, key, control, json.loads(report), end, marker)


def _no_core() -> str:
    """Why there is no core file to search."""
    pattern = Path("/proc/sys/kernel/core_pattern")
    where = pattern.read_text().strip() if pattern.exists() else ""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        return "the hard limit on a core file's size is 0"
    if where.startswith("|"):
        return f"core_pattern sends them to {where[1:].split()[0]}"
    if "/" in where:
        return f"core_pattern puts them elsewhere: {where}"
    return "the system wrote none"


def _search(directory: Path, story: _Story) -> _Core | None:
    """Look for the key and the control copy in the core file; None: there is none.

    Each half of the key is looked for by itself, too: a vector register may have
    held one.
    """
    files = [*directory.iterdir(), *Path("/cores").glob(f"core.{story.child}")]
    if not files:
        return None
    half = _SIZE // 2
    with files[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core:
        found = _Core(
            len(core),
            core.find(story.control) >= 0,
            any(core.find(part) >= 0 for part in (story.key[:half], story.key[half:])),
        )
    files[0].unlink()  # one in /cores would stay
    return found


def _look() -> Outcome:
    """Let it happen, and look at what is left."""
    with tempfile.TemporaryDirectory(prefix="secalloc-demo-") as name:
        story = _run(Path(name))
        with story.key:
            same = story.report["sha256"] == hashlib.sha256(bytes(story.key)).hexdigest()
            core = _search(Path(name), story)
    why = "" if core else _no_core()
    return Outcome(story.child, story.report, same, story.marker, story.end, core, why)


def _show(outcome: Outcome) -> None:
    """Tell it to a person."""
    report = outcome.report
    about = "A child process keeps a key in an arena, uses it, and runs off its end."
    print(textwrap.fill(about, width_to_fill(sys.stdout)) + "\n")
    print(f"the child, process {outcome.child}")
    _row("key", f"{_SIZE} random bytes in an arena: {report['granted']}")
    if report["missing"]:
        why = textwrap.shorten(report["why"], 240, placeholder=" ...")
        _row("missing", f"{report['missing']}: not to be had on this machine. {why}")
    _row("control", f"{_SIZE} random bytes as a plain bytes object")
    verdict = "the same as of bytes" if outcome.same else "FAIL: not the same as of bytes"
    _row("sha256", f"of the arena, without a copy: {verdict}")
    _row("crash", "writes one byte past the key's end, where the guard page is")

    print("the parent")
    meaning = "every arena is wiped" if outcome.wiped else "FAIL: not b'F'"
    _row("marker", f"{outcome.marker!r} on the lockdown pipe: {meaning}")
    died = "what an overrun dies of" if outcome.fell else "FAIL: no memory fault"
    _row("exit", f"{outcome.died_of or f'status {outcome.end}'}: {died}")
    core = outcome.core
    if core is None:
        _row("core", f"none: {outcome.no_core}. This part cannot be shown on this machine.")
        return
    _row("core", f"a core file of {core.size / 2**20:.0f} MiB, with every kind of mapping")
    works = "found, so the search finds what is there"
    _row("control", works if core.control else "FAIL: not found, so the search proves nothing")
    _row("key", "FAIL: found" if core.key else "not found, nor either half of it")


def main(*, as_json: bool = False) -> int:
    """Run it, and tell what came of it; 1 if anything is not as it should be."""
    outcome = _look()
    if as_json:
        print_json(outcome.told())
    else:
        _show(outcome)
    return 0 if outcome.well else 1
