"""Whether a key is worth what it takes: a page that is locked, and in a parent those of a pool."""

from secalloc._core import status

__all__ = ["has_room"]

ROOM = 1 << 20
"""Bytes that can still be locked: with less, the key's page may be what a secret lacks."""


def has_room() -> bool:
    """Of all that limits it."""
    now = status()
    used = [(now.lock_limit, now.locked_bytes)]
    if now.backend == "secretmem":
        used.append((now.secretmem_limit, now.secretmem_bytes))
    return all(limit is None or limit - bytes_ >= ROOM for limit, bytes_ in used)
