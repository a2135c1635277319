"""What others see of a sheltered call while it runs, and what it leaves in registers."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import TESTS, check, linux_only

import secalloc

pytestmark = [
    linux_only,
    pytest.mark.skipif("t" in sys.abiflags, reason="not for free-threaded Pythons"),
]

# ---- from outside: root, and a core file ----------------------------------------------------

HOLDS = """
from crash import *
import json, pickle, base64
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
with open("/proc/self/coredump_filter", "w") as file: file.write("0xff")
secalloc.set_lockdown_fd(None)
token = secalloc.read(0, 32)
def uses():
    text = bytes(token).decode()
    kept = [json.loads(json.dumps({"token": text, "number": n})) for n in range(10)]
    kept += [pickle.loads(pickle.dumps(text)), {text + "k": 1}, [text + str(n) for n in range(10)]]
    kept += [bytearray(token), (text + "\\u20ac").ljust(80)]
    try:
        raise ValueError(text + "!")
    except ValueError as error:
        kept.append(str(error))
    os.write(1, b"live")
    os.read(0, 1)
    fault("segv")
SHELTER
"""


def windows(secret: bytes, memory: bytes) -> int:
    """How often a part of it is there, in characters of one, two or four bytes."""
    wide = [secret[:16].decode().encode(form) for form in ("utf-16-le", "utf-32-le")]
    return sum(memory.count(part) for part in (secret[:16], secret[16:], *wide))


def readable(pid: int) -> Iterator[bytes]:
    """What root reads of a process; secretmem is not to be had."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                try:
                    memory.seek(low)
                    yield memory.read(high - low)
                except (OSError, ValueError):
                    continue


@dataclass
class Seen:
    """How many copies were found."""

    in_memory: int
    in_core: int


def look(shelters: bool, directory: Path) -> Seen:
    secret = os.urandom(16).hex().encode()
    code = HOLDS.replace("SHELTER", "secalloc.shelter(uses)" if shelters else "uses()")
    with subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(secret)
        process.stdin.flush()
        assert process.stdout.read(4) == b"live"
        in_memory = sum(windows(secret, part) for part in readable(process.pid))
        process.stdin.close()
        assert process.wait() == -signal.SIGSEGV
    files = list(directory.glob("core*"))
    if not files:
        pytest.skip("no core file was written: the hard limit on their size is likely 0")
    return Seen(in_memory, windows(secret, files[0].read_bytes()))


@pytest.mark.skipif(os.getuid() != 0, reason="root alone reads another process's memory for sure")
def test_neither_a_core_file_nor_root_sees_what_a_call_holds(tmp_path: Path) -> None:
    """A crash inside of the call, and a look while it runs; the control is the same, outside."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "|" in pattern or "/" in pattern:
        pytest.skip(f"core files do not go to the working directory: core_pattern is {pattern}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    control = look(False, tmp_path / "outside")
    assert control.in_memory >= 10
    assert control.in_core >= 10
    seen = look(True, tmp_path / "inside")
    assert seen.in_core == 0
    if secalloc.Protection.SECRETMEM not in secalloc.Arena(1).protection:
        pytest.skip("root reads all memory where there is no secretmem")
    assert seen.in_memory == 0


# ---- registers ------------------------------------------------------------------------------

REGISTERS = """
WIDTH, COUNT = SIZES
def moves(opcode):  # vmovdqu64 or vmovdqu, from [rdi] and to [rdi + n * WIDTH]
    for n in range(COUNT):
        at = 0 if opcode == 0x6F else n * WIDTH
        modrm = bytes([0x80 | (n & 7) << 3 | 7]) + struct.pack("<I", at)
        if WIDTH == 64:
            low = (~n >> 3 & 1) << 7 | 0x60 | (~n >> 4 & 1) << 4 | 1
            yield bytes([0x62, low, 0xFE, 0x48, opcode]) + modrm
        else:
            yield bytes([0xC5, 0xFE if n < 8 else 0x7E, opcode]) + modrm
pages = []
def native(code):
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code + b"\\xc3")
    pages.append(page)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    return ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(at)
load, store = native(b"".join(moves(0x6F))), native(b"".join(moves(0x7F)))
secret = bytes(range(160, 160 + WIDTH))
source = ctypes.create_string_buffer(secret, WIDTH)
seen = ctypes.create_string_buffer(WIDTH * COUNT)
def uses():
    load(source)
def held():
    store(seen)
    registers = (seen.raw[n * WIDTH : (n + 1) * WIDTH] for n in range(COUNT))
    # Without AVX-512 glibc's string functions end with vzeroupper: the lower half is left.
    return sum(
        any(r[k : k + 16] == secret[k : k + 16] for k in range(0, WIDTH, 16)) for r in registers
    )
load(source)
assert held() >= COUNT // 4, "the control: right after, and nothing in between"
def left(how):
    found = 0
    for _ in range(20):
        load(zeros)
        how(uses)
        found = max(found, held())
    return found
zeros = ctypes.create_string_buffer(WIDTH)
secalloc.shelter(int)
print(left(lambda f: f()), left(secalloc.shelter))
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="runs machine code for x86-64")
@pytest.mark.parametrize(("flag", "width", "count"), [("avx512f", 64, 32), ("avx", 32, 16)])
def test_vector_registers_are_cleared(flag: str, width: int, count: int) -> None:
    """AVX-512's upper sixteen too; the control is the same call, outside."""
    if flag not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip(f"this processor has no {flag}")
    outside, inside = map(int, check(REGISTERS.replace("SIZES", f"{width}, {count}")).split())
    assert outside >= count // 4
    assert inside == 0
