"""Where secrets go: a descriptor, or a path, that another program or library reads."""

import os
import sys
from errno import ENOENT
from types import FrameType, TracebackType
from typing import final

from secalloc._core import Arena, ArenaView, _Outlet


@final
class OutletPath(str):
    """A path under /dev/fd, for this process and for a child that gets `fds`."""

    __slots__ = ("fds",)
    fds: tuple[int, ...]
    """The descriptors behind it: subprocess.Popen(..., pass_fds=path.fds)."""


class _Block:
    """One block of pipe() or as_path(), to be entered once with 'with'."""

    __slots__ = ("_outlet", "_unread")

    def __init__(self, source: Arena | ArenaView, seekable: bool) -> None:
        self._outlet = _Outlet(source, seekable)
        self._unread: int | None = None

    @property
    def unread(self) -> int | None:
        """Bytes that nobody had read at the end of the block; None before; 0 of a file."""
        return self._unread

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Read back and wipe what nobody read, overwrite a file, close the descriptor.

        WipedError: a wipe overtook what was being given out. Never instead of another exception.
        """
        self._unread = self._outlet.close(kind is not None)


@final
class PipeBlock(_Block):
    """What pipe() returns."""

    __slots__ = ()

    def __enter__(self) -> int:
        """The descriptor to read from."""
        return self._outlet.open()


@final
class PathBlock(_Block):
    """What as_path() returns."""

    __slots__ = ()

    def __enter__(self) -> OutletPath:
        """The path."""
        fd = self._outlet.open()
        path = OutletPath(f"/dev/fd/{fd}")
        path.fds = (fd,)
        try:
            os.stat(path)
        except OSError as error:
            self._outlet.close(True)
            if error.errno != ENOENT:
                raise
            raise FileNotFoundError(
                ENOENT, "/dev/fd is not there, for which /proc is mounted: pipe() needs none", path
            ) from None
        return path


def pipe(arena: Arena | ArenaView) -> PipeBlock:
    """A block with a descriptor from which the content can be read once, to its end.

    For programs that take a secret by a descriptor: openssl -passin fd:N, gpg --passphrase-fd
    N, or subprocess.Popen(..., stdin=fd). A child has it only if it gets it by pass_fds or
    stdin: exec closes it, and so does os.fork in the child. It is closed at the end of the
    block.

    A pipe usually takes 64 KiB at once. A thread feeds the rest, and until then the arena is
    open for reading, as in arena.open('r'). At the end of the block, bytes that nobody read are
    read back and wiped; the end does not wait for a reader. `unread` of the object that pipe()
    returned says how many bytes these were. The kernel frees a pipe's pages without overwriting
    them.

    A sealed arena is opened for as long as that takes. An arena in a sealed pool raises
    SealedError. WipedError: it is wiped, or a wipe came during the block, whose end then raises
    it; ValueError if it is closed; TypeError: neither an Arena nor a view; OSError: no
    descriptor, or no thread, is to be had.
    """
    return PipeBlock(arena, False)


def as_path(arena: Arena | ArenaView, *, seekable: bool = False) -> PathBlock:
    """A block with a path under /dev/fd, where the content can be read.

    For calls and programs that insist on a path: ssl.SSLContext.load_cert_chain(cert, path),
    curl --config. The path is valid in this process. A child of the same user can read it, too,
    if it gets path.fds by pass_fds. It is a pipe, as pipe() makes one: it can be read once,
    from its beginning to its end.

    With seekable=True it is a file in memory, of mode 0400. It is a regular file, and can be
    read again and from any place. It holds a copy, which is locked if the limit allows. The
    copy is an arena of its own: it is overwritten at the end of the block, by a lockdown and by
    the handler of fatal signals, even while others have it open. It is not secretmem. Nobody
    can write to it (before Linux 5.1 this user can). macOS has no such file:
    NotImplementedError.

    Raises what pipe() does; FileNotFoundError where /proc is not mounted; ProtectionError where
    a protection is required that the copy cannot have, as SECRETMEM.
    """
    if seekable and sys.platform == "darwin":
        raise NotImplementedError(
            "macOS has no file in memory that can be read: as_path(arena) is a pipe"
        )
    return PathBlock(arena, seekable)


def _starts_a_program(frame: FrameType | None) -> bool:
    """Whether it is subprocess, or gevent's, that forks: what it was told to pass stays open."""
    for _ in range(6):
        if frame is None:
            return False
        if frame.f_code.co_name == "_execute_child":
            return True
        frame = frame.f_back
    return False


def _in_child() -> None:
    if not _starts_a_program(sys._getframe(1)):
        _Outlet.forked()


os.register_at_fork(after_in_child=_in_child)
