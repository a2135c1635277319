"""What a test's child process does to itself; every snippet begins with it."""

import ctypes
import errno
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import secalloc
from secalloc import Arena, Protection, ProtectionWarning

__all__ = [
    "PAGE",
    "SECRET",
    "Any",
    "Arena",
    "Protection",
    "ProtectionWarning",
    "address_space",
    "become_nobody",
    "child_of",
    "collect_warnings",
    "content",
    "ctypes",
    "deny",
    "errno",
    "exhaust_stack",
    "fault",
    "forked_beside",
    "limit",
    "locked_kib",
    "missing",
    "mmap",
    "on_thread",
    "os",
    "our_maps",
    "overrun",
    "raises",
    "raw",
    "raw_fork",
    "readable",
    "resource",
    "secalloc",
    "secret",
    "signal",
    "spoil",
    "struct",
    "sys",
    "syscall",
    "take_all_locks",
    "tempfile",
    "threading",
    "time",
    "warnings",
]  # fmt: skip

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
PAGE = mmap.PAGESIZE
MACHINE = os.uname().machine
X86 = MACHINE in ("x86_64", "AMD64")

SECRET = bytes(range(128, 224))
"""96 bytes that occur in no text."""

MACHINE_CODE = {
    "ill": (b"\x0f\x0b", b"\x00\x00\x00\x00"),
    "trap": (b"\xcc", b"\x00\x00\x20\xd4"),
    "fpe": (b"\x31\xc9\x31\xd2\xf7\xf1", None),
    "recurse": (b"\xe8\xfb\xff\xff\xff", b"\xfd\x7b\xbf\xa9\xff\xff\xff\x97"),
}
SYSCALLS = {
    "memfd_secret": (447, 447),
    "getppid": (110, 173),
    "fork": (57, None),
    "clone": (56, 220),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "mlock2": (325, 284),
    "pwritev2": (328, 287),
    "mincore": (27, 232),
    "capget": (125, 90),
    "sysinfo": (99, 179),
    "process_vm_readv": (310, 270),
    "ioctl": (16, 29),
}


def content(size: int) -> bytes:
    """That many bytes of SECRET, repeated."""
    return (SECRET * (size // len(SECRET) + 1))[:size]


def secret(size: int = len(SECRET)) -> Arena:
    """An arena that holds SECRET, repeated."""
    return Arena(content(size))


def raw(arena: Arena) -> bytes:
    """What the memory of an arena holds, past every check of the library's."""
    return ctypes.string_at(arena.address, arena.size)


def readable(address: int) -> bool:
    """Whether the byte at an address can be read, found out without a fault."""
    read, write = os.pipe()
    try:
        return bool(LIBC.write(write, ctypes.c_void_p(address), ctypes.c_size_t(1)) == 1)
    finally:
        os.close(read)
        os.close(write)


def overrun(arena: Arena) -> None:
    """Write one byte past the end."""
    ctypes.memset(arena.address + arena.size, 0, 1)


def spoil(address: int) -> None:
    """Change one byte."""
    ctypes.memset(address, ctypes.string_at(address, 1)[0] ^ 0xFF, 1)


def on_thread(work: Callable[..., Any], *args: Any) -> None:
    """Run `work` on a thread of its own, and wait for it."""
    thread = threading.Thread(target=work, args=args)
    thread.start()
    thread.join()


def syscall(name: str, *args: int) -> int:
    """One raw system call."""
    number = SYSCALLS[name][0 if X86 else 1]
    assert number is not None, f"{name}: not on {MACHINE}"
    return int(LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in args]))


def _native(name: str) -> None:
    """Run a few bytes of machine code."""
    code = MACHINE_CODE[name][0 if X86 else 1]
    assert code is not None, f"{name}: not on {MACHINE}"
    page = mmap.mmap(-1, PAGE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def _past_end_of_file() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(PAGE))
        file.flush()
        page = mmap.mmap(file.fileno(), PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(page))
        os.truncate(file.fileno(), 0)
        ctypes.string_at(address, 1)


def _trapped_syscall() -> None:
    deny("getppid", trap=True)
    os.getppid()


def fault(kind: str) -> None:
    """Make the kernel force the fatal signal of that name on this thread."""
    special: dict[str, Callable[[], object]] = {
        "segv": lambda: ctypes.string_at(8, 1),
        "bus": _past_end_of_file,
        "sys": _trapped_syscall,
        "abrt": os.abort,
    }
    special.get(kind, lambda: _native(kind))()


