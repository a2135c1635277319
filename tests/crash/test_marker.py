"""What standard error is, to which the marker goes by default: never a file of the program's."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

PRECIOUS = b"precious"
ENDS = {
    "lockdown": ("assert secalloc.lockdown() == 1", 0),
    "tampering": (
        "import ctypes\n"
        "ctypes.memset(key.address - 1, ctypes.string_at(key.address - 1, 1)[0] ^ 255, 1)\n"
        "key.close()",
        -signal.SIGABRT,
    ),
    "crash": ("os.kill(os.getpid(), 11); time.sleep(30)", -signal.SIGSEGV),
}


def python(code: str, end: str, *args: str, stderr: int | None = None) -> None:
    """Run a program that ends as said; without `stderr` that is closed from the start."""
    last, status = ENDS[end]
    source = f"import os, sys, time, resource\nresource.setrlimit(4, (0, 0))\n{code}\n{last}\n"
    command: Sequence[str] = [sys.executable, "-P", "-W", "ignore", "-c", source, *args]
    if stderr is None:
        command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    child = subprocess.run(command, stderr=stderr, timeout=60, check=False)  # noqa: S603
    assert child.returncode == status


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data file."""
    path = tmp_path / "db"
    path.write_bytes(PRECIOUS)
    return path


OPENS = """
opened = [open(sys.argv[1], "r+b", buffering=0)]
while opened[-1].fileno() < 2: opened.append(open(sys.argv[1], "r+b", buffering=0))
assert opened[-1].fileno() == 2 and opened[-1].read()
"""
BY_HAND = """
db = os.open(sys.argv[1], os.O_RDWR)
assert db == 2, db
os.set_inheritable(db, True)  # as a C library opens it
"""
USE = "import secalloc; key = secalloc.random(32)\n"
PROGRAMS = {
    "closed from the start": OPENS + USE,
    "closed from the start, opened by a C library": BY_HAND + USE,
    "a late import": "os.close(2)\n" + OPENS + USE,
    "a daemon, after the import": "import secalloc\nos.closerange(0, 3)\n" + OPENS + USE,
    "a daemon, after the first arena": USE + "os.closerange(0, 3)\n" + OPENS,
    "a child of a daemon": "import secalloc\nos.closerange(0, 3)\n"
    + OPENS
    + "if pid := os.fork():\n"
    + "    status = os.waitpid(pid, 0)[1]\n"
    + "    os.kill(os.getpid(), status) if status else sys.exit()\n"
    + USE,
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_data_file_gets_no_byte(program: str, end: str, data: Path, tmp_path: Path) -> None:
    code = PROGRAMS[program]
    if "from the start" in program:
        python(code, end, str(data))
    else:
        log = tmp_path / "log"
        with log.open("wb") as errors:
            python(code, end, str(data), stderr=errors.fileno())
        assert log.read_bytes() == b""
    assert data.read_bytes() == PRECIOUS


@pytest.mark.parametrize(
    ("end", "said"), [("lockdown", "L"), ("crash", "F"), ("tampering", "Fsecalloc: canary damaged")]
)
@pytest.mark.parametrize("imports", ["", "sys.stderr = None\n", "os.dup2(2, 2)\n"])
def test_standard_error_gets_it(imports: str, end: str, said: str, tmp_path: Path) -> None:
    """The control: a file, too, where it was given as standard error."""
    log = tmp_path / "log"
    with log.open("wb") as errors:
        python(imports + USE, end, stderr=errors.fileno())
    assert log.read_text().partition(": something")[0] == said


def test_a_program_that_this_one_executes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = f"import subprocess\n{USE}subprocess.run([sys.executable, '-P', '-W', 'ignore', '-c', "
    code += "'import secalloc; key = secalloc.random(3); secalloc.lockdown()'], check=True)\n"
    with log.open("wb") as errors:
        python(code, "lockdown", stderr=errors.fileno())
    assert log.read_bytes() == b"LL"


def test_status_says_so(tmp_path: Path) -> None:
    code = "import secalloc; assert secalloc.status().lockdown_fd is {}; key = secalloc.Arena(1)"
    python(code.format("None"), "lockdown")
    with (tmp_path / "log").open("wb") as errors:
        python(code.replace(" is ", " == ").format(2), "lockdown", stderr=errors.fileno())


def test_on_a_terminal_a_newline_follows() -> None:
    """Or the marker is glued to what is said next; to a pipe it is one byte."""
    master, slave = pty.openpty()
    try:
        python(USE, "crash", stderr=slave)
        time.sleep(0.1)
        assert os.read(master, 100) == b"F\r\n"
    finally:
        os.close(master)
        os.close(slave)
    read, write = os.pipe()
    try:
        python(USE, "crash", stderr=write)
        assert os.read(read, 100) == b"F"
    finally:
        os.close(read)
        os.close(write)
