"""What a core file shows of content that is encrypted, and of the key to it: the parent looks into
its child's memory before that dies, so that the child holds no copy but the library's own."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from support import HANGS, TESTS, linux_only

pytestmark = linux_only

CHILD = """
from crash import *
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
with open("/proc/self/coredump_filter", "w") as f: f.write("0xff")  # all kinds of mappings
warnings.simplefilter("ignore")
secalloc.configure(secretmem=False, encrypt={encrypt})
secalloc.set_lockdown_fd(None)
a = secalloc.random(64)
page = a.address // PAGE * PAGE
# MADV_DODUMP: as where a platform leaves nothing out of core files.
assert ctypes.CDLL(None).madvise(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), 17) == 0
print(a.address, flush=True)
input()
a.seal()
if {opened}:
    block = a.open("r")
    block.__enter__()
if {disarmed}:
    secalloc.disarm()
print(flush=True)
input()
fault("segv")
"""


def prekey_of(pid: int) -> bytes:
    """The 16 KiB that keys come of: the only mapping of that size that no child gets."""
    found: list[tuple[int, int]] = []
    span = (0, 0)
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and len(words) > 4:
            start, end = (int(part, 16) for part in words[0].split("-"))
            span = (start, end) if words[1] == "rw-p" else (0, 0)
        elif words[0] == "VmFlags:" and "dc" in words and span[1] - span[0] == 16384:
            found.append(span)
    assert len(found) == 1
    return memory_of(pid, found[0][0], 16384)


def memory_of(pid: int, at: int, size: int) -> bytes:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(at)
        return memory.read(size)


def halves(secret: bytes, core: bytes) -> int:
    return sum(core.count(part) for part in (secret[:16], secret[-16:]))


@pytest.mark.parametrize(
    ("encrypt", "opened", "disarmed", "found"),
    [
        (True, False, True, False),  # nothing wiped it: ciphertext
        (False, False, True, True),  # the control
        (True, True, False, False),
        (True, True, True, True),  # the control: in the block it is plaintext
    ],
)
def test_a_core_file(
    encrypt: bool, opened: bool, disarmed: bool, found: bool, tmp_path: Path
) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "|" in pattern or "/" in pattern:
        pytest.skip(f"core files do not go to the working directory: core_pattern is {pattern}")
    code = CHILD.format(encrypt=encrypt, opened=opened, disarmed=disarmed)
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(TESTS)},
        cwd=tmp_path,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        address = int(child.stdout.readline())
        try:
            secret = memory_of(child.pid, address, 64)
        except PermissionError:
            child.kill()
            pytest.skip("a child's memory may not be looked at here")
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        prekey = prekey_of(child.pid) if encrypt else bytes(16384)
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.wait(timeout=HANGS) == -11
    files = list(tmp_path.glob("core*"))
    if not files:
        pytest.skip("no core file was written: the hard limit on their size is likely 0")
    core = files[0].read_bytes()
    assert (halves(secret, core) > 0) is found
    if encrypt:
        assert halves(hashlib.blake2b(prekey, digest_size=32).digest(), core) == 0
        assert not any(prekey[i : i + 16] in core for i in range(0, 16384, 2048))
