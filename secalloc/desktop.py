"""Lockdowns by what happens to the session: logind says so over D-Bus (the extra "desktop")."""

import os
import sys
from collections.abc import Callable
from typing import Any

from secalloc._core import _lockdown_quietly

_MANAGER = "org.freedesktop.login1.Manager"
_SESSION = "org.freedesktop.login1.Session"
_NAME, _PATH = "org.freedesktop.login1", "/org/freedesktop/login1"
_REASONS = ("suspend", "screen-lock", "logout", "shutdown")
_WAIT = 10.0
"""Seconds that the bus may take to answer at first."""


class SessionLock:
    """What lock_on() returns: a context manager, which close() ends."""

    def __init__(self, reasons: set[str], callback: Callable[[str], object] | None) -> None:
        from threading import Event, Thread  # noqa: PLC0415

        self._reasons, self._callback = reasons, callback
        self._closed = False
        self._inhibitor = -1
        self._session = ""
        self._error: BaseException | None = None
        self._loop: Any = None
        self._bus: Any = None
        self._ready = Event()
        self._thread = Thread(target=self._run, name="secalloc lock_on", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error

    def __enter__(self) -> "SessionLock":  # noqa: PYI034 - typing is large
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def close(self) -> None:
        """Lock down for nothing any more. Repeating it does no harm."""
        from threading import current_thread  # noqa: PLC0415

        self._closed = True
        if self._thread.is_alive():
            try:  # noqa: SIM105 - contextlib is large
                self._loop.call_soon_threadsafe(self._bus.disconnect)
            except RuntimeError:  # the loop has ended
                pass
            if current_thread() is not self._thread:
                self._thread.join()

    # ---- all from here on runs on its thread

    def _run(self) -> None:
        import asyncio  # noqa: PLC0415

        asyncio.run(self._serve())

    async def _serve(self) -> None:
        import asyncio  # noqa: PLC0415

        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(self._connect(), _WAIT)
        except Exception as error:
            self._error = OSError(f"logind cannot be heard on the system bus: {error!r}")
            self._error.__cause__ = error
            if self._bus is not None:
                self._bus.disconnect()
            return
        finally:
            self._ready.set()
        try:  # noqa: SIM105
            await self._bus.wait_for_disconnect()
        except Exception:  # noqa: S110 - lost in whatever way
            pass
        self._release()
        if not self._closed:
            self._lost()

    async def _connect(self) -> None:
        from dbus_fast import BusType  # noqa: PLC0415
        from dbus_fast.aio import MessageBus  # noqa: PLC0415

        self._bus = MessageBus(bus_type=BusType.SYSTEM, negotiate_unix_fd=True)
        await self._bus.connect()
        self._bus.add_message_handler(self._hear)
        for interface in (_MANAGER, _SESSION, "org.freedesktop.DBus.Properties"):
            rule = f"type='signal',sender='{_NAME}',interface='{interface}'"
            await self._call(
                "org.freedesktop.DBus",
                "/org/freedesktop/DBus",
                "org.freedesktop.DBus",
                "AddMatch",
                "s",
                [rule],
            )
        await self._inhibit()
        if self._reasons & {"screen-lock", "logout"}:
            number = os.environ.get("XDG_SESSION_ID")
            answer = (
                await self._call(_NAME, _PATH, _MANAGER, "GetSession", "s", [number])
                if number
                else await self._call(_NAME, _PATH, _MANAGER, "GetSessionByPID", "u", [os.getpid()])
            )
            self._session = answer[0]

    async def _call(  # noqa: PLR0913, PLR0917
        self, name: str, path: str, interface: str, member: str, signature: str, body: list[Any]
    ) -> list[Any]:
        from dbus_fast import Message, MessageType  # noqa: PLC0415

        answer = await self._bus.call(
            Message(
                destination=name,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )
        if answer.message_type is MessageType.ERROR:
            raise OSError(f"{member}: {answer.error_name}: {answer.body}")
        if answer.unix_fds:
            return list(answer.unix_fds)
        return list(answer.body)

    async def _inhibit(self) -> None:
        """Have logind wait, a few seconds at most, until the wipe is done."""
        what = [
            w for r, w in (("suspend", "sleep"), ("shutdown", "shutdown")) if r in self._reasons
        ]
        if not what or self._inhibitor >= 0:
            return
        answer = await self._call(
            _NAME,
            _PATH,
            _MANAGER,
            "Inhibit",
            "ssss",
            [":".join(what), "secalloc", "secrets are wiped", "delay"],
        )
        self._inhibitor = answer[0]

    def _release(self) -> None:
        if self._inhibitor >= 0:
            os.close(self._inhibitor)
            self._inhibitor = -1

    def _hear(self, message: Any) -> None:
        member, body, path = message.member, message.body, message.path
        if member in ("PrepareForSleep", "PrepareForShutdown"):
            reason = "suspend" if member == "PrepareForSleep" else "shutdown"
            if body[0]:
                self._happens(reason)
                self._release()
            else:
                self._task = self._loop.create_task(self._inhibit())
        elif member == "SessionRemoved" and body[1] == self._session:
            self._happens("logout")
        elif path == self._session and self._session:
            changed = body[1] if member == "PropertiesChanged" else {}
            if member == "Lock" or ("LockedHint" in changed and changed["LockedHint"].value):
                self._happens("screen-lock")

    def _happens(self, reason: str) -> None:
        """Lock down first, and tell then."""
        if reason in self._reasons:
            _lockdown_quietly()
            self._tell(reason)

    def _lost(self) -> None:
        """Tell first; only False keeps the secrets."""
        if self._tell("bus-lost") is not False:
            _lockdown_quietly()

    def _tell(self, reason: str) -> object:
        if self._callback is None:
            return None
        try:
            return self._callback(reason)
        except Exception:
            sys.excepthook(*sys.exc_info())
            return None


def lock_on(*reasons: str, callback: Callable[[str], object] | None = None) -> SessionLock:
    """Lock down when the session is about to sleep, is locked or ends.

    The reasons are "suspend", "screen-lock", "logout" and "shutdown". Without any, all of them
    count. logind announces them on the system bus. A delay inhibitor makes sleep and shutdown
    wait for the wipe. The marker goes to a descriptor that was set, never to the default one.

    callback(reason) is called after each lockdown, on a thread of its own. If the bus is lost,
    it is called with "bus-lost" first, and a lockdown follows unless it returns False. After
    that nothing is announced any more.

    Returns a context manager, whose close() ends it. Needs Linux and dbus-fast, which the extra
    secalloc[desktop] brings: NotImplementedError, ModuleNotFoundError. OSError: no bus, no logind,
    or no session. ValueError: an unknown reason.
    """
    unknown = [reason for reason in reasons if reason not in _REASONS]
    if unknown:
        raise ValueError(f"reasons are {', '.join(_REASONS)}; not {unknown[0]!r}")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is callable, not {type(callback)}")
    if sys.platform != "linux":
        raise NotImplementedError("lock_on() listens to systemd-logind, which only Linux has")
    try:
        import dbus_fast  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "lock_on() needs dbus-fast: python -m pip install 'secalloc[desktop]'", name=error.name
        ) from None
    return SessionLock(set(reasons or _REASONS), callback)
