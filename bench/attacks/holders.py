"""The ways of holding a key, and the process that holds one and is attacked.

    holders.py HOLDER SOCKET SPY

It fills its memory straight from the socket, says where the key is, and does what it is told,
a line at a time. SPY is tests/spy.c, compiled.
"""

import ctypes
import ctypes.util
import json
import mmap
import os
import resource
import signal
import socket
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import secalloc

SIZE = 32
LIBC = ctypes.CDLL(None, use_errno=True)


class Holder(ABC):
    """A key of SIZE bytes at `address`; `free` is how it is let go of."""

    address: int

    @abstractmethod
    def fill(self, source: socket.socket) -> None:
        """Take the key from the socket."""

    @abstractmethod
    def free(self) -> None:
        """Let go of the key."""

    def finish(self) -> None:  # noqa: B027 - most have nothing to do
        """Let go of the key's neighbours, too, where it has some."""


class Memory(Holder):
    """Filled in place."""

    @abstractmethod
    def allocate(self) -> int:
        """Where the key is to lie."""

    def fill(self, source: socket.socket) -> None:
        self.address = self.allocate()
        memory = (ctypes.c_char * SIZE).from_address(self.address)
        assert source.recv_into(memory) == SIZE  # noqa: S101


class Control(Memory):
    """What every attack must get: malloc, never wiped, and a memfd that children inherit."""

    def allocate(self) -> int:
        LIBC.malloc.restype = ctypes.c_void_p
        self.at = int(LIBC.malloc(4096)) + 1024  # past what free() overwrites
        return self.at

    def fill(self, source: socket.socket) -> None:
        super().fill(source)
        self.file = os.memfd_create("control", 0)
        os.set_inheritable(self.file, True)
        os.write(self.file, (ctypes.c_char * SIZE).from_address(self.at))

    def free(self) -> None:
        LIBC.free(ctypes.c_void_p(self.at - 1024))


class Bytes(Holder):
    def fill(self, source: socket.socket) -> None:
        self.key = source.recv(SIZE)
        self.address = id(self.key) + bytes.__basicsize__ - 1

    def free(self) -> None:
        del self.key


class ByteArray(Memory):
    def allocate(self) -> int:
        self.key = bytearray(SIZE)
        self.export = (ctypes.c_char * SIZE).from_buffer(self.key)
        return ctypes.addressof(self.export)

    def wipe(self) -> None:
        for i in range(SIZE):
            self.key[i] = 0

    def free(self) -> None:
        self.wipe()
        del self.export, self.key


class Zeroize(ByteArray):
    """The package of that name, its mlock included."""

    def allocate(self) -> int:
        import zeroize  # noqa: PLC0415

        address = super().allocate()
        zeroize.mlock(self.key)
        return address

    def wipe(self) -> None:
        import zeroize  # noqa: PLC0415

        zeroize.zeroize1(self.key)
        zeroize.munlock(self.key)


class Mmap(Memory):
    def allocate(self) -> int:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)
        export = ctypes.c_char.from_buffer(self.page)
        return ctypes.addressof(export)

    def free(self) -> None:
        self.page[:SIZE] = bytes(SIZE)
        self.page.close()


class Sodium(Memory):
    def allocate(self) -> int:
        self.library = ctypes.CDLL(ctypes.util.find_library("sodium"))
        self.library.sodium_malloc.restype = ctypes.c_void_p
        self.library.sodium_init()
        self.at = int(self.library.sodium_malloc(ctypes.c_size_t(SIZE)))
        return self.at

    def free(self) -> None:
        self.library.sodium_free(ctypes.c_void_p(self.at))


class OpenSSL(Memory):
    def allocate(self) -> int:
        self.library = ctypes.CDLL(ctypes.util.find_library("crypto"))
        self.library.CRYPTO_secure_malloc_init(ctypes.c_size_t(1 << 16), ctypes.c_size_t(16))
        self.library.CRYPTO_secure_malloc.restype = ctypes.c_void_p
        self.library.CRYPTO_secure_malloc(ctypes.c_size_t(SIZE), b"", 0)  # a neighbour
        self.at = int(self.library.CRYPTO_secure_malloc(ctypes.c_size_t(SIZE), b"", 0))
        return self.at

    def free(self) -> None:
        size = ctypes.c_size_t(SIZE)
        self.library.CRYPTO_secure_clear_free(ctypes.c_void_p(self.at), size, b"", 0)


class Secalloc(Memory):
    wanted = secalloc.Protection.SECRETMEM

    def allocate(self) -> int:
        secalloc.set_lockdown_fd(None)
        self.key = self.make()
        if self.wanted not in self.key.protection:
            raise SystemExit(f"there is no {self.wanted} here")
        return self.key.address

    def make(self) -> secalloc.Arena:
        return secalloc.Arena(SIZE)

    def free(self) -> None:
        self.key.close()


class Anonymous(Secalloc):
    wanted = secalloc.Protection.LOCK

    def make(self) -> secalloc.Arena:
        secalloc.configure(secretmem=False)
        return secalloc.Arena(SIZE)


