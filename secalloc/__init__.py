"""Memory for secrets: guarded, locked, and wiped when the process dies.

A secret lives in an `Arena`: between guard pages, locked in RAM, left out of core
files and child processes. When the process is hit by a fatal signal every arena is
overwritten with noise before anything else runs.

    import hashlib, secalloc

    with secalloc.random(32) as key:        # the kernel writes straight into it
        hashlib.sha256(key).digest()        # any buffer consumer takes it, without a copy
        secalloc.compare_digest(key, b"guess")
                                            # closed: wiped and given back

    password = secalloc.take(bytearray(b"..."))         # copied, and the source cleared
    with password.open("w") as view:                    # written anew, in place
        stream.readinto(view)

Come in: `Arena`, `random`, `take`, `concat`, `getpass`, `getenv`, `read`, `fromhex`,
`b64decode`, `encode`; go out as text: `hexlify`, `b64encode`; many small secrets on few
pages: `Pool`.
Wipe: `clear`, `lockdown`, `rekey`, `rotate`.  Ask: `is_secure`, `compare_digest`, `status`.
Arrange: `require`, `configure`, `arm`, `disarm`, `set_lockdown_fd`, `harden`.
Prove: `residue.find` lists the copies that others made of a secret, and where they are.
With other processes: `LockdownChannel` hears of a child's wipes and hands it secrets, which
it gets with `adopt`.  In a shell: `python -m secalloc --help`.
Importing maps nothing and installs no handler; the first arena does. `random` and
`getpass` are not in `__all__`, as they would shadow standard modules.
"""

import sys
from os import environ as _environ

if sys.platform not in ("linux", "darwin"):
    raise ImportError(f"secalloc works on Linux and macOS, not on {sys.platform}.")

from secalloc._core import (
    Arena,
    ArenaView,
    ForkedError,
    Pool,
    ProtectionError,
    ProtectionWarning,
    SealedError,
    WipedError,
    arm,
    b64decode,
    b64encode,
    clear,
    compare_digest,
    concat,
    configure,
    disarm,
    encode,
    fromhex,
    harden,
    hexlify,
    is_secure,
    lockdown,
    rekey,
    require,
    rotate,
    set_lockdown_fd,
    status,
    take,
)
from secalloc._core import random as random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from secalloc import residue as residue
    from secalloc._handover import AdoptError, adopt
    from secalloc._terminal import getpass as getpass
    from secalloc._values import Hardening, Protection, Status
    from secalloc.channel import LockdownChannel, LockdownChild, LockdownEvent, LockdownKind
    from secalloc.sources import getenv, read

__version__ = "0.1.0"
__all__ = [
    "AdoptError",
    "Arena",
    "ArenaView",
    "ForkedError",
    "Hardening",
    "LockdownChannel",
    "LockdownChild",
    "LockdownEvent",
    "LockdownKind",
    "Pool",
    "Protection",
    "ProtectionError",
    "ProtectionWarning",
    "SealedError",
    "Status",
    "WipedError",
    "adopt",
    "arm",
    "b64decode",
    "b64encode",
    "clear",
    "compare_digest",
    "concat",
    "configure",
    "disarm",
    "encode",
    "fromhex",
    "getenv",
    "harden",
    "hexlify",
    "is_secure",
    "lockdown",
    "read",
    "rekey",
    "require",
    "rotate",
    "set_lockdown_fd",
    "status",
    "take",
]


# enum and typing cost more to import than all the rest, so these wait until asked for
_LAZY = {
    "_handover": ("AdoptError", "adopt"),
    "_terminal": ("getpass",),
    "_values": ("Hardening", "Protection", "Status"),
    "channel": ("LockdownChannel", "LockdownChild", "LockdownEvent", "LockdownKind"),
    "residue": (),
    "sources": ("getenv", "read"),
}


def __getattr__(name: str) -> object:
    for module, names in _LAZY.items():
        if name == module or name in names:
            __import__(f"secalloc.{module}")
            if name == module:
                return globals()[name]
            value: object = getattr(globals()[module], name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "SECALLOC_LOCKDOWN_FD" in _environ or "SECALLOC_SECRETS_FD" in _environ:
    from secalloc import _takeover

    _takeover.from_environment()  # what a parent's LockdownChannel passed to this process


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
