"""In a child: takes over what its parent passed, and knows that it did.

Imported where the environment names a descriptor, and by what spawns without exec.
"""

import fcntl
import os
import stat

from secalloc._core import _leave_lockdown_fd, _take_lockdown_fd, _warn_later

LOCKDOWN_FD = "SECALLOC_LOCKDOWN_FD"
LOCKDOWN_FILE = "SECALLOC_LOCKDOWN_FILE"
SECRETS_FD = "SECALLOC_SECRETS_FD"
SECRETS_USES = "SECALLOC_SECRETS_USES"
"""Set where several processes come with the same ends."""

_lockdown_fd: int | None = None
_lockdown_file = ""
_secrets_fd: int | None = None
_came: dict[str, str] = {}
_hooked = False
shared = False
"""Whether other processes have these ends, too: forks of this one keep the socket."""
alone = False
"""Whether this process's markers go where no other's do."""
owner = 0
"""The process that took over; 0: none did."""
had_secrets = False
"""Whether a socket for secrets was taken over."""


def identity(fd: int) -> str:
    """Names the file behind a descriptor. OSError: it is closed."""
    file = os.fstat(fd)
    return f"{file.st_dev}:{file.st_ino}"


def _checked(text: str, file: str | None, *, socket: bool) -> int:
    """The descriptor that a variable names; ValueError with the reason where it is none."""
    if not (text.isascii() and text.isdigit()) or int(text) >= 2**31:
        raise ValueError("it is not the number of a descriptor")
    fd = int(text)
    if fd in (0, 1, 2):
        raise ValueError("it is a standard stream")
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        raise ValueError("that descriptor is not open") from None
    if not (stat.S_ISSOCK(mode) or (stat.S_ISFIFO(mode) and not socket)):
        raise ValueError(f"that descriptor is no {'' if socket else 'pipe or '}socket")
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise ValueError("that descriptor cannot be written to")
    if file is not None and file != identity(fd):
        raise ValueError("that descriptor was closed, and its number used for another file")
    return fd


def from_environment() -> None:
    """Take over what the environment names, and remove it from there.

    A bad value is warned of at the first arena, and the default stays.
    """
    global _secrets_fd, shared  # noqa: PLW0603
    for name in (LOCKDOWN_FD, LOCKDOWN_FILE, SECRETS_FD, SECRETS_USES):
        if name in os.environ:
            _came[name] = os.environ[name]
    text = os.environ.pop(LOCKDOWN_FD, None)
    files = (os.environ.pop(LOCKDOWN_FILE, None) or "").split(",")
    secrets = os.environ.pop(SECRETS_FD, None)
    shared = os.environ.pop(SECRETS_USES, None) is not None
    files += [""] * (2 - len(files))
    for name, value, file in (
        (LOCKDOWN_FD, text, files[0]),
        (SECRETS_FD, secrets, files[1]),
    ):
        if value is None:
            continue
        try:
            fd = _checked(value, file or None, socket=name == SECRETS_FD)
            if name == LOCKDOWN_FD:
                take(fd, None)
            else:
                os.set_inheritable(fd, False)
                _secrets_fd = fd
                _own()
        except (ValueError, OSError) as error:
            _warn_later(f"{name}={value[:40]!r} is not used: {error}")


def take(fd: int, secrets_fd: int | None, *, uses: bool = False) -> None:
    """Send this process's markers to `fd`, which it owns from now on. `uses`: the ends are
    those of other processes, too.

    OSError: not an open descriptor.
    """
    global _lockdown_fd, _lockdown_file, _secrets_fd, shared, alone  # noqa: PLW0603
    os.set_inheritable(fd, False)
    if secrets_fd is not None:
        os.set_inheritable(secrets_fd, False)
    _take_lockdown_fd(fd)
    _lockdown_fd, _lockdown_file = fd, identity(fd)
    alone = False
    if secrets_fd is not None:
        _secrets_fd = secrets_fd
        shared = uses
    _own()


def take_own(fd: int) -> None:
    """Send this process's markers to `fd`, where no other's go, and not to the shared one."""
    global _lockdown_fd, _lockdown_file, alone
    before, file = _lockdown_fd, _lockdown_file
    _take_lockdown_fd(fd)
    _lockdown_fd, _lockdown_file, alone = fd, identity(fd), True
    if before is not None:
        _close_own(before, file)


def _close_own(fd: int, file: str) -> None:
    try:
        if identity(fd) == file:
            os.close(fd)
    except OSError:
        pass  # the program closed it before


def _own() -> None:
    global owner, had_secrets, _hooked  # noqa: PLW0603
    had_secrets = had_secrets or _secrets_fd is not None
    owner = os.getpid()
    if not _hooked:
        _hooked = True
        os.register_at_fork(after_in_child=_forked)


def pass_on(environment: dict[str, str]) -> None:
    """Leave all that came by the environment to the program that exec puts in this one's place."""
    environment.update(_came)
    for fd in (_lockdown_fd, _secrets_fd):
        if fd is not None:
            os.set_inheritable(fd, True)


def secrets_fd() -> int | None:
    """The socket over which secrets come, still this module's; None: there is none."""
    return _secrets_fd


def drop_secrets() -> None:
    """Close that socket."""
    global _secrets_fd
    fd, _secrets_fd = _secrets_fd, None
    if fd is not None:
        os.close(fd)


def _forked() -> None:
    """A child of this process, without exec: the channel is not its own. Its copies are
    closed, or the parent would not see when the process itself is gone. Of ends that are for
    several processes it may be one of them, and keeps what it asks by."""
    global _lockdown_fd, owner, alone  # noqa: PLW0603
    fd, _lockdown_fd = _lockdown_fd, None
    alone = False
    if fd is not None:
        _leave_lockdown_fd(fd)
        _close_own(fd, _lockdown_file)
    if shared and _secrets_fd is not None:
        owner = os.getpid()
    elif _secrets_fd is not None:
        drop_secrets()