class Pooled(Secalloc):
    def make(self) -> secalloc.Arena:
        self.pool = secalloc.Pool()
        self.neighbour = self.pool.alloc(SIZE)
        return self.pool.alloc(SIZE)

    def finish(self) -> None:
        self.pool.close()


HOLDERS: dict[str, type[Holder]] = {
    "control": Control,
    "bytes": Bytes,
    "bytearray, wiped by hand": ByteArray,
    "mmap, wiped by hand": Mmap,
    "zeroize": Zeroize,
    "libsodium": Sodium,
    "OpenSSL secure heap": OpenSSL,
    "secalloc, anonymous": Anonymous,
    "secalloc, secretmem": Secalloc,
    "secalloc, pooled": Pooled,
}


def look(address: int) -> bytes:
    """What is there, by the kernel's hand, so that nothing faults."""
    read, write = os.pipe()
    got = LIBC.write(write, ctypes.c_void_p(address), ctypes.c_size_t(SIZE))
    return os.read(read, SIZE) if got == SIZE else b""


class Victim:
    """Its methods are the orders that it takes."""

    def __init__(self, holder: Holder, spy: str) -> None:
        self.holder, self.spy = holder, ctypes.CDLL(spy)

    def nothing(self) -> str:
        return ""

    def close(self) -> str:
        self.holder.free()
        return ""

    def crash(self) -> str:
        ctypes.string_at(8, 1)
        return ""

    def fork(self) -> str:
        """What a forked child reads there, in hexadecimal."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(write, look(self.holder.address))
            os._exit(0)
        os.close(write)
        os.waitpid(pid, 0)
        return os.read(read, SIZE).hex()

    def exec(self) -> str:
        """What an exec'd child finds in the descriptors that it has."""
        code = (
            "import mmap, os, sys\n"
            "for fd in map(int, os.listdir('/proc/self/fd')):\n"
            "  try: sys.stdout.buffer.write(mmap.mmap(fd, 32, prot=mmap.PROT_READ)[:32])\n"
            "  except (OSError, ValueError): pass"
        )
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(write, 1)
            os.execv(sys.executable, [sys.executable, "-S", "-c", code])  # noqa: S606
        os.close(write)
        os.waitpid(pid, 0)
        return os.read(read, 4096).hex()

    def read_over(self) -> str:
        ctypes.string_at(self.holder.address + SIZE, 1)
        return "read"

    def read_under(self) -> str:
        ctypes.string_at(self.holder.address - 1, 1)
        return "read"

    def _write(self, at: int) -> str:
        ctypes.memset(at, ctypes.string_at(at, 1)[0] ^ 0xFF, 1)
        with open("written", "w"):  # tells a fault from what is noticed later
            self.holder.free()
        self.holder.finish()
        return "unnoticed"

    def write_over(self) -> str:
        return self._write(self.holder.address + SIZE)

    def write_under(self) -> str:
        return self._write(self.holder.address - 1)

    def use_after_free(self) -> str:
        address, into = self.holder.address, ctypes.create_string_buffer(SIZE)
        self.holder.free()
        ctypes.memmove(into, address, SIZE)
        return into.raw.hex()

    def page_out(self) -> str:
        page = self.holder.address & -mmap.PAGESIZE
        LIBC.madvise(ctypes.c_void_p(page), ctypes.c_size_t(mmap.PAGESIZE), 21)  # MADV_PAGEOUT
        return ""

    def registers(self) -> str:
        key = (ctypes.c_ubyte * SIZE).from_address(self.holder.address)
        self.spy.spy_leave(bytes(byte ^ 0x5A for byte in key), 0, 1)
        return ""


def main() -> None:
    name, number, spy_path = sys.argv[1:]
    parent = socket.socket(fileno=int(number))
    signal.alarm(60)
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    with open("/proc/self/coredump_filter", "w") as kinds:
        kinds.write("0xff")  # everything, so that what is missing was kept out
    spy = ctypes.CDLL(spy_path)
    report = os.dup(parent.fileno())
    if parent.recv(1) == b"r":  # a crash reporter is there first, and looks at the key
        assert spy.spy_install(signal.SIGSEGV, report, 0) == 0  # noqa: S101
    holder = HOLDERS[name]()
    parent.sendall(b"ready\n")
    holder.fill(parent)
    victim = Victim(holder, spy_path)
    parent.sendall(json.dumps(holder.address).encode() + b"\n")
    while order := parent.recv(128).decode():
        if order.startswith("watch "):
            masked = bytes.fromhex(order[6:])
            where: Any = ctypes.c_void_p(holder.address)
            spy.spy_watch(where, ctypes.c_size_t(SIZE), masked, len(masked))
            parent.sendall(b"\n")
            continue
        act: Callable[[], str] = getattr(victim, order)
        parent.sendall(act().encode() + b"\n")


if __name__ == "__main__":
    main()
