"""Sheltered calls as decorators, and results of theirs in arenas."""

import gc
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from secalloc._core import Arena, _forbid_fork, _forbids_fork, encode, shelter
from secalloc._values import Protection

P = ParamSpec("P")
R = TypeVar("R")

_refuses = False


def _refuse_fork(event: str, _args: tuple[object, ...]) -> None:
    """An audit hook, which is there for good."""
    if event not in ("os.fork", "os.forkpty") or not _forbids_fork():
        return
    gc.collect()  # floats that Python keeps for reuse are no object's
    if _forbids_fork():
        raise RuntimeError(
            "a call under sheltered(fork=False) has left objects that a forked child would get a "
            "copy of: use subprocess, or multiprocessing with spawn"
        )


def _watch_forks() -> None:
    global _refuses  # noqa: PLW0603
    if not _refuses:
        _refuses = True
        sys.addaudithook(_refuse_fork)
    _forbid_fork()


@overload
def sheltered(f: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def sheltered(
    f: None = None, /, *, fork: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def sheltered(
    f: Callable[P, R] | None = None, /, *, fork: bool = True
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that every call of it is a shelter() call.

    Use it as `@sheltered`, or with options. With `fork=False`, os.fork raises RuntimeError as
    long as objects of such calls live, because a forked child would get a copy of each. The
    errors are those of shelter().
    """

    def decorate(f: Callable[P, R]) -> Callable[P, R]:
        if not callable(f):
            raise TypeError(f"sheltered() decorates what can be called, not {type(f).__name__}")
        if not fork:
            _watch_forks()

        @wraps(f)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            return shelter(f, *args, **kwargs)

        return call

    return decorate if f is None else decorate(f)


def _into_arena(
    f: Callable[..., Any], args: Any, kwargs: Any, require: Protection | None, name: str | None
) -> Arena:
    made = f(*args, **kwargs)
    if isinstance(made, str):
        return encode(made, require=require, name=name)
    try:
        memoryview(made)
    except TypeError:
        raise TypeError(
            f"capture() takes what returns str or a bytes-like object, not {type(made).__name__}"
        ) from None
    return Arena(made, require=require, name=name)


def capture(f: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Arena:
    """A new Arena of the str, as UTF-8, or bytes-like object that f returns.

    f is called sheltered, with the arguments that follow it:
    `capture(keyring.get_password, "service", "me")`; capturing() is for an arena with a
    requirement or a name. TypeError: it returns something else; other errors as of shelter()
    and Arena().
    """
    return shelter(_into_arena, f, args, kwargs, None, None)


@overload
def capturing(
    f: Callable[P, Any], /, *, require: Protection | None = None, name: str | None = None
) -> Callable[P, Arena]: ...
@overload
def capturing(
    f: None = None, /, *, require: Protection | None = None, name: str | None = None
) -> Callable[[Callable[P, Any]], Callable[P, Arena]]: ...
def capturing(
    f: Callable[P, Any] | None = None,
    /,
    *,
    require: Protection | None = None,
    name: str | None = None,
) -> Callable[P, Arena] | Callable[[Callable[P, Any]], Callable[P, Arena]]:
    """Make of a function one that returns what capture() does; require and name as for Arena().

    As `capturing(f)`, or with options, `capturing(name="token")(f)`, as a decorator, too.
    """

    def decorate(f: Callable[P, Any]) -> Callable[P, Arena]:
        if not callable(f):
            raise TypeError(f"capturing() takes what can be called, not {type(f).__name__}")

        @wraps(f)
        def call(*args: P.args, **kwargs: P.kwargs) -> Arena:
            return shelter(_into_arena, f, args, kwargs, require, name)

        return call

    return decorate if f is None else decorate(f)
