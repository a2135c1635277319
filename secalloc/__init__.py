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

Come in: `Arena`, `random`, `take`, `concat`, `getpass`, `getenv`, `read`, `credential`,
`fromhex`, `b64decode`, `encode`; go out as text: `hexlify`, `b64encode`; to a file: `write`; to
other programs, and to what insists on a path: `pipe`, `as_path`; many small secrets on few
pages: `Pool`.
Wipe: `clear`, `lockdown`, `rekey`, `rotate`.  Ask: `is_secure`, `compare_digest`, `status`.
Arrange: `require`, `configure`, `trim`, `arm`, `disarm`, `set_lockdown_fd`, `harden`.
Shelter what insists on bytes or str: `shelter`, `sheltered`, `capture`, `capturing`,
`is_sheltered`.
Prove: `residue.find` lists the copies that others made of a secret, and where they are.
With other processes: `LockdownChannel` hears of a child's wipes and hands it secrets, which
it gets with `adopt`.  In a shell: `python -m secalloc --help`.
Importing maps nothing and installs no handler; the first arena does. `random` and
`getpass` are not in `__all__`, as they would shadow standard modules.
"""

from _signal import set_wakeup_fd as _set_wakeup_fd  # type: ignore[import-not-found]
from _thread import RLock as _RLock
from os import environ as _environ
from os import register_at_fork as _register_at_fork
from sys import modules as _modules
from sys import platform as _platform
from sys import version_info as _version_info

if _platform not in ("linux", "darwin"):
    raise ImportError(f"secalloc works on Linux and macOS, not on {_platform}.")

try:
    from secalloc._core import (
        Arena,
        ArenaView,
        ClosedError,
        Error,
        ForkedError,
        Pool,
        ProtectionError,
        ProtectionWarning,
        SealedError,
        WipedError,
        _answer_with,
        _import_with,
        _warn_in_child,
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
        is_sheltered,
        lockdown,
        rekey,
        require,
        rotate,
        set_lockdown_fd,
        shelter,
        status,
        take,
        trim,
    )
except ModuleNotFoundError as _error:
    if _error.name != "secalloc._core":
        raise
    raise ImportError(
        f"secalloc's extension was not built for this Python in {__path__[0]}: install it by "
        "python -m pip install ., and in a clone run Python elsewhere or with -P, as that "
        "directory comes first",
        name="secalloc._core",
    ) from None

from secalloc._core import random as random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from secalloc import map as map
    from secalloc import residue as residue
    from secalloc._channel.handover import AdoptError, adopt, on_offer
    from secalloc._file import read, write
    from secalloc._shelter import capture, capturing, sheltered
    from secalloc._terminal.ask import getpass as getpass
    from secalloc._values import Hardening, Protection, Sheltered, Status
    from secalloc.channel import LockdownChannel, LockdownChild, LockdownEvent, LockdownKind
    from secalloc.desktop import lock_on
    from secalloc.outlets import as_path, pipe
    from secalloc.sources import credential, getenv

__version__ = "0.2.0"
__all__ = [
    "AdoptError",
    "Arena",
    "ArenaView",
    "ClosedError",
    "Error",
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
    "Sheltered",
    "Status",
    "WipedError",
    "adopt",
    "arm",
    "as_path",
    "b64decode",
    "b64encode",
    "capture",
    "capturing",
    "clear",
    "compare_digest",
    "concat",
    "configure",
    "credential",
    "disarm",
    "encode",
    "fromhex",
    "getenv",
    "harden",
    "hexlify",
    "is_secure",
    "is_sheltered",
    "lock_on",
    "lockdown",
    "on_offer",
    "pipe",
    "read",
    "rekey",
    "require",
    "rotate",
    "set_lockdown_fd",
    "shelter",
    "sheltered",
    "status",
    "take",
    "trim",
    "write",
]


# Importing enum and typing costs more than all the rest. So these modules wait until they are
# asked for, or until the first arena: after that the process may be where no file is in reach.
_LAZY = {
    "_expiry": (),
    "_pydantic": (),
    "_file": ("read", "write"),
    "_shelter": ("capture", "capturing", "sheltered"),
    "_values": ("Hardening", "Protection", "Sheltered", "Status"),
    "_channel.handover": ("AdoptError", "adopt", "on_offer"),
    "_terminal.ask": ("getpass",),
    "desktop": ("lock_on",),
    "channel": ("LockdownChannel", "LockdownChild", "LockdownEvent", "LockdownKind"),
    "map": (),
    "residue": (),
    "outlets": ("as_path", "pipe"),
    "sources": ("credential", "getenv"),
}
_importing = _RLock()
if "gevent.monkey" in _modules or "eventlet.patcher" in _modules:
    from secalloc._original import original as _original

    _importing = _original("_thread", "RLock")()
_FORK_WAITS = 10.0  # seconds


def _import_one(module: str) -> None:
    __import__(f"secalloc.{module}")
    if module == "_values":
        _answer_with(*_modules["secalloc._values"].ANSWERS)


def _threading_may_come() -> bool:
    """Before 3.13 the thread that imports threading counts as the main one from then on."""
    if _version_info >= (3, 13) or "threading" in _modules:
        return True
    try:
        _set_wakeup_fd(2**31 - 1)  # there is none; but elsewhere that is not looked at
    except ValueError:
        return False
    except OSError:
        pass
    return True


def _import(module: str | None) -> None:
    """Import one of these modules; None, at the first arena: all of them that can be had."""
    with _importing:
        if module is not None:
            _import_one(module)
            return
        for each in _LAZY:
            if each == "channel" and not _threading_may_come():
                continue
            try:  # noqa: SIM105 - contextlib is large
                _import_one(each)
            except Exception:  # noqa: S110 - an arena can be had without; a later use tells
                pass
        # A handler that forks a copy of sheltered objects cannot warn. The program's code may run
        # by this, so it comes after the hooks of those above, which make their locks anew.
        _register_at_fork(after_in_child=_warn_in_child)


def _before_fork() -> None:
    """A child would wait for ever for what another thread is importing. But no import keeps
    a program from forking for long."""
    _importing.acquire(timeout=_FORK_WAITS)


def _after_fork() -> bool:
    try:
        _importing.release()
    except RuntimeError:  # it was not to be had in time
        return False
    return True


def _in_child() -> None:
    global _importing  # noqa: PLW0603
    if not _after_fork():
        _importing = type(_importing)()  # its holder does not exist here


_register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork,
    after_in_child=_in_child,
)
_import_with(_import)


def __getattr__(name: str) -> object:
    for module, names in _LAZY.items():
        if name == module or name in names:
            _import(module)
            imported = _modules[f"secalloc.{module}"]
            if name == module:
                return imported
            value: object = getattr(imported, name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if "SECALLOC_LOCKDOWN_FD" in _environ or "SECALLOC_SECRETS_FD" in _environ:
    from secalloc._channel import takeover as _takeover

    _takeover.from_environment()  # what a parent's LockdownChannel passed to this process


def __dir__() -> list[str]:
    own = [name for name in globals() if name.startswith("__")]
    return sorted({*own, *__all__, "getpass", "map", "random", "residue"})
