"""Who asks: the process at the other end of a connection, as the kernel tells it."""

import _socket
import os
import struct
import sys
from _socket import socket
from typing import NamedTuple

_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2
"""From sys/un.h of macOS: Python's module has no names for them."""


class Peer(NamedTuple):
    """A process: its number, its user, and when it began, by which it is told from a later one
    of the same number. None: the kernel does not tell."""

    pid: int
    user: int | None
    began: int | None


def began(pid: int) -> int | None:
    """When a process began, in clock ticks; None where that is not to be had.

    ProcessLookupError: there is no such process.
    """
    if sys.platform != "linux":
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as stat:
            return int(stat.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        if pid > 0 and os.path.exists(f"/proc/{os.getpid()}/stat"):
            raise ProcessLookupError(f"process {pid} is gone") from None
        return None  # no /proc, as after a chroot


if sys.platform == "linux":

    def peer(end: socket) -> Peer:
        """Who made the pair of sockets that this one is of. OSError: it is none of a pair."""
        if end.family != _socket.AF_UNIX or end.type != _socket.SOCK_STREAM:
            raise OSError("not a connected stream of this machine")
        value = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        pid, user, _group = struct.unpack("=iII", value)
        return Peer(pid, user, began(pid) if pid else None)

else:

    def peer(end: socket) -> Peer:
        """Who used the other end last."""
        if end.family != _socket.AF_UNIX or end.type != _socket.SOCK_STREAM:
            raise OSError("not a connected stream of this machine")
        (pid,) = struct.unpack("=i", end.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID, 4))
        try:
            value = end.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 76)
            user = struct.unpack("=II", value[:8])[1]
        except OSError:  # not kept for a pair of sockets
            user = None
        return Peer(pid, user, None)