def exhaust_stack() -> None:
    """Recurse in native code until the stack ends."""
    _native("recurse")


def deny(name: str, error: int = 0, *, trap: bool = False, kill: bool = False) -> None:
    """Have a seccomp filter refuse a system call from here on, or end the process for it."""
    number = SYSCALLS[name][0 if X86 else 1]
    verdict = 0x80000000 if kill else 0x00030000 if trap else 0x00050000 | error
    program = b"".join(
        struct.pack("HBBI", *line)
        for line in (
            (0x20, 0, 0, 0),  # load the call's number
            (0x15, 0, 1, number),  # the one in question?
            (0x06, 0, 0, verdict),
            (0x06, 0, 0, 0x7FFF0000),  # all others are allowed
        )
    )
    lines = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", 4, ctypes.addressof(lines))
    assert LIBC.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert LIBC.prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP


def limit(what: int, soft: int, hard: int | None = None) -> None:
    """Set a resource limit, the hard one as well."""
    resource.setrlimit(what, (soft, soft if hard is None else hard))


def become_nobody() -> None:
    """Give up root, whose lock limit is none."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        assert LIBC.prctl(4, 1, 0, 0, 0) == 0  # PR_SET_DUMPABLE: keep /proc/self


def child_of(work: Callable[[], object], *, fork: Callable[[], int] = os.fork) -> int:
    """Run `work` in a forked child; its exit status, minus the signal that killed it."""
    sys.stdout.flush()
    pid = fork()
    if pid == 0:
        status = 77
        try:
            signal.alarm(30)  # a deadlock shows as SIGALRM
            work()
            status = 0
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            try:
                sys.stdout.flush()
            finally:
                os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def forked_beside(
    churn: Callable[[], object], work: Callable[[], object], *, times: int = 40
) -> list[int]:
    """What `work` comes to in forked children, one after the other, while threads churn."""
    over = threading.Event()

    def goes_on() -> None:
        while not over.is_set():
            churn()

    threads = [threading.Thread(target=goes_on) for _ in range(3)]
    for thread in threads:
        thread.start()
    warnings.simplefilter("ignore", DeprecationWarning)
    ends = [child_of(work) for _ in range(times)]
    over.set()
    for thread in threads:
        thread.join()
    return ends


def raw_fork() -> int:
    """Fork so that no atfork handler runs."""
    return syscall("fork") if X86 else syscall("clone", signal.SIGCHLD, 0, 0, 0, 0)


def raises(error: type[BaseException], *calls: Callable[..., object], of: object) -> None:
    """Check that each call, given `of`, raises exactly that."""
    for call in calls:
        try:
            call(of)
        except error as caught:
            assert type(caught) is error, (call, caught)  # noqa: PT017
        else:
            raise AssertionError(call)


def collect_warnings() -> list[warnings.WarningMessage]:
    """Where every warning from here on goes."""
    caught = warnings.catch_warnings(record=True)
    log = caught.__enter__()
    warnings.simplefilter("always")
    assert log is not None
    return log


def take_all_locks() -> list[Arena]:
    """Arenas, until no more memory may be locked."""
    taken = []
    with suppress(secalloc.ProtectionError):
        while True:
            taken.append(Arena(4096, require=Protection.LOCK))
    return taken


def missing(arena: Arena) -> Protection:
    """What an ordinary process may have to do without."""
    optional = Protection.LOCK | Protection.SECRETMEM | Protection.NODUMP
    return optional & ~arena.protection


def address_space() -> int:
    """VmSize, in bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * PAGE


def our_maps() -> int:
    """How many mappings are the library's: those that fork does not hand on."""
    with open("/proc/self/smaps", "rb") as smaps:
        return sum(line.startswith(b"VmFlags:") and b" dc" in line for line in smaps)


def locked_kib() -> int:
    """VmLck, in KiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmLck:"))


# Whatever ran the tests may have had these ignored, as nohup and a shell's & do.
for number in (signal.SIGQUIT, signal.SIGXCPU, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
limit(resource.RLIMIT_CORE, 0, resource.getrlimit(resource.RLIMIT_CORE)[1])
sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
