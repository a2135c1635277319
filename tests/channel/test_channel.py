"""Lockdown channels: what the parent hears of its children, and from whom."""

import _socket
import asyncio
import copy
import gc
import math
import multiprocessing
import os
import pickle
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from channel_children import (
    CLOSED,
    FALL,
    FATAL,
    GARBAGE,
    LOCKDOWN,
    PRELUDE,
    SOON,
    command,
    fall,
    kinds,
    next_event,
    raw_child,
    spawn,
    variables,
)
from support import GUARD_FAULT, LINUX, TRIALS, check, linux_only

import secalloc
from secalloc import ForkedError, LockdownChannel, LockdownEvent
from secalloc._channel import wire
from secalloc._core import _Listener, _Waiter

# ---- what is heard ------------------------------------------------------------------


def test_a_fall_after_lockdowns_is_heard_in_order() -> None:
    with LockdownChannel() as channel:
        code = "a = secret(); secalloc.lockdown(); secalloc.lockdown(); a[:] = SECRET; overrun(a)"
        child = spawn(channel, code)
        assert kinds(channel, 3) == [LOCKDOWN, LOCKDOWN, FATAL]
        assert child.wait(SOON) == -GUARD_FAULT
        assert channel.wait(0) is None  # the end after a fall is no event of its own


@pytest.mark.parametrize(
    ("code", "events"),
    [
        ("pass", [CLOSED]),
        ("os.kill(os.getpid(), 9)", [CLOSED]),
        ("os.write(fd, b'LLL'); os.kill(os.getpid(), 9)", [LOCKDOWN] * 3 + [CLOSED]),
        ("os.write(fd, b'FFFF')", [FATAL]),
        ("os.write(fd, b'FFLF')", [FATAL, LOCKDOWN, FATAL]),
        ("os.write(fd, b'FL')", [FATAL, LOCKDOWN, CLOSED]),
        ("os.write(fd, b'Lx')", [LOCKDOWN, GARBAGE]),
        ("os.write(fd, bytes(range(255, -1, -1)) * 64)", [GARBAGE]),
        ("os.write(fd, b'fF')", [GARBAGE]),
    ],
)
def test_bytes_and_ends(code: str, events: list[secalloc.LockdownKind]) -> None:
    with LockdownChannel() as channel:
        child = raw_child(channel, code)
        assert kinds(channel, len(events)) == events
        child.wait(SOON)


@pytest.mark.parametrize("name", ["SIGINT", "SIGALRM", "SIGUSR1", "SIGTERM"])
def test_the_end_by_a_signal_that_is_armed_is_a_fall(name: str) -> None:
    code = f"""
signal.signal(signal.{name}, signal.SIG_DFL); a = secret(); ARM
os.kill(os.getpid(), signal.{name}); time.sleep(30)
"""
    for arm, kind in ((f"secalloc.arm([signal.{name}])", FATAL), ("secalloc.disarm()", CLOSED)):
        with LockdownChannel() as channel:
            child = spawn(channel, code.replace("ARM", arm))
            assert kinds(channel, 1) == [kind]
            assert child.wait(SOON) == -getattr(signal, name)


def test_kinds_read_as_their_names() -> None:
    assert [str(kind) for kind in secalloc.LockdownKind] == [
        "FATAL",
        "LOCKDOWN",
        "CLOSED",
        "GARBAGE",
        "ADOPTED",
    ]


def test_an_event_says_who() -> None:
    with LockdownChannel() as channel:
        first, second = channel.child("first"), channel.child()
        started = []
        for child, code in ((first, "os.write(fd, b'L')"), (second, "os.write(fd, b'F')")):
            with child:
                child.pid = (
                    process := subprocess.Popen(  # noqa: S603
                        [sys.executable, "-S", "-c", "import os; fd = " + f"{child.fd};" + code],
                        **child.popen_args(),
                    )
                ).pid
                started.append(process)
        events = [next_event(channel) for _ in range(3)]
        assert {(event.kind, event.child.name) for event in events} == {
            (LOCKDOWN, "first"),
            (CLOSED, "first"),
            (FATAL, second.name),
        }
        for event in events:
            assert event.child in (first, second)
            assert event.child == (first if event.child.name == "first" else second)
            assert event.child.pid in [process.pid for process in started]
            assert event.child.name in repr(event.child)
        assert first != second
        assert len({first, second, events[0].child}) == 2
        for process in started:
            process.wait(SOON)


def test_a_child_that_nobody_kept_is_named() -> None:
    with LockdownChannel() as channel:
        spawn(channel, FALL, name="signer").wait(SOON)
        event = next_event(channel)
        assert (event.kind, event.child.name, event.child.pid) == (FATAL, "signer", None)


