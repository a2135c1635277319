"""Where services get secrets: the environment, and folders of credentials. No copy stays."""

import os
from _thread import RLock
from errno import ENOENT, ENOTDIR
from typing import Literal, TypeVar, overload

from secalloc._core import Arena, _environ_copy, _environ_wipe, _is_raised, _scrub
from secalloc._file import read_regular
from secalloc._kind import Kind
from secalloc._values import Protection

_T = TypeVar("_T")

LARGEST = 1 << 20
"""Bytes of a credential: no more than that is taken by systemd, Docker and Kubernetes."""

MOUNTED = "/run/secrets"
"""Where containers have them: Docker, Podman, and Kubernetes where it is told to."""

# ---- the environment ------------------------------------------------------------------------

# A thread would read half of what another overwrites. The lock can be taken again, as a warning
# runs code that may come here, too.
_consuming = RLock()
os.register_at_fork(after_in_child=_consuming._at_fork_reinit)  # type: ignore[attr-defined]


@overload
def getenv(
    variable: str | bytes,
    /,
    *,
    consume: bool = True,
    default: object = None,
    required: Literal[True],
    require: Protection | None = None,
    name: str | None = None,
) -> Arena: ...
@overload
def getenv(
    variable: str | bytes,
    /,
    *,
    consume: bool = True,
    default: None = None,
    required: bool = False,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena | None: ...
@overload
def getenv(
    variable: str | bytes,
    /,
    *,
    consume: bool = True,
    default: _T,
    required: bool = False,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena | _T: ...
def getenv(  # noqa: PLR0913
    variable: str | bytes,
    /,
    *,
    consume: bool = True,
    default: object = None,
    required: bool = False,
    require: Protection | None = None,
    name: str | None = None,
) -> object:
    """Take a variable out of the environment: a new Arena with its value, and it is gone.

    The value is copied from the C environment. Its bytes there are then overwritten, in each
    entry of that name. So are the bytes that the kernel shows in the process's environ file,
    even if the variable was set again or removed before. The copy in os.environ is overwritten,
    too, unless the program holds a reference to it or its length is 0 or 1. The name is removed
    from os.environ. With consume=False all is left as it is. If there is no such variable, the
    result is default; with required it is a KeyError. Copies that the program made by
    os.environ[variable] stay, and so do copies that the C library kept of earlier values.
    ValueError: the variable's name is empty, or has '=' or NUL in it. require and name are as
    for Arena(). As os.environ.pop.
    """
    if not isinstance(variable, str | bytes):
        raise TypeError(f"a variable's name is a str or bytes, not {type(variable).__name__}")
    key = os.fsencode(variable)
    if not key or b"=" in key or b"\0" in key:
        raise ValueError("a variable's name is not empty, and has no '=' and no NUL")
    with _consuming:
        value = _environ_copy(key, require=require, name=name)
        if consume:
            _environ_wipe(key)
        if value is not None and consume:
            if key in os.environb:
                _scrub(os.environb, key)  # removes it from the C environment, too
            else:
                os.unsetenv(key)
    if value is None and required:
        raise KeyError(variable)
    return default if value is None else value


# ---- credentials ----------------------------------------------------------------------------


def _folders() -> list[str]:
    """Where credentials are looked for, the first that has one being it."""
    trusted = not _is_raised()  # else who started it says what the environment has
    folders = []
    if trusted and os.environ.get("CREDENTIALS_DIRECTORY"):
        folders.append(os.environ["CREDENTIALS_DIRECTORY"])
    folders.append(MOUNTED)
    if trusted:
        folders += os.environ.get("SECALLOC_CREDENTIALS", "").split(os.pathsep)
    return [folder for folder in folders if folder]


def _missing(which: str, tried: list[str]) -> FileNotFoundError:
    hints = []
    if _is_raised():
        hints.append("the environment is not looked at, as the process has raised privileges")
    elif not os.environ.get("CREDENTIALS_DIRECTORY"):
        hints.append("CREDENTIALS_DIRECTORY, which systemd sets, is not set")
    where = ", ".join([*tried, *hints])
    return FileNotFoundError(ENOENT, f"no such credential; looked for {where}", which)


@overload
def credential(
    which: str,
    /,
    *,
    strip: bool = True,
    required: Literal[True] = True,
    max_size: int = LARGEST,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena: ...
@overload
def credential(
    which: str,
    /,
    *,
    strip: bool = True,
    required: bool,
    max_size: int = LARGEST,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena | None: ...
def credential(  # noqa: PLR0913
    which: str,
    /,
    *,
    strip: bool = True,
    required: bool = True,
    max_size: int = LARGEST,
    require: Protection | None = None,
    name: str | None = None,
) -> Arena | None:
    """A new Arena with a secret from where services get theirs, by the name of its file.

    It is looked for in $CREDENTIALS_DIRECTORY (systemd), then in /run/secrets (Docker, Podman,
    Kubernetes if it is mounted there), then in each folder of SECALLOC_CREDENTIALS, separated
    as in PATH. A process of raised privileges (AT_SECURE) ignores these variables. strip drops
    one line end, as read() does. require and name are as for Arena().

    FileNotFoundError: there is none, and the error says where it was looked for; with
    required=False None. IsADirectoryError, PermissionError. ValueError: a name that is empty,
    '.' or '..', or has a slash or a NUL in it; no regular file, as a named pipe that nobody may
    write to; an empty one, or one of more than max_size bytes. TypeError: no str. Follows
    systemd's rules for names and places (systemd.exec(5)).
    """
    if not isinstance(which, str):
        raise TypeError(f"a credential's name is a str, not {type(which).__name__}")
    if which in ("", ".", "..") or "/" in which or "\0" in which:
        raise ValueError(
            "a credential's name is that of a file: not empty, no '.' or '..', and "
            "without slash or NUL"
        )
    kind = Kind(require, name)
    tried = []
    for folder in _folders():
        path = os.path.join(folder, which)
        try:
            return read_regular(path, max_size, strip=strip, kind=kind)
        except OSError as error:
            if error.errno not in (ENOENT, ENOTDIR):
                raise
            tried.append(path)
    if required:
        raise _missing(which, tried)
    return None
