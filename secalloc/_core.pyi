from collections.abc import Callable, Iterable, MutableMapping
from signal import Signals
from types import GenericAlias, TracebackType
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    SupportsIndex,
    TypeVar,
    final,
    overload,
    type_check_only,
)

from _typeshed import FileDescriptorLike, ReadableBuffer, WriteableBuffer

from secalloc._values import Hardening, Protection, Sheltered, Status

_T = TypeVar("_T")
_Event = TypeVar("_Event")
_P = ParamSpec("_P")
_R = TypeVar("_R")

class Error(Exception):
    """The base of all errors that are the library's own.

    Each is also a built-in error, such as ValueError, so that existing code catches it.
    """

class WipedError(Error, ValueError):
    """The arena holds noise: it was cleared, or a lockdown passed.

    Writing the whole anew makes it usable: arena[:] = data, or a block of
    with arena.open('w') as view.
    """

class SealedError(Error, BufferError):
    """The bytes are out of reach: sealed, read-only, or the view's block has ended.

    Inside a block of open('r'), open('rw') or open('w') they are accessible,
    and as soon as it ends its views are dead.
    """

class ClosedError(Error, ValueError):
    """The arena, pool or channel was closed.

    It cannot be opened again: make another one.
    """

class ForkedError(Error, ValueError):
    """The arena belongs to the process that this one was forked from.

    Arenas are not inherited; this process can make its own.
    """

class ProtectionError(Error, OSError):
    """A protection that is required, or that the old pages have, could not be obtained.

    errno tells why.
    """

class ProtectionWarning(RuntimeWarning):
    """Arenas work, but without a protection that this platform has.

    It is given once in a process for each protection, at the first arena or sheltered call
    that lacks it, and at the fork where the child's copy of sheltered objects is not locked.
    It says which protection is missing, which call refused it, and what mends it.
    """