def test_a_tree_three_deep() -> None:
    """Each parent sees the fall of its own child, and of nobody else's."""
    leaf = PRELUDE + FALL
    middle = f"""
channel = secalloc.LockdownChannel()
from channel_children import command, variables
import subprocess
a = secret()
p = subprocess.Popen(command({leaf!r}), **channel.popen_args(env=variables()))
event = channel.wait(30)
assert event.kind == "FATAL" and p.wait() == -{GUARD_FAULT} and a == SECRET
print("leaf fell", flush=True)
assert channel.wait(0.05) is None
secalloc.lockdown()
overrun(a)
"""
    with LockdownChannel() as channel:
        child = spawn(channel, middle, stdout=subprocess.PIPE)
        assert kinds(channel, 2) == [LOCKDOWN, FATAL]
        assert child.communicate()[0] == b"leaf fell\n"
        assert child.returncode == -GUARD_FAULT


# ---- ways to wait ----------------------------------------------------------------------


def test_wait_and_its_timeout() -> None:
    with LockdownChannel() as channel:
        start = time.monotonic()
        assert channel.wait(0.05) is None
        assert time.monotonic() - start >= 0.05
        assert channel.wait(0) is None
        assert channel.wait(-1) is None
        with pytest.raises(ValueError, match="not a number"):
            channel.wait(math.nan)
        with pytest.raises(TypeError):
            channel.wait("soon")  # type: ignore[arg-type]
        for args, names in (
            (((),), {}),
            (((1,),), {}),
            ((1, 2), {}),
            ((1,), {"timeout": 1}),
            ((), {"time": 1}),
            ((), {"timeout": ()}),
        ):
            with pytest.raises(TypeError):
                channel.wait(*args, **names)
        assert channel.wait(timeout=0) is None


@linux_only
def test_a_signal_that_raises_ends_the_wait_alone() -> None:
    def raises(*_: object) -> None:
        raise TimeoutError("soon enough")

    before = sorted(os.listdir("/proc/self/fd"))
    kept = signal.signal(signal.SIGALRM, raises)
    try:
        with LockdownChannel() as channel:
            for timeout in (None, SOON):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(TimeoutError):
                    channel.wait(timeout)
            signal.signal(signal.SIGALRM, lambda *_: None)
            signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
            start = time.monotonic()
            assert channel.wait(0.1) is None
            assert time.monotonic() - start >= 0.1
            raw_child(channel, "import time; time.sleep(0.1); os.write(fd, b'F')").wait(SOON)
            assert next_event(channel).kind == FATAL
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)
    assert sorted(os.listdir("/proc/self/fd")) == before  # nobody is held for one who waits


@linux_only
def test_a_handler_that_raises_leaves_nobody_counted_as_waiting() -> None:
    class Stop(Exception):
        pass

    def raises(*_: object) -> None:
        raise Stop

    before = sorted(os.listdir("/proc/self/fd"))
    kept = signal.signal(signal.SIGALRM, raises)
    try:
        for trial in range(10 * TRIALS):
            channel = LockdownChannel()
            with suppress(Stop):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + trial % 50 * 1e-6)
                while True:
                    channel.wait(0)
            channel.close()
            assert sorted(os.listdir("/proc/self/fd")) == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)


@linux_only
def test_closed_by_a_handler_while_something_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    channel = LockdownChannel()
    child = channel.child()
    write = os.dup(child.fd)
    child.release()

    def event(kind: str, who: object) -> LockdownEvent:
        channel.close()  # as a signal's handler might, just here
        return LockdownEvent(kind, who)  # type: ignore[arg-type]

    monkeypatch.setattr("secalloc._channel.events.LockdownEvent", event)
    os.write(write, b"L")
    assert channel.wait(SOON) == (LOCKDOWN, child)
    os.close(write)
    assert sorted(os.listdir("/proc/self/fd")) == before


