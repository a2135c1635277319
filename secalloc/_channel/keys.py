"""Keys of the parent's, one for each connection over which several secrets go: the process at its
other end has a copy, and small secrets are encrypted on their way to it."""

from secalloc._channel import wire
from secalloc._channel.offer import Refused
from secalloc._core import Arena, Pool
from secalloc._values import Protection

__all__ = ["Keys"]


class Keys:
    """Those that are in use, in a pool of their own, which goes with the last of them."""

    def __init__(self) -> None:
        self.lock = wire.allocate_lock()
        self.pool: Pool | None = None
        self.number = 0

    def make(self) -> Arena:
        """A new one, to be given to drop(). Refused: there is no memory for it that is locked."""
        with self.lock:
            try:
                self.pool = self.pool or Pool()
                key = self.pool.random(wire.KEY_BYTES, require=Protection.LOCK)
            except (OSError, MemoryError):
                raise Refused(wire.GONE, "the parent has no locked memory for a key") from None
            self.number += 1
            return key

    def drop(self, key: Arena | None) -> None:
        """Wipe one, if it is one."""
        if key is None:
            return
        key.close()
        with self.lock:
            self.number -= 1
            if self.pool and not self.number:
                self.pool.close()
                self.pool = None
