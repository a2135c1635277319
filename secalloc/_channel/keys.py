"""Keys of the parent's, one for each connection over which several secrets go: the process at its
other end has a copy, and small secrets are encrypted on their way to it."""

from typing import TYPE_CHECKING

from secalloc._channel import wire
from secalloc._channel.offer import Refused
from secalloc._channel.room import has_room
from secalloc._core import Arena, Pool
from secalloc._values import Protection

if TYPE_CHECKING:
    from _thread import RLock

__all__ = ["Keys"]


class Keys:
    """Those that are in use, in a pool of their own, which goes with the last of them.

    Its lock is the server's, whose holder may take it again: a finalizer that closes connections
    may run while a key is made, and waits for no other.
    """

    def __init__(self, lock: "RLock") -> None:
        self.lock = lock
        self.pool: Pool | None = None
        self.number = 0

    def make(self) -> Arena:
        """A new one, to be given to drop(). Refused: there is no memory for it that is locked."""
        refused = Refused(wire.GONE, "the parent has little locked memory left, and no key")
        with self.lock:
            if not has_room():
                raise refused
            self.number += 1  # first: else one that is dropped meanwhile takes the pool along
            try:
                self.pool = self.pool or Pool()
                return self.pool.random(wire.KEY_BYTES, require=Protection.LOCK, name=wire.KEY_NAME)
            except BaseException as error:
                self._less()
                if isinstance(error, OSError | MemoryError):
                    raise refused from None
                raise

    def drop(self, key: Arena | None) -> None:
        """Wipe one, if it is one."""
        if key is None:
            return
        key.close()
        with self.lock:
            self._less()

    def _less(self) -> None:
        self.number -= 1
        if self.pool and not self.number:
            pool, self.pool = self.pool, None
            pool.close()
