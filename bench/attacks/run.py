"""Try each attack against each way of holding a key.

    python bench/attacks/run.py [--only NAME ...] [--attacks NAME ...]
                                  [--markdown FILE ...] [--check FILE]

Every cell is an attempt of this run. The first column is the control: an attack that does not get
it proves nothing, and the run fails. --check compares secalloc's cells with a document's, and
fails where one is worse.
"""

import argparse
import ctypes
import json
import mmap
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from holders import HOLDERS, SIZE

HERE = Path(__file__).resolve().parent
SPY = HERE.parent.parent / "tests" / "spy.c"
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.restype = ctypes.c_long
OURS = [name for name in HOLDERS if name.startswith("secalloc")]
SWAP = 1 << 24
BEGIN, END = "<!-- attacks -->", "<!-- end of attacks -->"


class NotTried(Exception):
    """Why the machine did not let this one be tried."""


class Held:
    """A process that holds a fresh key, and its parent's knowledge of it."""

    def __init__(self, name: str, spy: str, directory: str, reporter: bool = False) -> None:
        self.key, self.directory = os.urandom(SIZE), directory
        self.socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "holders.py"), name, str(theirs.fileno()), spy],
            pass_fds=[theirs.fileno()],
            cwd=directory,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        self.stream = self.socket.makefile("rb")
        self.socket.sendall(b"r" if reporter else b"-")
        self.stream.readline()
        self.socket.sendall(self.key)
        line = self.stream.readline()
        if not line:
            raise NotTried("it could not be set up")
        self.address: int = json.loads(line)
        self.pid = self.process.pid

    def order(self, what: str) -> str:
        """What it answers; nothing where it dies."""
        self.socket.sendall(what.encode())
        return self.stream.readline().decode().strip()

    def death(self) -> int:
        """How it ended."""
        return self.process.wait()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stream.close()
        self.socket.close()

    def mappings(self) -> Iterator[tuple[int, int]]:
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            low, high = (int(end, 16) for end in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "vsyscall" not in line:
                yield low, high


Found = tuple[bool, str]


def found(key: bytes, where: bytes) -> Found:
    there = key[: SIZE // 2] in where or key[SIZE // 2 :] in where
    return there, "found" if there else "not found"


def proc_mem(held: Held) -> Found:
    pieces = []
    fd = os.open(f"/proc/{held.pid}/mem", os.O_RDONLY)
    for low, high in held.mappings():
        try:
            pieces.append(os.pread(fd, high - low, low))
        except OSError:
            continue
    os.close(fd)
    return found(held.key, b"".join(pieces))


def vm_readv(held: Held) -> Found:
    pieces = []
    for low, high in held.mappings():
        buffer = ctypes.create_string_buffer(high - low)
        ours = struct.pack("PN", ctypes.addressof(buffer), high - low)
        theirs = struct.pack("PN", low, high - low)
        LIBC.process_vm_readv(held.pid, ours, 1, theirs, 1, 0)
        pieces.append(buffer.raw)
    return found(held.key, b"".join(pieces))


def peek(held: Held) -> Found:
    if LIBC.ptrace(16, held.pid, 0, 0) != 0:  # PTRACE_ATTACH
        raise NotTried("ptrace is refused here")
    os.waitpid(held.pid, 0)
    words = b""
    for at in range(held.address, held.address + SIZE, 8):
        word = LIBC.ptrace(2, held.pid, ctypes.c_void_p(at), None)  # PTRACE_PEEKDATA
        words += struct.pack("l", word)
    LIBC.ptrace(17, held.pid, 0, 0)  # PTRACE_DETACH
    return found(held.key, words)


def gcore(held: Held) -> Found:
    if shutil.which("gcore") is None:
        raise NotTried("there is no gdb")
    command = ["gcore", "-a", "-o", "gcore", str(held.pid)]
    quiet = subprocess.DEVNULL
    subprocess.run(command, cwd=held.directory, stdout=quiet, stderr=quiet, check=False)
    return found(held.key, core(held, f"gcore.{held.pid}"))


def core(held: Held, pattern: str = "core*") -> bytes:
    files = list(Path(held.directory).glob(pattern))
    if not files:
        raise NotTried("no core file was written")
    content = files[0].read_bytes()
    files[0].unlink()
    return content


def crash(held: Held) -> Found:
    held.order("crash")
    held.death()
    return found(held.key, core(held))


def notes(content: bytes) -> bytes:
    """The notes of an ELF core file, the registers among them."""
    (offset,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    for i in range(count):
        kind, _, at, _, _, length = struct.unpack_from("<IIQQQQ", content, offset + i * size)
        if kind == 4:  # noqa: PLR2004 - PT_NOTE
            return content[at : at + length]
    return b""


def registers(held: Held) -> Found:
    held.order("registers")
    held.death()
    return found(held.key, notes(core(held)))


def reporter(held: Held) -> Found:
    held.order("watch " + bytes(byte ^ 0x5A for byte in held.key).hex())
    saw = held.order("crash").startswith("S")
    return saw, "read" if saw else "sees noise"


def freed(held: Held) -> Found:
    held.order("close")
    return proc_mem(held)


def child(held: Held) -> Found:
    got = bytes.fromhex(held.order("fork"))
    return got == held.key, "read" if got == held.key else "not there"


def exec_(held: Held) -> Found:
    return found(held.key, bytes.fromhex(held.order("exec")))


def beyond(order: str) -> Callable[[Held], Found]:
    def attack(held: Held) -> Found:
        said = held.order(order)
        if said:
            return True, said
        held.death()
        late = (Path(held.directory) / "written").exists()
        return False, "caught when closed" if late else "faults"

    return attack


def use_after_free(held: Held) -> Found:
    said = held.order("use_after_free")
    if not said:
        return False, "faults"
    return found(held.key, bytes.fromhex(said))


class Swap:
    """A swap file of the run's own, if the machine lets it have one."""

    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "swap"
        self.on = False
        if os.getuid() != 0:
            return
        with open(self.path, "wb") as file:
            file.write(bytes(SWAP))
            os.fsync(file.fileno())
        self.path.chmod(0o600)
        made = subprocess.run(["/sbin/mkswap", str(self.path)], capture_output=True, check=False)
        self.on = made.returncode == 0 and LIBC.swapon(bytes(self.path), 0) == 0

    def off(self) -> None:
        if self.on:
            LIBC.swapoff(bytes(self.path))

    def attack(self, held: Held) -> Found:
        if not self.on:
            return self.lock_state(held)
        held.order("page_out")
        time.sleep(0.2)  # it is written in the background
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECT)  # the cache knows nothing of it
        with mmap.mmap(-1, SWAP) as content:
            os.readv(fd, [content])
            os.close(fd)
            return found(held.key, content[:])

    @staticmethod
    def lock_state(held: Held) -> Found:
        inside = False
        for line in Path(f"/proc/{held.pid}/smaps").read_text().splitlines():
            first = line.split()[0]
            if "-" in first and ":" not in first:
                low, high = (int(end, 16) for end in first.split("-"))
                inside = low <= held.address < high
            elif inside and line.startswith("VmFlags:"):
                locked = " lo" in line or " sr" in line
                return not locked, "page is locked" if locked else "page may be swapped"
        raise NotTried("smaps has no flags")


def attacks(swap: Swap) -> dict[str, Callable[[Held], Found]]:
    who = "root" if os.getuid() == 0 else "the same user"
    return {
        f"/proc/pid/mem, by {who}": proc_mem,
        f"process_vm_readv, by {who}": vm_readv,
        f"ptrace peek, by {who}": peek,
        "gcore": gcore,
        "core file after a crash": crash,
        "vector registers in the core's notes": registers,
        "a crash reporter's handler": reporter,
        "a forked child reads": child,
        "an exec'd child reads inherited descriptors": exec_,
        "read one byte over": beyond("read_over"),
        "write one byte over": beyond("write_over"),
        "read one byte under": beyond("read_under"),
        "write one byte under": beyond("write_under"),
        "use after free": use_after_free,
        "freed memory, searched after close": freed,
        "swap file" if swap.on else "swap (lock state)": swap.attack,
    }


def one(attack: Callable[[Held], Found], name: str, spy: str) -> str:
    """A cell: yes where the attacker got the key, or past the end of it."""
    with tempfile.TemporaryDirectory() as directory:
        held = None
        try:
            held = Held(name, spy, directory, attack is reporter)
            got, how = attack(held)
        except NotTried as why:
            return f"not tried: {why}"
        finally:
            if held:
                held.end()
    return f"**yes**: {how}" if got else f"no: {how}"


def table(names: list[str], only: list[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The cells, and what the controls find wrong."""
    cells: dict[str, dict[str, str]] = {}
    wrong = []
    where = Path("/proc/sys/kernel/core_pattern")
    pattern = where.read_text()
    plain = not ("|" in pattern or "/" in pattern)
    if not plain and os.access(where, os.W_OK):
        where.write_text("core")
    with tempfile.TemporaryDirectory() as directory:
        spy, swap = f"{directory}/spy.so", Swap(directory)
        compiler = shutil.which(os.environ.get("CC", "cc")) or "cc"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", spy, str(SPY)], check=True)
        try:
            for title, attack in attacks(swap).items():
                if not only or any(part in title for part in only):
                    cells[title] = {name: one(attack, name, spy) for name in names}
                    if cells[title]["control"].startswith("no:"):
                        wrong.append(f"{title}: the control was not got")
        finally:
            swap.off()
            if not plain and os.access(where, os.W_OK):
                where.write_text(pattern)
    return cells, wrong


def markdown(cells: dict[str, dict[str, str]], names: list[str]) -> str:
    heads = ["does it get the key?", *names]
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    lines += [f"| {title} | {' | '.join(row.values())} |" for title, row in cells.items()]
    note = f"Linux {platform.release()}, CPython {platform.python_version()}."
    return "\n".join([*lines, "", note])


def documented(path: Path) -> dict[str, dict[str, str]]:
    """The cells of a document."""
    text = path.read_text().split(BEGIN, 1)[1].split(END, 1)[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.strip().splitlines()
        if line.startswith("|") and "---" not in line
    ]
    return {
        row[0].split(", by ")[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[1:]
    }


def worse(now: dict[str, dict[str, str]], was: dict[str, dict[str, str]]) -> list[str]:
    """The cells of secalloc's that are worse than documented, or not documented at all."""
    return [
        f"{title}: {name}: documented {was.get(title, {}).get(name)}, is {row[name]}"
        for title, row in ((t.split(", by ")[0], row) for t, row in now.items())
        for name in OURS
        if name in row and row[name].startswith("**yes")
        and not was.get(title, {}).get(name, "").startswith("**yes")
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--attacks", nargs="*", default=[])
    parser.add_argument("--markdown", type=Path, nargs="*", default=[])
    parser.add_argument("--check", type=Path)
    options = parser.parse_args()
    names = ["control", *options.only] if options.only else list(HOLDERS)
    start = time.monotonic()
    cells, wrong = table(names, options.attacks)
    text = markdown(cells, names)
    print(text)
    for path in options.markdown:
        before, rest = path.read_text().split(BEGIN, 1)
        path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")
    if options.check:
        wrong += worse(cells, documented(options.check))
    count = sum(map(len, cells.values()))
    print(f"{count} attempts in {time.monotonic() - start:.0f} s", *wrong, sep="\n")
    return 1 if wrong or not cells else 0


if __name__ == "__main__":
    sys.exit(main())
