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


def _row(name: str, text: str) -> None:
    """One fact, wrapped to 80 columns."""
    lead = f"  {name:<9}"
    print(textwrap.fill(text, 79, initial_indent=lead, subsequent_indent=" " * len(lead)))


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


def _show(story: _Story) -> bool:
    """Print what happened to the child; whether it is what should have."""
    report = story.report
    print("A child process keeps a key in an arena, uses it, and runs off its end.\n")
    print(f"the child, process {story.child}")
    _row("key", f"{_SIZE} random bytes in an arena: {report['granted']}")
    if report["missing"]:
        why = textwrap.shorten(report["why"], 240, placeholder=" ...")
        _row("missing", f"{report['missing']}: not to be had on this machine. {why}")
    _row("control", f"{_SIZE} random bytes as a plain bytes object")
    same = report["sha256"] == hashlib.sha256(bytes(story.key)).hexdigest()
    verdict = "the same as of bytes" if same else "FAIL: not the same as of bytes"
    _row("sha256", f"of the arena, without a copy: {verdict}")
    _row("crash", "writes one byte past the key's end, where the guard page is")

    print("the parent")
    wiped = story.marker == b"F"
    meaning = "every arena is wiped" if wiped else "FAIL: not b'F'"
    _row("marker", f"{story.marker!r} on the lockdown pipe: {meaning}")
    died = -story.end in _FAULTS
    name = signal.Signals(-story.end).name if story.end < 0 else f"status {story.end}"
    _row("exit", f"{name}: " + ("what an overrun dies of" if died else "FAIL: no memory fault"))
    return same and wiped and died


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


def _search(directory: Path, story: _Story) -> bool:
    """Look for the key and the control copy in the core file; whether all is well.

    Each half of the key is looked for by itself, too: a vector register may have
    held one.
    """
    files = [*directory.iterdir(), *Path("/cores").glob(f"core.{story.child}")]
    if not files:
        _row("core", f"none: {_no_core()}. This part cannot be shown on this machine.")
        return True
    with files[0].open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as core:
        _row("core", f"a core file of {len(core) / 2**20:.0f} MiB, with every kind of mapping")
        seen = core.find(story.control) >= 0
        half = _SIZE // 2
        leaked = any(core.find(part) >= 0 for part in (story.key[:half], story.key[half:]))
    files[0].unlink()  # one in /cores would stay
    works = "found, so the search finds what is there"
    _row("control", works if seen else "FAIL: not found, so the search proves nothing")
    _row("key", "FAIL: found" if leaked else "not found, nor either half of it")
    return seen and not leaked


def main() -> int:
    """Run it; 1 if anything is not as it should be."""
    with tempfile.TemporaryDirectory(prefix="secalloc-demo-") as name:
        story = _run(Path(name))
        fell = _show(story)
        gone = _search(Path(name), story)
        story.key.close()
    return 0 if fell and gone else 1
