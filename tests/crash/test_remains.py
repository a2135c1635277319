"""A core file shows nothing of a dying thread's vector registers and dead stack."""

import os
from pathlib import Path

import pytest
from support import linux_only, run, spy, x86_or_arm_linux

pytestmark = [linux_only, x86_or_arm_linux]

PREPARE = """
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
spy = ctypes.CDLL({spy!r})
masked = os.urandom(32)  # the secret itself is never anywhere but where it is left
print(masked.hex(), flush=True)
def leave(library=True):
    if library: Arena(1)
    spy.spy_leave(masked, {on_stack}, {in_registers})
"""
BURIED = 120 * 2048 // 16  # pieces on the stack
THREADS = {
    "the main thread": "leave()",
    "a thread": "on_thread(leave)",
    "a thread with a large stack": "threading.stack_size(2**28); on_thread(leave)",
}


def halves_found(code: str, tmp_path: Path, *, on_stack: bool, in_registers: bool) -> int:
    """In how many places the core file holds a half of what was left."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "|" in pattern or "/" in pattern:
        pytest.skip(f"core files do not go to the working directory: core_pattern is {pattern}")
    prepare = PREPARE.format(spy=spy(), on_stack=int(on_stack), in_registers=int(in_registers))
    end = run(prepare + code, cwd=tmp_path)
    assert end.code == -4, end
    files = list(tmp_path.glob("core*"))
    if not files:
        pytest.skip("no core file was written: the hard limit on their size is likely 0")
    secret = bytes(byte ^ 0x5A for byte in bytes.fromhex(end.out))
    core = files[0].read_bytes()
    files[0].unlink()
    return core.count(secret[:16]) + core.count(secret[16:])


@pytest.mark.parametrize("thread", THREADS)
def test_nothing_is_left(thread: str, tmp_path: Path) -> None:
    assert halves_found(THREADS[thread], tmp_path, on_stack=True, in_registers=True) == 0


def test_a_thread_that_never_touched_the_library(tmp_path: Path) -> None:
    """Nobody asked where its stack ends, and below might lie anything: a stated limit."""
    code = "a = secret(); on_thread(leave, False)"
    assert halves_found(code, tmp_path, on_stack=False, in_registers=True) == 0
    assert halves_found(code, tmp_path, on_stack=True, in_registers=False) > BURIED // 2


def test_a_chroot_meanwhile(tmp_path: Path) -> None:
    """Where the first thread's stack lies was asked before: /proc tells."""
    if os.getuid() != 0:
        pytest.skip("only root may chroot")
    code = "os.chroot('.'); os.chdir('/'); leave()"
    assert halves_found(code, tmp_path, on_stack=True, in_registers=True) == 0


@pytest.mark.parametrize(("on_stack", "in_registers"), [(True, False), (False, True)])
@pytest.mark.parametrize("thread", ["the main thread", "a thread"])
def test_disarmed_it_is_there(
    thread: str, on_stack: bool, in_registers: bool, tmp_path: Path
) -> None:
    """The control, for each of the two alone."""
    code = "secalloc.disarm()\n" + THREADS[thread]
    found = halves_found(code, tmp_path, on_stack=on_stack, in_registers=in_registers)
    assert found > (BURIED // 2 if on_stack else 0)


def test_an_earlier_handler_finds_all_as_it_was(tmp_path: Path) -> None:
    """It may resume: a stated limit."""
    code = "import faulthandler; faulthandler.enable()\n" + THREADS["the main thread"]
    assert halves_found(code, tmp_path, on_stack=True, in_registers=True) > 0
