"""Runs snippets in processes of their own, and tells how they ended."""

import importlib
import os
import platform
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
LINUX = sys.platform == "linux"
TRIALS = int(os.environ.get("SECALLOC_TRIALS", "40"))
"""How many times a race or an order is tried."""

HANGS = 300.0
"""Seconds after which a process is taken to hang: a busy or an emulated machine has its time."""

GUARD_FAULT = signal.SIGBUS if sys.platform == "darwin" else signal.SIGSEGV
"""What ends a process that touches an inaccessible page: KERN_PROTECTION_FAILURE is the one
on macOS, KERN_INVALID_ADDRESS the other (ux_exception.c of XNU)."""

NO_OTHER_RESERVE = {"MIMALLOC_ARENA_RESERVE": "0"}
"""A free-threaded CPython's own allocator reserves 1 GiB else, as the library does."""

linux_only = pytest.mark.skipif(not LINUX, reason="looks at /proc, which only Linux has")
x86_or_arm_linux = pytest.mark.skipif(
    not LINUX or platform.machine() not in ("x86_64", "aarch64"),
    reason="runs machine code made for Linux on x86-64 or AArch64",
)


def needs_lockable(size: int) -> pytest.MarkDecorator:
    """Skips a test where the hard limit of lockable memory, in bytes, is below that. Root may have
    more, but not of secretmem where the kernel counts it by user."""
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return pytest.mark.skipif(
        hard not in (-1, resource.RLIM_INFINITY) and hard < size,
        reason=f"needs {size >> 10} KiB of lockable memory: the hard limit is {hard >> 10} KiB",
    )


@dataclass
class Outcome:
    """The end of a child process."""

    code: int  # minus the signal that killed it, or its exit status
    marker: bytes  # what came over the lockdown descriptor
    out: str
    err: str

    @property
    def fate(self) -> tuple[int, bytes]:
        """The exit status and the marker."""
        return self.code, self.marker


def unplaced(value: object) -> str:
    """The repr without an address, so that a test has the same name in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


def run(  # noqa: PLR0913
    code: str,
    *,
    marker: bool = True,
    wrapper: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    python: Sequence[str] = (),
    timeout: float = HANGS,
) -> Outcome:
    """Run a snippet, which finds everything in crash.py imported.

    With `marker` its lockdown descriptor is a pipe that the outcome was read from.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    source = "from crash import *\n"
    if marker:
        source += f"secalloc.set_lockdown_fd({write})\n"
    source += textwrap.dedent(code)
    try:
        child = subprocess.run(  # noqa: S603
            [*wrapper, sys.executable, "-P", *python, "-c", source],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            pass_fds=[write, *pass_fds],
            env={**os.environ, "PYTHONPATH": str(TESTS), **NO_OTHER_RESERVE, **(env or {})},
            cwd=cwd or tempfile.gettempdir(),
            timeout=timeout,
            check=False,
        )
        try:
            got = os.read(read, 4096)
        except BlockingIOError:
            got = b""
    finally:
        os.close(read)
        os.close(write)
    return Outcome(child.returncode, got, child.stdout, child.stderr)


def check(code: str, **options: Any) -> str:
    """Run a snippet that must come to a good end, without a marker; its output."""
    __tracebackhide__ = True
    end = run(code, **options)
    assert end.fate == (0, b""), f"{end.fate}\n{end.out}{end.err}"
    return end.out.strip()


def dies(code: str, number: int, marker: bytes = b"F", **options: Any) -> Outcome:
    """Run a snippet that must die of exactly that signal, with exactly that marker."""
    __tracebackhide__ = True
    end = run(code, **options)
    assert end.fate == (-number, marker), f"{end.fate}\n{end.out}{end.err}"
    return end


@cache
def spy() -> str:
    """Path of the compiled tests/spy.c; skips the test where nothing compiles it."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("needs a C compiler: the observer is a native handler")
    built = Path(tempfile.mkdtemp(prefix="secalloc-spy-")) / "spy.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    command = [compiler, *flags, "-o", str(built), str(TESTS / "spy.c")]
    subprocess.run(command, check=True)  # noqa: S603
    return str(built)


def crypto(module: str) -> Any:
    """A module of the package, in a version that takes any buffer and fills one."""
    package = pytest.importorskip("cryptography", reason="cryptography is not installed")
    if int(package.__version__.split(".")[0]) < 47:
        pytest.skip(f"cryptography {package.__version__} has no *_into: needs 47 or later")
    return importlib.import_module(f"cryptography.{module}")