def holds(listener: Any, seconds: float) -> threading.Thread:
    """A thread that has the lock already, and keeps it that long."""
    has_it = threading.Event()

    def hold() -> None:
        with listener:
            has_it.set()
            time.sleep(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    return thread


def test_signals_are_handled_while_the_lock_is_wanted() -> None:
    handled = []
    kept = signal.signal(signal.SIGALRM, lambda *_: handled.append(holder.is_alive()))
    try:
        with LockdownChannel() as channel:
            holder = holds(channel._listener, 0.5)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            channel.fileno()
            assert handled == [True]
            holder.join()
    finally:
        signal.signal(signal.SIGALRM, kept)


def test_a_fork_while_another_thread_has_the_lock() -> None:
    pids: list[int] = []

    def forks(*_: object) -> None:
        holder.append(holds(channel._listener, 0.2))
        pids.append(os.fork())

    holder: list[threading.Thread] = []
    kept = signal.signal(signal.SIGALRM, forks)
    try:
        with warnings.catch_warnings(), LockdownChannel() as channel:
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            status = 8
            try:
                waited = channel.wait(1)  # in whose middle the handler runs
            except ForkedError:
                status = 7
            finally:
                if pids == [0]:
                    os._exit(status)
            assert waited is None
            end = time.monotonic() + SOON
            while (ended := os.waitpid(pids[0], os.WNOHANG)) == (0, 0):
                if time.monotonic() > end:
                    os.kill(pids[0], signal.SIGKILL)
                time.sleep(0.01)
            assert os.waitstatus_to_exitcode(ended[1]) == 7
            holder[0].join()
    finally:
        signal.signal(signal.SIGALRM, kept)


def test_a_fall_is_told_once() -> None:
    with LockdownChannel() as channel:
        child = channel.child("signer")
        write = os.dup(child.fd)
        child.release()
        for data, kinds_told in ((b"FFF", [FATAL]), (b"LFF", [LOCKDOWN, FATAL])):
            os.write(write, data)
            for kind in kinds_told:
                assert next_event(channel) == (kind, child)
            while channel.wait(0.01):
                raise AssertionError("told twice")
        os.close(write)
        assert channel.wait(0.05) is None
        assert repr(channel) == "<secalloc.LockdownChannel, 0 children>"


def test_an_unclosed_channel_is_collected_with_all_that_it_was_to_tell() -> None:
    channel = LockdownChannel()
    children = [channel.child(str(i)) for i in range(100)]
    gone = weakref.ref(channel)
    record = weakref.ref(children[0]._record)
    channel.itself = channel  # type: ignore[attr-defined]
    del children, channel
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()
    gc.collect()  # the warning named it, and so kept it
    assert gone() is None
    assert record() is None


def test_what_is_to_be_told_is_collected_with_its_listener() -> None:
    class Event:
        listener: "_Listener[Event]"

    event = Event()
    event.listener = _Listener()
    with event.listener:
        event.listener.expect(5, event)
    gone = weakref.ref(event)
    del event
    gc.collect()
    assert gone() is None


def test_the_lock_is_taken_again_by_its_holder_and_by_no_other() -> None:
    listener: _Listener[str] = _Listener()
    order = []

    def other() -> None:
        with listener:
            order.append("other")

    with listener, listener:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("holder")
    thread.join()
    assert order == ["holder", "other"]
    with pytest.raises(RuntimeError, match="not held"):
        listener.__exit__()
    for wrong in (
        lambda: listener.expect(0, None),
        lambda: listener.forget(0),
        lambda: listener.count(1),
        listener.close,
    ):
        with pytest.raises(RuntimeError, match="not held"):
            wrong()


@linux_only
def test_what_is_to_be_told() -> None:
    listener: _Listener[str] = _Listener()
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    epoll = select.epoll()
    epoll.register(ours, select.EPOLLIN)

    class Channel(_Waiter[Any]):
        left = 0

        def _said(self, fd: int, byte: bytes) -> str:
            assert fd == ours
            return byte.decode()

        def _left(self) -> None:
            self.left += 1

    channel = Channel()

    def told(data: bytes) -> list[str | None]:
        os.write(theirs, data)
        return [listener.listen(epoll.fileno(), 0, channel) for _ in data]

    with listener:
        listener.forget(ours)
        listener.expect(ours, "fall")
        for wrong in (-1, 1 << 31, 1 << 70):
            with pytest.raises((ValueError, OverflowError)):
                listener.expect(wrong, "fall")
        with pytest.raises(TypeError):
            listener.expect("text", "fall")  # type: ignore[arg-type]
    assert told(b"xFFL") == ["x", "fall", None, "L"]
    with listener:
        listener.expect(ours, "fall again")
        listener.expect(ours + 1000, "of another")
    assert told(b"F") == ["fall again"]
    with listener:
        assert listener.forget(ours) is None
    assert told(b"F") == [None]  # forgotten: nothing is read
    with listener:
        listener.expect(ours, "unread")
    assert told(b"") == []
    assert listener.listen(epoll.fileno(), 0, channel) == "unread"
    os.close(theirs)
    assert listener.listen(epoll.fileno(), 0, channel) == ""
    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.listen(1 << 20, 0, channel)
    with listener:
        assert listener.count(0) == 0
        assert channel.left == 0
        listener.close()
        listener.expect(ours, "too late")
        assert listener.forget(ours) is None
    assert listener.listen(epoll.fileno(), 0, channel) is None
    assert channel.left == 0  # it never was there
    epoll.close()
    with pytest.raises(TypeError):
        listener.listen(0, 0)  # type: ignore[call-arg]
    os.close(ours)


def test_a_channel_that_is_none() -> None:
    class Odd(_Waiter[Any]):
        def __init__(self, *prepared: object) -> None:
            self.prepared = prepared

        def _prepare(self, timeout: object) -> tuple[object, ...]:
            assert timeout is None
            return self.prepared

    listener: _Listener[str] = _Listener()
    wrong: list[tuple[object, ...]] = [
        (),
        (listener, 0, 0),
        ([], 0, 0, None),
        (listener, "0", 0, None),
    ]
    for prepared in wrong:
        with pytest.raises(TypeError):
            Odd(*prepared).wait()
    with pytest.raises(AttributeError, match="_prepare"):
        _Waiter().wait()


def test_iteration_ends_when_it_is_closed() -> None:
    with LockdownChannel() as channel:
        raw_child(channel, "os.write(fd, b'LF')").wait(SOON)
        seen = []
        for event in channel:
            seen.append(event.kind)
            if event.kind is FATAL:
                channel.close()
        assert seen == [LOCKDOWN, FATAL]


def test_a_selector_sees_each_event() -> None:
    """One wait(0) each time it is readable leaves nothing behind."""
    with LockdownChannel() as channel, selectors.DefaultSelector() as selector:
        selector.register(channel.fileno(), selectors.EVENT_READ)
        assert selector.select(0) == []
        raw_child(channel, "os.write(fd, b'LLLL')").wait(SOON)
        with channel.child():
            pass  # started by nobody: gone
        seen: list[secalloc.LockdownKind] = []
        while len(seen) < 6:
            assert selector.select(SOON)
            event = channel.wait(0)
            seen += [event.kind] if event else []
        assert sorted(seen) == [CLOSED, CLOSED, *[LOCKDOWN] * 4]
        assert selector.select(0) == []
        selector.unregister(channel.fileno())


def test_async_for() -> None:
    async def parent() -> list[secalloc.LockdownKind]:
        seen = []
        with LockdownChannel() as channel:
            process = await asyncio.create_subprocess_exec(
                *command(PRELUDE + "secalloc.lockdown()\n" + FALL),
                **channel.popen_args(env=variables()),
                stderr=subprocess.DEVNULL,
            )
            async for event in channel:
                seen.append(event.kind)
                if event.kind is FATAL:
                    channel.close()
            assert await process.wait() == -GUARD_FAULT
        return seen

    assert asyncio.run(parent()) == [LOCKDOWN, FATAL]


def test_tasks_wait_are_cancelled_and_see_the_close() -> None:
    async def parent() -> None:
        channel = LockdownChannel()

        async def listen() -> list[LockdownEvent]:
            return [event async for event in channel]

        tasks = [asyncio.create_task(listen()) for _ in range(3)]
        await asyncio.sleep(0.02)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        raw_child(channel, "os.write(fd, b'LLL')").wait(SOON)
        with channel.child():
            pass
        await asyncio.sleep(0.05)
        channel.close()
        heard = [event.kind for task in tasks[1:] for event in await asyncio.wait_for(task, SOON)]
        assert sorted(heard) == [CLOSED, CLOSED, LOCKDOWN, LOCKDOWN, LOCKDOWN]

    asyncio.run(parent())


@linux_only
@pytest.mark.parametrize("ends", ["stops", "breaks off"])
def test_a_loop_that_ends_before_the_channel_leaves_nothing_open(ends: str) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    channel, loop = LockdownChannel(), asyncio.new_event_loop()

    async def hear() -> None:
        await anext(channel)
        if ends == "breaks off":
            raise SystemExit  # at once: the loop runs nothing that was put off

    with channel.child() as child:
        loop.call_later(0.02, os.write, child.fd, b"L")
        if ends == "stops":
            loop.run_until_complete(hear())
        else:
            with pytest.raises(SystemExit):
                loop.run_until_complete(hear())
    loop.close()
    channel.close()
    assert sorted(os.listdir("/proc/self/fd")) == before


@linux_only
def test_a_loop_forgets_the_channel() -> None:
    """Else the next file with that number could not be watched."""

    async def parent() -> None:
        loop = asyncio.get_running_loop()
        channel = LockdownChannel()
        number = channel.fileno()
        with channel.child() as child:
            loop.call_later(0.02, os.write, child.fd, b"L")
            assert (await anext(channel)).kind is LOCKDOWN
            channel.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(number)
        read, write = os.pipe()
        os.dup2(read, number)
        heard = asyncio.Event()
        loop.add_reader(number, heard.set)
        os.write(write, b"x")
        await asyncio.wait_for(heard.wait(), SOON)
        loop.remove_reader(number)
        for fd in {read, write, number}:
            os.close(fd)

    asyncio.run(parent())


def test_on_event_reports_what_the_callback_raises_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[str] = []
    of_the_hook: list[str] = []
    seen: list[secalloc.LockdownKind] = []
    done = threading.Event()

    def hook(args: threading.ExceptHookArgs) -> None:
        reported.append(f"{args.exc_type.__name__} {args.thread.name if args.thread else None}")
        if len(reported) == 2:
            raise KeyError("the hook itself")

    def callback(event: LockdownEvent) -> None:
        seen.append(event.kind)
        if len(seen) == 4:
            done.set()
        raise [ZeroDivisionError, SystemExit, ValueError, OSError][len(seen) - 1]

    monkeypatch.setattr(threading, "excepthook", hook)
    monkeypatch.setattr(sys, "excepthook", lambda *args: of_the_hook.append(str(args[1])))
    with LockdownChannel() as channel:
        thread = channel.on_event(callback)
        raw_child(channel, "os.write(fd, b'LLL'); os.write(fd, b'?')").wait(SOON)
        gc.collect()
        assert done.wait(SOON)
        assert thread.daemon
        assert thread.is_alive()
    thread.join(SOON)
    assert not thread.is_alive()
    assert seen == [LOCKDOWN, LOCKDOWN, LOCKDOWN, GARBAGE]
    assert reported[0] == "ZeroDivisionError secalloc-lockdown"
    assert len(reported) == 4
    assert of_the_hook == ["'the hook itself'"]


def test_each_event_goes_to_one_of_many_threads() -> None:
    seen: list[LockdownEvent] = []
    with LockdownChannel() as channel:
        threads = [channel.on_event(seen.append) for _ in range(8)]
        writers = []
        for number in range(20):
            with channel.child(str(number)) as child:
                writers.append(os.dup(child.fd))
        for _ in range(50):
            for fd in writers:
                os.write(fd, b"L")
        for fd in writers:
            os.close(fd)
        end = time.monotonic() + SOON
        while len(seen) < 20 * 51 and time.monotonic() < end:
            time.sleep(0.01)
    for thread in threads:
        thread.join(SOON)
    for number in range(20):
        of_one = [event.kind for event in seen if event.child.name == str(number)]
        assert of_one.count(LOCKDOWN) == 50
        assert of_one.count(CLOSED) == 1


# ---- ways to start a child -----------------------------------------------------------------


def test_popen_args_keep_what_the_caller_has() -> None:
    read, write = os.pipe()
    with LockdownChannel() as channel:
        code = f"assert os.environ['MINE'] == 'x'; os.write({write}, b'y'); secalloc.lockdown()"
        child = subprocess.Popen(  # noqa: S603
            command(PRELUDE + code),
            **channel.popen_args(env=variables(MINE="x"), pass_fds=[write]),
        )
        assert child.wait(SOON) == 0
        assert os.read(read, 1) == b"y"
        assert kinds(channel, 2) == [LOCKDOWN, CLOSED]
        with channel.child() as other:
            args = other.popen_args()
            assert {**os.environ, **other.env} == args["env"]
            assert args["pass_fds"] == other.fds
    os.close(read)
    os.close(write)


def test_arguments_that_are_kept_do_not_hide_the_end() -> None:
    """The thread that made them waits, so the child is started."""
    with LockdownChannel() as channel:
        args = channel.popen_args(env=variables())
        child = subprocess.Popen(command("pass"), **args)  # noqa: S603
        assert child.wait(SOON) == 0
        assert kinds(channel, 1) == [CLOSED]
        assert args["pass_fds"]


def test_dropped_arguments_close_the_parents_copy() -> None:
    with LockdownChannel() as channel:
        heard: list[LockdownEvent] = []
        thread = channel.on_event(heard.append)  # which never releases another thread's
        args = channel.popen_args()
        time.sleep(0.05)
        assert not heard
        del args
        gc.collect()
        end = time.monotonic() + SOON
        while not heard and time.monotonic() < end:
            time.sleep(0.01)
        assert [event.kind for event in heard] == [CLOSED]
    thread.join(SOON)


def test_arguments_may_be_merged_into_others() -> None:
    """The descriptors keep themselves open, in whatever they are moved to."""
    with LockdownChannel() as channel:
        args = channel.popen_args(env=variables())
        env, pass_fds = {**args["env"], "MORE": "x"}, [*args["pass_fds"]]
        del args
        gc.collect()
        code = PRELUDE + "assert os.environ['MORE'] == 'x'; secalloc.lockdown()"
        child = subprocess.Popen(command(code), env=env, pass_fds=pass_fds)  # noqa: S603
        assert child.wait(SOON) == 0
        assert kinds(channel, 2) == [LOCKDOWN, CLOSED]


def test_arguments_are_not_copied_deeply() -> None:
    """A copy of their owner would close the same numbers once more."""
    with LockdownChannel() as channel:
        args = channel.popen_args()
        for way in (copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="cannot be copied"):
                way(args)
        assert os.fstat(args["pass_fds"][0])


def test_ends_are_given_once() -> None:
    with LockdownChannel() as channel:
        child = channel.child()
        number = child.fd
        assert not os.get_inheritable(number)
        child.release()
        child.release()
        for use in (
            lambda: child.fd,
            lambda: child.env,
            lambda: child.file_actions,
            child.popen_args,
        ):
            with pytest.raises(ValueError, match="another"):
                use()
        with pytest.raises(ValueError, match="in the child"):
            child.install()


@pytest.mark.skipif(not LINUX, reason="elsewhere dup2 onto itself may leave close-on-exec set")
def test_posix_spawn() -> None:
    with LockdownChannel() as channel:
        with channel.child() as child:
            pid = os.posix_spawn(
                sys.executable,
                command(PRELUDE + FALL),
                {**variables(), **child.env},
                file_actions=child.file_actions,
            )
        assert kinds(channel, 1) == [FATAL]
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -GUARD_FAULT


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with LockdownChannel() as channel:
        process = context.Process(target=fall, args=(channel.child("worker"),))
        process.start()
        events = [next_event(channel), next_event(channel)]
        assert [(e.kind, e.child.name) for e in events] == [
            (LOCKDOWN, "worker"),
            (FATAL, "worker"),
        ]
        assert channel.wait(0.05) is None
        process.join(SOON)
        assert process.exitcode == -GUARD_FAULT
        process.close()


def test_multiprocessing_by_fork() -> None:
    check(f"""
        import multiprocessing
        from channel_children import fall
        context = multiprocessing.get_context("fork")
        with secalloc.LockdownChannel() as channel:
            both = [context.Process(target=fall, args=(channel.child(str(i)),)) for i in range(2)]
            for process in both:
                process.start()
            seen = [channel.wait(30) for _ in range(4)]
            for name in "01":
                assert [e.kind for e in seen if e.child.name == name] == ["LOCKDOWN", "FATAL"]
            assert channel.wait(0.05) is None
            for process in both:
                process.join()
                assert process.exitcode == -{GUARD_FAULT}
    """)


def test_pickled_only_while_spawning() -> None:
    with LockdownChannel() as channel, channel.child() as child:
        with pytest.raises(RuntimeError, match="inheritance"):
            pickle.dumps(child)
        with pytest.raises(TypeError, match=r"channel\.child"):
            pickle.dumps(channel)


# ---- the child's part ------------------------------------------------------------------------


def test_a_child_takes_the_descriptor_over_for_itself_alone() -> None:
    with LockdownChannel() as channel:
        code = """
fd = secalloc.status().lockdown_fd
assert fd > 2 and not os.get_inheritable(fd)
ours = ("SECALLOC_LOCKDOWN", "SECALLOC_SECRETS")
assert not [name for name in os.environ if name.startswith(ours)]
import subprocess
grandchild = "import os, secalloc; assert secalloc.status().lockdown_fd == 2; " + (
    f"os.fstat({fd})")
end = subprocess.run([sys.executable, "-P", "-c", grandchild], close_fds=False, text=True,
                     stderr=subprocess.PIPE)
assert "Bad file descriptor" in end.stderr, end
"""
        child = spawn(channel, code, stderr=subprocess.PIPE)
        assert child.communicate()[1] == b""
        assert child.returncode == 0
        assert kinds(channel, 1) == [CLOSED]


def test_import_without_a_channel_stays_lean() -> None:
    check("""
        heavy = ("secalloc.channel", "secalloc._channel")
        assert not [name for name in sys.modules if name.startswith(heavy)]
        secalloc.LockdownChannel
        assert "secalloc.channel" in sys.modules
    """)


def test_import_with_a_channel_stays_light() -> None:
    with LockdownChannel() as channel:
        code = """
import sys
sys.modules.pop("secalloc", None)
before = set(sys.modules)
import secalloc
new = {name.partition(".")[0] for name in set(sys.modules) - before}
assert new <= {"secalloc", "fcntl"}, new
assert "secalloc.channel" not in sys.modules
"""
        child = subprocess.Popen(command(code), **channel.popen_args())  # noqa: S603
        assert child.wait(SOON) == 0
        assert kinds(channel, 1) == [CLOSED]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "not the number"),
        ("x", "not the number"),
        ("-1", "not the number"),
        ("3.0", "not the number"),
        ("\uff19", "not the number"),
        ("99999999999999999999", "not the number"),
        ("1", "standard stream"),
        ("2", "standard stream"),
        ("987", "not open"),
        ("file", "no pipe or socket"),
        ("null", "no pipe or socket"),
        ("read", "cannot be written"),
    ],
)
def test_a_bad_descriptor_is_warned_of_and_the_default_kept(
    tmp_path: Path, value: str, reason: str
) -> None:
    data = tmp_path / "data"
    data.write_bytes(b"data")
    file = os.open(data, os.O_RDWR)
    null = os.open(os.devnull, os.O_RDWR)
    read, write = os.pipe()
    number = {"file": file, "null": null, "read": read}.get(value, value)
    child = subprocess.run(  # noqa: S603
        command("""
import os, sys, warnings
log = warnings.catch_warnings(record=True).__enter__()
warnings.simplefilter("always")
import secalloc
assert "SECALLOC_LOCKDOWN_FD" not in os.environ
assert secalloc.status().lockdown_fd == 2 and not log
a = secalloc.Arena(b"works")
text = [str(one.message) for one in log
        if one.category is secalloc.ProtectionWarning and "SECALLOC" in str(one.message)]
secalloc.Arena(1)
assert len([one for one in log if "SECALLOC" in str(one.message)]) == 1
secalloc.lockdown()
print(text[0])
"""),
        env=variables(SECALLOC_LOCKDOWN_FD=str(number)),
        pass_fds=[file, null, read, write],
        capture_output=True,
        text=True,
        check=False,
    )
    for fd in (file, null, read, write):
        os.close(fd)
    assert child.returncode == 0, child.stderr
    assert reason in child.stdout
    assert "SECALLOC_LOCKDOWN_FD=" in child.stdout
    assert child.stderr.endswith("L")  # the default
    assert data.read_bytes() == b"data"


