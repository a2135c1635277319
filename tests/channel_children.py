"""What the children of the channels' tests do; multiprocessing imports it by name."""

import ctypes
import hashlib
import os
import resource
import subprocess
import sys
from typing import IO, Any

import secalloc
from secalloc import LockdownChannel, LockdownChild, LockdownEvent, LockdownKind

CLOSED, FATAL = LockdownKind.CLOSED, LockdownKind.FATAL
GARBAGE, LOCKDOWN = LockdownKind.GARBAGE, LockdownKind.LOCKDOWN
SOON = 300
"""Seconds that anything may take."""

PRELUDE = "from crash import *\n"
FALL = "overrun(secret())\n"
ASK = """
def ask(name, **more):
    try: a = secalloc.adopt(name, **more)
    except secalloc.AdoptError as error: return error.reason
    except Exception as error: return type(error).__name__
    else: return a.size
"""
"""After PRELUDE: the size of what is adopted, or why nothing is."""
GRAB = "fd = int(os.environ['SECALLOC_LOCKDOWN_FD'])\n"
"""Without crash.py, which imports secalloc: the descriptor as it comes."""


def command(code: str) -> list[str]:
    """A Python that runs the snippet; it needs what variables() adds."""
    return [sys.executable, "-P", "-c", code]


def variables(**more: str) -> dict[str, str]:
    """An environment in which crash.py is found."""
    return {**os.environ, "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), **more}


def spawn(
    channel: LockdownChannel,
    code: str,
    *,
    name: str | None = None,
    secrets: dict[str, secalloc.Arena] | None = None,
    **options: Any,
) -> subprocess.Popen[Any]:
    """A child on the channel that runs the snippet, with crash.py imported."""
    options.setdefault("stderr", subprocess.DEVNULL)
    args = channel.popen_args(env=variables(), name=name, secrets=secrets)
    return subprocess.Popen(command(PRELUDE + code), **args, **options)  # noqa: S603


def at_end(
    child: LockdownChild, code: str, *arguments: str, **options: Any
) -> subprocess.Popen[str]:
    """A process at the child's end that runs the snippet, to be spoken with by lines."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(  # noqa: S603
        [*command(PRELUDE + code), *arguments],
        **child.popen_args(env=variables()),
        **{**pipes, **options},
    )


def talk(
    channel: LockdownChannel, code: str, key: secalloc.Arena
) -> tuple[subprocess.Popen[str], IO[str], IO[str]]:
    """A child to which the key is offered, what it is told by lines, and the lines it says."""
    child = spawn(
        channel,
        code,
        secrets={"key": key},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    return child, child.stdin, child.stdout


def raw_child(
    channel: LockdownChannel, code: str, *, name: str | None = None
) -> subprocess.Popen[bytes]:
    """A child that writes to its descriptor by hand."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-S", "-P", "-c", "import os\n" + GRAB + code],
        **channel.popen_args(name=name),
        stderr=subprocess.DEVNULL,
    )


def next_event(channel: LockdownChannel) -> LockdownEvent:
    """The next event, which must come."""
    event = channel.wait(SOON)
    assert event is not None
    return event


def kinds(channel: LockdownChannel, count: int) -> list[LockdownKind]:
    """The kinds of the next events, and that no other follows soon."""
    found = [next_event(channel).kind for _ in range(count)]
    assert channel.wait(0.05) is None
    return found


def quiet() -> None:
    """No core file, no text."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def fall(child: LockdownChild) -> None:
    """As a multiprocessing target: lock down, then die of a fault."""
    quiet()
    child.install()
    child.install()  # harmless
    arena = secalloc.Arena(b"secret")
    secalloc.lockdown()
    ctypes.memset(arena.address + arena.size, 0, 1)


def adopt_and_fall(child: LockdownChild, digest: bytes) -> None:
    """As a multiprocessing target: get a secret; die of a fault if it is the right one."""
    quiet()
    child.install()
    arena = secalloc.adopt("key")
    if hashlib.sha256(arena).digest() == digest:
        ctypes.memset(arena.address + arena.size, 0, 1)
