"""Where else in this process a secret is: copies that others made, and left."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from secalloc._core import Arena, ArenaView, _find

__all__ = ["MOST", "Copy", "find"]

MOST = 10_000
"""How many copies find() lists: it ends with the last of them."""


class Copy(NamedTuple):
    """One copy of a secret, or of a part of it, outside of every arena."""

    address: int
    """Of its first byte."""
    mapping: str
    """The mapping's path or name, as /proc/self/maps has it, or "anonymous"."""
    offset: int
    """Bytes from the start of the mapping."""
    length: int
    """Bytes in memory that match."""
    whole: int
    """Bytes that the whole secret takes in that form."""
    form: str
    """"plain", "hex", "HEX", "base64", "base64url", "utf-16", "utf-32", "latin-1",
    "hmac ipad" or "hmac opad"."""
    kind: Literal["bytes", "str", "bytearray", "C heap", "thread stack", "mapped file", "memory"]
    """What it lies in, by the looks of it: an object that lives or was freed, or the memory."""

    def __str__(self) -> str:
        """One line for a person; never any content."""
        part = "all" if self.length == self.whole else f"{self.length} bytes"
        return (
            f"{self.address:#x}: {self.kind}, {part} of {self.whole} bytes as {self.form}, "
            f"in {self.mapping} at {self.offset:#x}"
        )


def find(
    secret: Arena | ArenaView,
    *,
    partial: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> list[Copy]:
    """List the copies of a secret in this process's readable memory, by address.

    Arenas are left out. The search makes no copy outside of arenas itself. With partial, parts
    of half the secret (8 bytes at least) count too. So do other forms, whole or in such parts:
    hexadecimal and base64 text, two and four bytes for each byte or UTF-8 character, as a str
    holds them, and HMAC's inner and outer pads. Parts that hardly vary do not count.
    progress(done, total) is called every 64 MiB, both in bytes of address space. An exception
    that it raises ends the search. The first MOST copies are listed. If copies overlap, the
    longer one is listed.

    Memory may change during the search: what others write, map or unmap meanwhile is seen as it
    was before or after, and what vanishes is passed over. Registers, the kernel's memory and
    pages that were never touched are not looked at. ValueError: a secret shorter than 8 bytes,
    or nearly all zero bytes, which stands everywhere by chance. TypeError: not an arena.
    Closed, wiped and sealed arenas raise what reading them does. OSError: memory cannot be read
    here at all. MemoryError.
    """
    return [Copy(*copy) for copy in _find(secret, partial, progress)]  # type: ignore[arg-type]