def test_the_warning_can_be_an_error() -> None:
    end = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", "import secalloc; secalloc.Arena(1)"],
        env=variables(SECALLOC_LOCKDOWN_FD="x"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ProtectionWarning: SECALLOC_LOCKDOWN_FD='x'" in end.stderr
    assert end.returncode == 1


def test_a_number_that_was_used_again_before_the_import_is_not_taken() -> None:
    with LockdownChannel() as channel:
        code = """
import os, warnings
warnings.simplefilter("ignore")
fd = int(os.environ["SECALLOC_LOCKDOWN_FD"])
os.closerange(3, fd + 20)
read, write = os.pipe()
os.dup2(write, fd, inheritable=True)
import secalloc
secalloc.Arena(1)
assert os.get_inheritable(fd) and secalloc.status().lockdown_fd == 2
secalloc.lockdown()
os.set_blocking(read, False)
try: os.read(read, 1)
except BlockingIOError: pass
else: raise AssertionError
"""
        child = subprocess.Popen(  # noqa: S603
            command(code), **channel.popen_args(), stderr=subprocess.DEVNULL
        )
        assert child.wait(SOON) == 0
        assert kinds(channel, 1) == [CLOSED]


# ---- what goes wrong --------------------------------------------------------------------------


def test_a_write_to_an_ended_socket_raises_no_signal_on_macos(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a socket option that Python has no name for; MSG_NOSIGNAL is not sendall()'s."""
    told: list[tuple[int, ...]] = []

    class End:
        def setsockopt(self, *option: int) -> None:
            told.append(option)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(_socket, "socketpair", lambda *_: (End(), End()))
    wire.socket_pair()
    assert told == [(socket.SOL_SOCKET, 0x1022, 1)] * 2


def test_the_parent_is_gone() -> None:
    """Neither SIGPIPE nor anything else: the wipe and the death are as ever."""
    with LockdownChannel() as channel:
        code = """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
a = secret()
print("ready", flush=True)
sys.stdin.read()
assert secalloc.lockdown() == 1
a[:] = SECRET
print("lives", flush=True)
overrun(a)
"""
        child = spawn(channel, code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert child.stdout
        assert child.stdout.readline() == b"ready\n"
        channel.close()
        assert child.communicate(timeout=SOON)[0] == b"lives\n"
        assert child.returncode == -GUARD_FAULT


def test_the_pipe_is_full() -> None:
    with LockdownChannel() as channel:
        code = """
fd = secalloc.status().lockdown_fd
a = secret()
os.set_blocking(fd, False)
try:
    while True: os.write(fd, b"F" * 4096)
except BlockingIOError: pass
try:
    while True: os.write(fd, b"F")
except BlockingIOError: pass
os.set_blocking(fd, True)
assert secalloc.lockdown() == 1
a[:] = SECRET
overrun(a)
"""
        child = spawn(channel, code)
        assert child.wait(SOON) == -GUARD_FAULT
        assert kinds(channel, 1) == [FATAL]


def test_the_child_uses_the_number_for_a_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with LockdownChannel() as channel:
        code = f"""
fd = secalloc.status().lockdown_fd
file = os.open({str(data)!r}, os.O_RDWR | os.O_CREAT)
os.dup2(file, fd)
a = secret()
secalloc.lockdown()
a[:] = SECRET
overrun(a)
"""
        assert spawn(channel, code).wait(SOON) == -GUARD_FAULT
        assert kinds(channel, 1) == [CLOSED]
    assert data.read_bytes() == b""


def test_the_child_closes_the_descriptor() -> None:
    with LockdownChannel() as channel:
        code = "a = secret(); os.closerange(3, 1000); secalloc.lockdown(); overrun(a)"
        assert spawn(channel, code).wait(SOON) == -GUARD_FAULT
        assert kinds(channel, 1) == [CLOSED]


def test_a_child_that_floods_does_not_keep_others_from_being_heard() -> None:
    with LockdownChannel() as channel:
        flood = "\nwhile True: os.write(fd, b'L' * 65536)"
        child = raw_child(channel, flood)
        other = raw_child(channel, "os.write(fd, b'F')", name="other")
        other.wait(SOON)
        assert next(event.kind for event in channel if event.child.name == "other") is FATAL
        child.kill()
        child.wait(SOON)


def test_a_thousand_children() -> None:
    check("""
        import errno
        limit(resource.RLIMIT_NOFILE, 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        children = []
        with secalloc.LockdownChannel() as channel:
            try:
                while True:
                    children.append(channel.child())
                    children[-1].release()
            except OSError as error:
                assert error.errno == errno.EMFILE, error
                assert "RLIMIT_NOFILE is 200" in str(error) and "ulimit -n" in str(error)
            assert len(children) > 150
            assert {channel.wait(30).kind for _ in children} == {"CLOSED"}
            assert channel.wait(0) is None
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            limit(resource.RLIMIT_NOFILE, min(hard, 2000), hard)
            names = {}
            for i in range(1000):
                with channel.child(f"number {i}") as child:
                    pid = os.fork()
                    if pid == 0:
                        os.write(child.fd, b"F" if i % 2 else b"L")
                        os._exit(0)
                names[child.name] = child.pid = pid
            seen = [channel.wait(30) for _ in range(1500)]
            assert channel.wait(0) is None
            fallen = [event.child.name for event in seen if event.kind == "FATAL"]
            assert sorted(fallen) == sorted(f"number {i}" for i in range(1, 1000, 2))
            closed = [event.child.name for event in seen if event.kind == "CLOSED"]
            assert sorted(closed) == sorted(f"number {i}" for i in range(0, 1000, 2))
            for pid in names.values():
                os.waitpid(pid, 0)
    """)


def test_a_fork_of_the_child_is_not_heard_and_hides_nothing() -> None:
    with LockdownChannel() as channel:
        code = """
r, w = os.pipe()
fd = secalloc.status().lockdown_fd
pid = os.fork()
if pid == 0:
    assert secalloc.status().lockdown_fd == 2
    try: os.fstat(fd)
    except OSError: pass
    else: os._exit(1)
    a = secret()
    secalloc.lockdown()
    print("forked", flush=True)
    os.close(w)
    os.read(r, 1)
    time.sleep(0.5)
    a[:] = SECRET
    overrun(a)
os.close(r)
os._exit(0)
"""
        start = time.monotonic()
        child = spawn(channel, code, stdout=subprocess.PIPE)
        assert child.stdout
        assert child.stdout.readline() == b"forked\n"
        assert next_event(channel).kind is CLOSED
        assert child.wait(SOON) == 0
        with child.stdout:
            child.stdout.read()  # to the end of the grandchild
        assert channel.wait(0) is None
        assert time.monotonic() - start > 0.5


def test_a_fork_of_the_parent_takes_no_events() -> None:
    check("""
        with secalloc.LockdownChannel() as channel:
            child = channel.child()
            before = sorted(os.listdir("/proc/self/fd")) if sys.platform == "linux" else []
            def forked():
                raises(secalloc.ForkedError, lambda c: c.wait(0), lambda c: c.fileno(),
                       lambda c: c.child(), lambda c: iter(c), lambda c: next(c), of=channel)
                assert channel.closed
                channel.close()
                if before:
                    open_now = sorted(os.listdir("/proc/self/fd"))
                    assert len(open_now) == len(before) - 4, (before, open_now)
                with secalloc.LockdownChannel() as own, own.child() as mine:
                    os.write(mine.fd, b"L")
                    assert own.wait(5).kind == "LOCKDOWN"
            assert child_of(forked) == 0
            os.write(child.fd, b"L")
            child.release()
            assert [channel.wait(5).kind for _ in range(2)] == ["LOCKDOWN", "CLOSED"]
            assert channel.wait(0) is None
    """)


# ---- the end ------------------------------------------------------------------------------------


def test_after_close() -> None:
    channel = LockdownChannel()
    assert not channel.closed
    channel.child()
    channel.close()
    channel.close()
    assert channel.closed
    assert "closed" in repr(channel)
    calls: list[Callable[[], object]] = [
        channel.wait,
        lambda: channel.wait(0),
        channel.fileno,
        channel.child,
        channel.popen_args,
        lambda: iter(channel),
        lambda: aiter(channel),
        lambda: channel.on_event(print),
        channel.__enter__,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()


def test_close_wakes_whoever_waits() -> None:
    channel = LockdownChannel()
    ends: list[object] = []

    def waits() -> None:
        try:
            ends.append(channel.wait())
        except ValueError as error:
            ends.append(type(error))

    threads = [threading.Thread(target=waits) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: ends.append(list(channel))))
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    channel.close()
    for thread in threads:
        thread.join(SOON)
    assert sorted(map(str, ends)) == ["<class 'secalloc.ClosedError'>"] * 3 + ["[]"]


def test_one_that_was_forgotten_is_closed_with_a_warning() -> None:
    with pytest.warns(ResourceWarning, match="unclosed <secalloc.LockdownChannel"):
        del [LockdownChannel()][0]


@linux_only
def test_no_descriptor_stays_open() -> None:
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with LockdownChannel() as channel:
            raw_child(channel, "pass").wait(SOON)
            kept = channel.popen_args()
            channel.child()
            next_event(channel)
            thread = channel.on_event(print)
        thread.join(SOON)
        assert kept["env"]
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_channel_that_was_not_made_goes_without_a_word() -> None:
    """No exception in its finalizer, which would be printed."""
    out = check("""
        told = []
        sys.unraisablehook = told.append
        try: secalloc.LockdownChannel("worker")
        except TypeError: print("refused")
        channel = secalloc.LockdownChannel.__new__(secalloc.LockdownChannel)
        print(channel.closed)
        del channel
        import gc
        gc.collect()
        print(told)
    """)
    assert out.splitlines() == ["refused", "True", "[]"]


def test_what_cannot_be_called_is_refused_before_there_is_an_event() -> None:
    threads = threading.active_count()
    nothing: Any = b"no callable"
    with LockdownChannel() as channel:
        with pytest.raises(TypeError, match="callable"):
            channel.on_event(nothing)
        assert threading.active_count() == threads