# What Arena and ArenaView have alike.
@type_check_only
class _Secret:
    __array_ufunc__: ClassVar[None]
    __hash__: ClassVar[None]  # type: ignore[assignment]
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, key: slice, /) -> ArenaView: ...
    @overload
    def __setitem__(self, key: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, key: slice, value: ReadableBuffer, /) -> None: ...
    def __delitem__(self, key: SupportsIndex | slice, /) -> NoReturn: ...
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __lt__(self, value: ReadableBuffer, /) -> bool: ...
    def __le__(self, value: ReadableBuffer, /) -> bool: ...
    def __gt__(self, value: ReadableBuffer, /) -> bool: ...
    def __ge__(self, value: ReadableBuffer, /) -> bool: ...
    def __add__(self, value: ReadableBuffer, /) -> Arena: ...
    def __radd__(self, value: ReadableBuffer, /) -> Arena: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...
    def count(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """How often those bytes are there without an overlap, as
        bytes.count.

        Takes a bytes-like object or an int, for one byte; start and end are as in a slice. The
        time depends on where it is and how nearly other bytes match. TypeError: neither.
        """
    def endswith(
        self,
        suffix: ReadableBuffer | tuple[ReadableBuffer, ...],
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> bool:
        """Whether it ends with those bytes, as bytes.endswith.

        Takes a bytes-like object or a tuple of such, of which one will do; start and end are as
        in a slice. The time depends on the lengths alone. TypeError: something else.
        """
    def find(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Where those bytes begin the first time, as bytes.find; -1: they are
        not there.

        Takes a bytes-like object or an int, for one byte; start and end are as in a slice. The
        time depends on where it is and how nearly other bytes match. TypeError: neither.
        """
    def index(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Where those bytes begin the first time, as bytes.index.

        Takes a bytes-like object or an int, for one byte; start and end are as in a slice. The
        time depends on where it is and how nearly other bytes match. ValueError: they are
        not there.
        """
    def lstrip(self, bytes: ReadableBuffer | None = None, /) -> ArenaView:
        """A view without the given bytes at the beginning, as bytes.lstrip.

        Without an argument, or with None: ASCII white space. No copy is made; the time depends
        on how much there is. TypeError: no bytes-like object; other errors as for reading.
        """
    def partition(self, sep: ReadableBuffer, /) -> tuple[ArenaView, ArenaView, ArenaView]:
        """Three views: of what is before the separator, of it, and of what is behind it, as
        bytes.partition. Where it is not there the first is of all.

        No copy is made; the time depends on where it is. ValueError: an empty separator.
        TypeError: no bytes-like object.
        """
    def removeprefix(self, prefix: ReadableBuffer, /) -> ArenaView:
        """A view without those bytes where it begins with them, else of the whole, as
        bytes.removeprefix.

        No copy is made. TypeError: no bytes-like object.
        """
    def removesuffix(self, suffix: ReadableBuffer, /) -> ArenaView:
        """A view without those bytes where it ends with them, else of the whole, as
        bytes.removesuffix.

        No copy is made. TypeError: no bytes-like object.
        """
    @overload
    def reveal(self, encoding: None = None) -> bytes:
        """The content as bytes, or with an encoding as a str: an ordinary copy, which nothing wipes.

        It does what bytes() and str(arena, encoding) do, under a name that a reviewer can
        search for. Inside a sheltered call the copy lies in the shelter. ValueError: it is
        not text of that encoding; the error names the position, never the bytes. LookupError:
        an unknown encoding. Other errors as for reading.
        """
    @overload
    def reveal(self, encoding: str) -> str:
        """The content as bytes, or with an encoding as a str: an ordinary copy, which nothing wipes.

        It does what bytes() and str(arena, encoding) do, under a name that a reviewer can
        search for. Inside a sheltered call the copy lies in the shelter. ValueError: it is
        not text of that encoding; the error names the position, never the bytes. LookupError:
        an unknown encoding. Other errors as for reading.
        """
    def rfind(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Where those bytes begin the last time, as bytes.rfind; -1: they are
        not there.

        Takes a bytes-like object or an int, for one byte; start and end are as in a slice. The
        time depends on where it is and how nearly other bytes match. TypeError: neither.
        """
    def rindex(
        self,
        sub: ReadableBuffer | SupportsIndex,
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> int:
        """Where those bytes begin the last time, as bytes.rindex.

        Takes a bytes-like object or an int, for one byte; start and end are as in a slice. The
        time depends on where it is and how nearly other bytes match. ValueError: they are
        not there.
        """
    def rpartition(self, sep: ReadableBuffer, /) -> tuple[ArenaView, ArenaView, ArenaView]:
        """Three views: of what is before the last separator, of it, and of what is behind it, as
        bytes.rpartition. Where it is not there the last is of all.

        No copy is made; the time depends on where it is. ValueError: an empty separator.
        TypeError: no bytes-like object.
        """
    def rsplit(self, sep: ReadableBuffer | None = None, maxsplit: int = -1) -> list[ArenaView]:
        """A list of views, of what is between the separators, counted from
        the end, as bytes.rsplit.

        sep is a bytes-like object, or None for runs of ASCII white space; at most maxsplit times,
        -1: as often as it is there. No copy is made; the time depends on where it is. ValueError:
        an empty sep. TypeError: no bytes-like object. Other errors as for reading.
        """
    def rstrip(self, bytes: ReadableBuffer | None = None, /) -> ArenaView:
        """A view without the given bytes at the end, as bytes.rstrip.

        Without an argument, or with None: ASCII white space. No copy is made; the time depends
        on how much there is. TypeError: no bytes-like object; other errors as for reading.
        """
    def split(self, sep: ReadableBuffer | None = None, maxsplit: int = -1) -> list[ArenaView]:
        """A list of views, of what is between the separators, as
        bytes.split.

        sep is a bytes-like object, or None for runs of ASCII white space; at most maxsplit times,
        -1: as often as it is there. No copy is made; the time depends on where it is. ValueError:
        an empty sep. TypeError: no bytes-like object. Other errors as for reading.
        """
    def startswith(
        self,
        prefix: ReadableBuffer | tuple[ReadableBuffer, ...],
        start: SupportsIndex | None = None,
        end: SupportsIndex | None = None,
        /,
    ) -> bool:
        """Whether it begins with those bytes, as bytes.startswith.

        Takes a bytes-like object or a tuple of such, of which one will do; start and end are as
        in a slice. The time depends on the lengths alone. TypeError: something else.
        """
    def strip(self, bytes: ReadableBuffer | None = None, /) -> ArenaView:
        """A view without the given bytes at both ends, as bytes.strip.

        Without an argument, or with None: ASCII white space. No copy is made; the time depends
        on how much there is. TypeError: no bytes-like object; other errors as for reading.
        """
    # All of these raise TypeError.
    def __str__(self) -> NoReturn: ...
    def __format__(self, spec: str, /) -> NoReturn: ...
    def __int__(self) -> NoReturn: ...
    def __float__(self) -> NoReturn: ...
    def __contains__(self, key: object, /) -> NoReturn: ...
    def __copy__(self) -> NoReturn: ...
    def __deepcopy__(self, memo: object, /) -> NoReturn: ...
    def __reduce__(self) -> NoReturn: ...
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Arena(_Secret):
    """Memory for one secret: between guard pages, locked in RAM, kept out of core files
    and of child processes, and overwritten when the process dies of a fatal signal.

    A context manager: leaving it closes the arena, as dropping it does.

    An int gives that many zero bytes. A contiguous bytes-like object gives a copy of its
    content, and stays as it is (take() clears it). align, a power of two up to the page
    size, aligns the first byte. The last byte then ends at most align - 1 bytes before
    the guard page. require names Protection flags that the arena must have; if one cannot
    be obtained, it is not made: ProtectionError. name, a short str, is shown by repr(),
    maps, warnings and errors.

    Indexing, slicing (an ArenaView), assignment of the same length, the writable buffer
    protocol and + work as with bytearray. Comparisons take a time that depends on the
    lengths alone, as hmac.compare_digest does. A bytearray or memoryview on the left
    makes the comparison itself and stops at the first difference, so prefer
    compare_digest(). An object that is not contiguous is never equal. An arena that
    cannot be read is equal to itself alone. str(), format(), hash(), iteration, in,
    pickling and copying raise TypeError. reveal() and bytes() give the content, as a copy
    that nothing wipes.

    Raises TypeError (float, bool; str: see encode()), ValueError (negative, bad align),
    BufferError (not contiguous), OverflowError (over sys.maxsize), MemoryError or OSError
    (no pages to be had; the message names the call that failed and what mends it). Calls
    raise ClosedError on a closed arena, and ForkedError on an arena of the parent
    process.
    """
    def __new__(
        cls,
        source: ReadableBuffer | SupportsIndex,
        *,
        align: SupportsIndex = 1,
        require: Protection | None = None,
        name: str | None = None,
    ) -> Arena: ...
    def __enter__(self) -> Arena: ...
    def __exit__(self, *args: object) -> None: ...
    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: object, /) -> Any: ...
    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: object, handler: object, /
    ) -> dict[str, object]: ...
    def check(self) -> None:
        """Look at the canary in the slack around the bytes.

        If it is damaged, something wrote past an end: every arena is wiped, the marker is
        written and the process aborts.
        """
    def clear(self) -> None:
        """Overwrite the content with noise; the mapping stays.

        The arena is then wiped: reading it raises WipedError until its whole content is
        written again, with arena[:] = data or inside open('w').
        """
    def close(self) -> None:
        """Wipe the content and give the pages back.

        Repeating it does no harm, and it never fails. If buffers are still exported, the
        pages stay mapped, holding noise, until the last one is released. Afterwards size,
        name, closed, wiped, sealed, len() and repr() still answer. Anything else raises
        ClosedError. Deallocation closes, too.
        """
    def open(
        self, mode: Literal["r", "rw", "w"], /, *, timeout: float = 0
    ) -> _OpenBlock[ArenaView]:
        """A context manager that yields an ArenaView with just the access asked for.

        'r' is for reading: a write raises SealedError, and the pages are read-only, unless a
        writable buffer was exported before. 'rw' is for reading and writing. On a wiped arena
        both raise WipedError. 'w' is for new content. Entering overwrites the content with
        noise. Inside the block the arena counts as wiped. The view may be written piece by
        piece, or handed to a call that fills a buffer: readinto, recv_into, decrypt_into.
        Leaving a 'w' block normally makes the arena usable; an exception leaves noise. If the
        content is usable, nobody may be reading it: exported buffers and open blocks are
        waited for, up to timeout seconds as with rotate(), and then raise BufferError.
        Another 'w' block raises BufferError at any time. replace() is the way that keeps
        readers going.

        If any thread or handler wipes the arena while the block is open, the end of the block
        raises WipedError: its results may come from noise.

        The end restores the state before, sealed or not. Blocks nest, and those of all
        threads are counted. After the end the view is dead (SealedError). If a buffer is
        still exported, the pages stay open until it is released, and the end raises
        BufferError, unless another exception is in flight.
        """
    def expire(self, after: float | None, /, *, idle: bool = False, grace: float = 1.0) -> None:
        """Clear the arena that many seconds from now, or with idle from its last use.

        A use is any operation that reads, writes or lends the content, and the begin and the
        end of a block. While a buffer is exported, the arena is in use. An open() block is
        waited for, up to grace seconds. Then the content is cleared regardless, and the end
        of the block raises WipedError. Blocks of a pool are not waited for. The clock runs on
        while the machine sleeps (CLOCK_BOOTTIME; mach_continuous_time on macOS). An arena
        that was due meanwhile is cleared within a second after the machine wakes. None
        cancels. Another call replaces the one before. One thread serves all arenas of the
        process. A forked child has no such thread. ValueError: after or grace is negative,
        infinite or no number of seconds.
        """
    def replace(self, source: ReadableBuffer, /, *, timeout: float = 0) -> None:
        """Put new content of the same size in place, whole.

        It is built on fresh pages, or in a fresh cell of the pool, and then changes places
        with the old. Readers see the old or the new, never a mixture. Views stay valid. A
        wiped arena is usable afterwards, and a sealed one stays sealed. It waits up to
        timeout seconds, as rotate() does, for exported buffers to be released and open()
        blocks to end, and then raises BufferError. ValueError: the source has another size.
        The other errors are those of Arena() and rotate(). After an error nothing has
        changed.
        """
    def rotate(self, timeout: float = 0) -> None:
        """Move the content to fresh pages at another address, under new noise.

        The old pages are wiped and made inaccessible, so that a stale pointer faults. Views
        stay valid: they name a range, not an address. It waits up to timeout seconds for
        exported buffers to be released and an open('w') block to end, and then raises
        BufferError. Meanwhile newcomers wait behind it, except a thread that has a block of
        the arena open. MemoryError or OSError: there were no new pages. ProtectionError: the
        new pages would protect less. WipedError: there is nothing to move. After an error
        nothing has changed.
        """
    def seal(self, *, encrypt: bool | None = None, timeout: float = 0) -> None:
        """Make the pages inaccessible until open() opens them for a block.

        Reading, comparing and exporting then raise SealedError. An access through a stray
        pointer is a fault, which wipes everything. Clearing, closing, rotating and lockdown
        work.

        With encrypt=True the content is also encrypted in place while no block is open, by
        ChaCha20-Poly1305 (RFC 8439). BLAKE2b (RFC 7693) makes the key, each time, of 16 KiB
        of random bytes. These are locked, and a wipe overwrites them first. OpenSSH shields
        its keys so. With None it is as configure(encrypt=) says, and an arena that is sealed
        already stays as it is. When the lock limit is reached, encrypted arenas give their
        lock to others. protection then has no LOCK, until a block locks the pages again. If
        that fails, the block works, with a ProtectionWarning; if LOCK is required, it raises
        ProtectionError, and the arena stays sealed. Changed ciphertext is tampering, as with
        check(). ValueError: over 1 MiB. ProtectionError: the 16 KiB cannot be locked.

        It waits up to timeout seconds, as rotate() does, for exported buffers and open()
        blocks, and then raises BufferError. ValueError: the arena is of a pool, which is
        sealed as a whole. MemoryError: mprotect was refused. It follows memguard, and
        libsodium's mprotect_noaccess.
        """
    @property
    def address(self) -> int:
        """Where the first byte lies now, for tests and tools, an int; rotate() changes it."""
    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the parent process."""
    @property
    def encrypted(self) -> bool:
        """Whether the content is ciphertext: sealed so, and not inside a block."""
    @property
    def name(self) -> str | None:
        """What it is called in repr(), maps, warnings and errors: a short str, or None."""
    @name.setter
    def name(self, value: str | None) -> None: ...
    @property
    def pool(self) -> Pool | None:
        """The Pool it lies in; None: it has pages of its own."""
    @property
    def protection(self) -> Protection:
        """What the kernel granted this arena's pages, as a Protection flag set."""
    @property
    def sealed(self) -> bool:
        """Whether the pages are inaccessible: sealed, and not inside a block."""
    @property
    def size(self) -> int:
        """Number of bytes."""
    @property
    def wiped(self) -> bool:
        """Whether the content is gone: cleared, locked down, being written, or closed."""

@final
class ArenaView(_Secret):
    """A range of an Arena, as secret as the whole: what slicing and open() give.

    It names the range rather than an address, and so survives rotate(). It keeps its
    arena alive. It can be read, written and sliced as an arena can. It fails as an arena
    does when that is wiped (WipedError), closed (ClosedError) or the parent's
    (ForkedError). The view of an open('w') block is for writing: reading it raises
    WipedError. After the block anything but len() and repr() raises SealedError.

    clear(view) overwrites the range; assigning to a view of the whole of a wiped
    arena makes it usable, as arena[:] = data does.
    """
    @property
    def arena(self) -> Arena:
        """The Arena that this is a range of."""

@final
class Pool:
    """Many small secrets on few locked pages.

    alloc(), random() and take() give Arenas that behave as any other, but share pages.
    The guard pages lie around the shared pages, not around each arena. The pages are
    locked, kept out of core files and child processes, and wiped together when the
    process dies of a fatal signal. Behind each arena lies a canary of at least 8 bytes.
    It tells of writes past the end when the arena is closed, rotated or checked. A
    32-byte secret takes 48 bytes of locked memory, where an Arena of its own takes a
    page.

    The pool grows as needed. It gives empty pages back, except for a few that it keeps
    for the next arena. Each arena keeps its pool alive. Without a GIL, a pool that
    several threads used, and nobody closed, goes with the next cyclic collection. The
    bytes of a closed arena hold noise until another arena of the pool takes them. A stale
    pointer to them faults only after the page was given back.

    A context manager: leaving it closes the pool and all its arenas. Copying and
    pickling are TypeErrors. Raises MemoryError or OSError where the library cannot
    start: no memory, or no entropy.
    """
    def __new__(cls) -> Pool: ...
    def __enter__(self) -> Pool: ...
    def __exit__(self, *args: object) -> None: ...
    def alloc(
        self,
        source: ReadableBuffer | SupportsIndex,
        /,
        *,
        require: Protection | None = None,
        name: str | None = None,
    ) -> Arena:
        """A new Arena in the pool: so many zero bytes, or a copy of a bytes-like object.

        As Arena(source), which names the errors, but without align. An arena of up to 2,040
        bytes starts at a multiple of 16. A larger one has pages of its own and ends at their
        guard. ValueError: the pool is closed. ForkedError: it is the parent's. MemoryError or
        OSError: it cannot grow; its other arenas are as they were.
        """
    def close(self) -> None:
        """Close every arena of the pool, and the pool to new ones.

        Repeating it does no harm, and it never fails. Buffers that are still exported
        keep their pages mapped, holding noise, until they are released. Afterwards
        closed and repr() answer; anything else is a ValueError.
        """
    def open(self, mode: Literal["r", "rw", "w"], /) -> _OpenBlock[Pool]:
        """A context manager that opens all arenas, and yields the pool.

        'r' reads, 'rw' and 'w' read, write, make and fill arenas; the pages are read-only or
        writable. The end restores the state before. Blocks nest, and those of all threads are
        counted. If an arena is still exported or being filled, its pages follow when that
        ends, and the end of the block raises BufferError, unless another exception is in
        flight. WipedError at the end: results of the block may come from noise, because a
        lockdown came while it was open, or an arena was cleared or closed whose buffer was
        exported.
        """
    def random(
        self, size: SupportsIndex, /, *, require: Protection | None = None, name: str | None = None
    ) -> Arena:
        """A new Arena in the pool, of size random bytes, as secalloc.random() gives.

        The errors are those of alloc().
        """
    def seal(self, *, encrypt: bool | None = None) -> None:
        """Make the pages of all arenas inaccessible until open() opens them for a block.

        As Arena.seal() for each; making arenas is a SealedError too. BufferError: an
        arena is exported, or inside an open() block.
        """
    def take(
        self,
        buffer: WriteableBuffer,
        /,
        *,
        require: Protection | None = None,
        name: str | None = None,
    ) -> Arena:
        """A new Arena in the pool with a writable buffer's content, which is cleared.

        As secalloc.take(), with the errors of alloc(). When it fails the source still
        has its content.
        """
    @property
    def closed(self) -> bool:
        """Whether it was closed, or belongs to the parent process."""
    @property
    def sealed(self) -> bool:
        """Whether the pages are inaccessible: sealed, and not inside a block."""
    # All of these raise TypeError.
    def __copy__(self) -> NoReturn: ...
    def __deepcopy__(self, memo: object, /) -> NoReturn: ...
    def __reduce__(self) -> NoReturn: ...
    def __reduce_ex__(self, protocol: SupportsIndex, /) -> NoReturn: ...

@final
class _Listener(Generic[_T]):
    def __new__(cls) -> _Listener[_T]: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *args: object) -> None: ...
    def attempt(self) -> bool:
        """Take the lock, unless another thread has it; whether it was taken."""
    def close(self) -> None:
        """With the lock held: hear nothing more."""
    def count(self, more: int, /) -> int:
        """With the lock held: so many more wait, elsewhere; returns how many in all."""
    def expect(self, fd: int, event: _T | None, /) -> None:
        """With the lock held: hear a descriptor, and give that of its next fatal marker."""
    def forget(self, fd: int, /) -> _T | None:
        """With the lock held: hear it no more; returns what was to be given, or None."""
    def forked(self) -> None:
        """In a forked child: hear nothing more, though another thread held the lock."""
    def listen(self, epoll: int, ms: int, channel: _Waiter[_T], /) -> _T | None:
        """Wait, counted among those who do, and return what is to be given; None: nothing,
        or closed. Of another byte than a fatal marker, or of the end, b"",
        channel._said(fd, byte) tells. Who was closed meanwhile calls channel._left().
        """

@final
class _Outlet:
    def __new__(cls, source: Arena | ArenaView, seekable: bool, /) -> _Outlet: ...
    def close(self, failed: bool, /) -> int:
        """End it; how many bytes of a pipe nobody had read. WipedError: a wipe overtook it,
        unless `failed`, as an exception is in flight.
        """
    @staticmethod
    def forked() -> None:
        """In a forked child: close the descriptors of all of them."""
    def open(self) -> int:
        """The descriptor to read from, close-on-exec."""

class _Waiter(Generic[_Event]):
    def __class_getitem__(cls, item: object, /) -> GenericAlias: ...
    def wait(self, timeout: float | None = None) -> _Event | None:
        """The next event; None when `timeout` seconds have passed. None waits for ever.

        Closes the parent's copies of ends that this thread made: their children are
        started. ValueError: closed, also meanwhile.
        """

@type_check_only
class _OpenBlock(Generic[_T]):
    def __enter__(self) -> _T: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
        /,
    ) -> Literal[False]: ...

def _ask(
    size: int,
    socket: int,
    timeout: int,
    question: bytes,
    answer: int,
    /,
    *,
    key: Arena | None = None,
    require: Protection | None = None,
    name: str | None = None,
) -> tuple[Arena | Exception | None, bytes, int, bool]: ...
def _find(
    secret: Arena | ArenaView, partial: bool, progress: Callable[[int, int], object] | None, /
) -> list[tuple[int, str, int, int, int, str, str]]: ...
def _leave_lockdown_fd(fd: FileDescriptorLike, /) -> None: ...
def _serve_question(
    socket: int,
    size: int,
    most: int,
    patience: int,
    timeout: int,
    decide: Callable[[bytes, int], tuple[Arena, bytes, int, Arena | None] | None],
    /,
) -> bool: ...
def _take_lockdown_fd(fd: FileDescriptorLike, /) -> None: ...
def _warn_in_child() -> None: ...
def _warn_later(text: str, /) -> None: ...
def _import_with(function: Callable[[str | None], None], /) -> None: ...
def _answer_with(
    protection: type[Protection],
    status: type[Status],
    hardening: type[Hardening],
    signals: type[Signals],
    sheltered: type[Sheltered],
    /,
) -> None: ...
def arm(signals: Iterable[int] | None = None) -> None:
    """Install the fatal-signal handlers, outermost, for some signals or for all.

    The first arena does so by itself for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS
    and SIGTRAP, and, where nobody handles or ignores them, for SIGQUIT, SIGXCPU, SIGXFSZ,
    SIGTERM and SIGHUP. Other signals whose default action ends the process end it
    unwiped, unless they are armed here: SIGINT, SIGPIPE, SIGALRM, SIGUSR1 and real-time
    ones among them. Arming them also leaves alone what somebody handles or ignores, as
    Python does SIGINT and SIGPIPE.

    ValueError: a signal that does not end the process, or cannot be handled; nothing
    was installed. OSError: sigaction failed, or more than seven other handlers took
    turns with ours on one signal.
    """

def b64decode(
    text: str | ReadableBuffer,
    /,
    *,
    urlsafe: bool = False,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """A new Arena of the bytes that base64 text stands for, as base64.b64decode.

    Takes a str or a bytes-like object, which stays as it is. ASCII white space may stand
    anywhere, as line ends do in files. Exact padding is needed; with urlsafe, - and _
    stand for + and /, and the padding may be missing, as in tokens (RFC 4648, section 5).
    The time depends on the length and on where white space and padding are. ValueError:
    other text; the error names the position, never the character.
    """

def b64encode(
    data: ReadableBuffer,
    /,
    *,
    urlsafe: bool = False,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena:
    """A new Arena of the base64 text of a bytes-like object, as base64.b64encode.

    With padding, without line ends; with urlsafe, - and _ stand for + and /.
    Constant-time. TypeError: a str, or no buffer. RFC 4648.
    """

def clear(buffer: WriteableBuffer, /) -> None:
    """Overwrite any writable contiguous buffer with the current noise.

    A whole Arena becomes wiped, as by its clear(). Part of one, a view or a
    memoryview, and any other buffer, is just overwritten, and stays usable.
    BufferError: read-only, or not contiguous; TypeError: no buffer; nothing was
    changed.
    """

def compare_digest(a: ReadableBuffer, b: ReadableBuffer, /) -> bool:
    """Whether two bytes-like objects are equal, in time that depends on the lengths
    alone, as hmac.compare_digest.

    A str is a TypeError; an arena that cannot be read raises what reading it does.
    """

@overload
def configure(*, secretmem: bool) -> bool:
    """Choose where arenas lie from now on, and whether sealing encrypts them.

    secretmem, True by default: arenas lie in secretmem, where the kernel has it.
    Secretmem in use keeps the machine from hibernating. With False, arenas lie in locked
    anonymous memory. Arenas that exist, and pages that a pool has, stay as they are.
    Pages that are kept for later arenas are given back.

    encrypt, False by default: with True every Arena.seal() encrypts, as
    seal(encrypt=True) does. A pool cannot encrypt, so its seal() raises ValueError. This
    call locks the 16 KiB of which the keys are made, until the process ends.

    Returns the previous setting, a bool. If both are given, it returns both, in that
    order. ProtectionError: the 16 KiB cannot be locked, or cannot be protected as
    required. Nothing has changed then.
    """

@overload
def configure(*, encrypt: bool) -> bool:
    """Choose where arenas lie from now on, and whether sealing encrypts them.

    secretmem, True by default: arenas lie in secretmem, where the kernel has it.
    Secretmem in use keeps the machine from hibernating. With False, arenas lie in locked
    anonymous memory. Arenas that exist, and pages that a pool has, stay as they are.
    Pages that are kept for later arenas are given back.

    encrypt, False by default: with True every Arena.seal() encrypts, as
    seal(encrypt=True) does. A pool cannot encrypt, so its seal() raises ValueError. This
    call locks the 16 KiB of which the keys are made, until the process ends.

    Returns the previous setting, a bool. If both are given, it returns both, in that
    order. ProtectionError: the 16 KiB cannot be locked, or cannot be protected as
    required. Nothing has changed then.
    """

@overload
def configure(*, secretmem: bool, encrypt: bool) -> tuple[bool, bool]:
    """Choose where arenas lie from now on, and whether sealing encrypts them.

    secretmem, True by default: arenas lie in secretmem, where the kernel has it.
    Secretmem in use keeps the machine from hibernating. With False, arenas lie in locked
    anonymous memory. Arenas that exist, and pages that a pool has, stay as they are.
    Pages that are kept for later arenas are given back.

    encrypt, False by default: with True every Arena.seal() encrypts, as
    seal(encrypt=True) does. A pool cannot encrypt, so its seal() raises ValueError. This
    call locks the 16 KiB of which the keys are made, until the process ends.

    Returns the previous setting, a bool. If both are given, it returns both, in that
    order. ProtectionError: the 16 KiB cannot be locked, or cannot be protected as
    required. Nothing has changed then.
    """

def concat(
    *parts: ReadableBuffer, require: Protection | None = None, name: str | None = None
) -> Arena:
    """A new Arena of all parts, bytes-like objects, one after the other.

    Copied straight into the arena; without parts it is empty. As b''.join, whose
    result would be bytes. Errors as for Arena(part); nothing is made then.
    """

def disarm() -> None:
    """Put back what handled the signals before, where ours is still in place.

    It lasts: later arenas do not arm again until arm() is called.
    """

def encode(text: str, /, *, require: Protection | None = None, name: str | None = None) -> Arena:
    """A new Arena of a str's UTF-8, as str.encode.

    It is written straight into the arena, and no copy is cached in the str. The str
    itself is a copy, and stays. The time depends on how many bytes each character takes.
    ValueError: a lone surrogate; the error names the position alone. TypeError: not a
    str.
    """

def fromhex(
    text: str | ReadableBuffer, /, *, require: Protection | None = None, name: str | None = None
) -> Arena:
    """A new Arena of the bytes that hexadecimal text stands for, as bytes.fromhex.

    Takes a str or a bytes-like object, which stays as it is. ASCII white space may stand
    between the bytes. The time depends on the length and on where white space is.
    ValueError: other text; the error names the position, never the character.
    """

def harden() -> Hardening:
    """Let this process write no core files and be read by no other; a Hardening.

    Core files are limited to 0, soft and hard, and children inherit that. On Linux the
    process also becomes undumpable, until it runs another program or changes its user. So
    call this after the change. A fork stays undumpable. On macOS ptrace may not attach.

    What no longer works: core dumps; gdb -p, strace -p, py-spy and perf by the same
    user, and reading this process through /proc. On Linux the files of /proc/self
    belong to root: an ordinary user's process cannot open its own mem, environ, auxv
    or pagemap any more; maps, status, smaps and fd still work. A process that has
    CAP_SYS_PTRACE, as root's, can still do all of it, but reads no secretmem.

    It cannot be undone, and may be repeated. A refusal raises nothing: the answer is then
    false, and tells what was refused.
    """

def hexlify(
    data: ReadableBuffer, /, *, require: Protection | None = None, name: str | None = None
) -> Arena:
    """A new Arena of the hexadecimal text of a bytes-like object, as binascii.hexlify.

    Small letters; constant-time. TypeError: a str, or no buffer.
    """

def is_secure(object: ReadableBuffer, /) -> bool:
    """Whether the memory of a bytes-like object lies in a live arena.

    It is true of arenas that are not closed, of their views, and of objects that share
    their memory, such as memoryviews and arrays made with frombuffer. TypeError: it has
    no buffer.
    """

def is_sheltered(object: object, /) -> bool:
    """Whether an object was made in a sheltered call, with the memory that its buffer
    shows, if it has one.

    Python reuses some lists, tuples and dicts: one that is made inside may lie outside,
    while what it refers to lies inside.
    """

def lockdown() -> int:
    """Wipe every arena of the process, write the marker 'L', and rekey.

    Sealed and pooled arenas are wiped too, and exported buffers then show noise. Returns
    how many arenas were wiped. The process goes on, and arenas that are made later are
    not affected. OSError: there was no entropy for the rekey, but all is wiped.
    """

def random(
    size: SupportsIndex, /, *, require: Protection | None = None, name: str | None = None
) -> Arena:
    """A new Arena of size random bytes, as secrets.token_bytes gives.

    The kernel writes them straight into the arena. TypeError, ValueError,
    OverflowError, MemoryError and OSError as for Arena(size), and require and name.
    """

def rekey() -> None:
    """Make fresh noise from the kernel's entropy; what was wiped stays as it is.

    Before first use it does nothing. OSError: no entropy, and the old noise stays.
    """

def require(protection: Protection, /) -> Protection:
    """Make every arena from now on have these Protection flags, or not be made.

    A shortfall is then a ProtectionError, which names the call that was refused, its
    errno and what mends it, instead of a ProtectionWarning. Protection(0) requires
    nothing; GUARD and NOFORK always hold. Returns the previous requirement.
    ValueError: unknown flags.
    """

def rotate(arena: Arena, /, timeout: float = 0) -> None:
    """Move an arena's content to fresh pages, as Arena.rotate(), which says more."""

def set_lockdown_fd(fd: FileDescriptorLike | None, /) -> int | None:
    """Choose where the marker goes: a descriptor, an object with fileno(), or None for
    nowhere. Returns the previous one.

    The marker is one byte: 'F' when a fatal signal has wiped all, 'L' from lockdown(). If
    several threads fault together, there may be more than one 'F'. SIGTERM, SIGHUP and
    signals that were armed besides the default ones write it only to a descriptor that
    was set. The default is 2, standard error as it was when the library was imported, or
    None if that was closed. On a terminal a newline follows.

    The descriptor stays the caller's. The file behind it is remembered: when the
    number is reused for another, nothing is written. OSError: not an open
    descriptor; the previous one stays.
    """

def shelter(f: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call f and return what it returns; all memory that Python takes on this thread
    meanwhile comes from the vault: guarded, locked, left out of core files.

    An object that is made there stays there until it is freed, wherever that happens, and
    is overwritten then. The stack below the call and the registers are cleared at its
    end. Copies that are made later, outside, are ordinary memory. Not covered: threads
    that f starts, buffers and containers made before, and memory that C libraries take
    from malloc, except under python -m secalloc run with glibc. Follows Go's
    runtime/secret.Do.

    TypeError: f cannot be called, or returns a generator or coroutine, which is closed;
    MemoryError, in f: no locked memory; ProtectionError and OSError as for Arena();
    NotImplementedError: a free-threaded Python, or one whose allocators cannot be
    reached; RuntimeError: another tool has taken the allocators over.
    """

def status() -> Status:
    """What holds at this moment, as a Status: a named tuple. Before the first arena, too."""

def take(
    buffer: WriteableBuffer, /, *, require: Protection | None = None, name: str | None = None
) -> Arena:
    """A new Arena with the content of a writable contiguous buffer, which is cleared.

    A whole Arena as the source becomes wiped; anything else is overwritten with
    noise. BufferError: read-only, or not contiguous; TypeError, MemoryError, OSError
    as for Arena(buffer). When it fails the source still has its content.
    """

def trim() -> None:
    """Give back the pages that are kept for the next arenas, those of pools too.

    The pages of a closed arena are kept, wiped and inaccessible, because the next arena
    then costs a tenth. Until they are given back they count against limits, and secretmem
    keeps the machine from hibernating. They are given back when the last arena is closed,
    unless the one before went within the last second. Call this in a program that has
    used many arenas in a row and will need none for a while.
    """

def _census() -> list[
    tuple[int, int, int, int, int, int, int, bool, bool, bool, bool, bool, str | None]
]: ...
def _census_names() -> list[tuple[int, str]]: ...
def _dumpable() -> bool | None: ...
def _lockdown_quietly() -> int: ...
def _uses(arena: Arena, /) -> tuple[bool, bool, float] | None: ...
def _watch(arena: Arena, whether: bool, /) -> None: ...
def _forbid_fork() -> None: ...
def _forbids_fork() -> bool: ...
def _frees_are_overwritten() -> bool: ...
def _echo_back(fd: int, /) -> None: ...
def _echo_before() -> tuple[int, int, int, bytes]: ...
def _echo_off(fd: int, /) -> None: ...
def _environ_copy(
    variable: bytes, /, *, require: Protection | None = None, name: str | None = None
) -> Arena | None: ...
def _environ_wipe(name: bytes, /) -> None: ...
def _is_raised() -> bool: ...
def _read_by_page(fd: int, to: WriteableBuffer, /) -> int: ...
def _scrub(
    mapping: MutableMapping[bytes, bytes] | MutableMapping[int, str], key: bytes | int, /
) -> bool: ...
