"""One secret for many processes: who gets it, side by side, and what stays of it."""

import errno
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter

import pytest
from channel_children import (
    ASK,
    CLOSED,
    FATAL,
    PRELUDE,
    SOON,
    at_end,
    command,
    next_event,
    variables,
)
from support import GUARD_FAULT, check, linux_only

import secalloc
from secalloc import Arena, LockdownChannel, LockdownKind
from secalloc._channel import wire
from secalloc._channel.offer import Asker, Offer, Refused
from secalloc._channel.peer import Peer, began, peer
from secalloc._channel.serve import PASSING, Server

ADOPTED = LockdownKind.ADOPTED


def told(arena: Arena) -> str:
    """What a worker tells of the key that it got."""
    return hashlib.sha256(arena).hexdigest()


def events(channel: LockdownChannel, count: int) -> Counter[tuple[str, str | None]]:
    """The kinds of so many events, each with the secret that it is of."""
    found = [next_event(channel) for _ in range(count)]
    return Counter((str(event.kind), event.secret) for event in found)


# ---- several with the same ends ------------------------------------------------------------


def test_two_that_ask_at_once_both_get_it() -> None:
    """Forty times: on one connection for both, each would read what was meant for the other."""
    check(
        """
        import multiprocessing, worker_children
        context = multiprocessing.get_context("fork")
        with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
            child = channel.child("pair", secrets={"key": key, "other": key}, uses=80)
            for _ in range(40):
                together = context.Barrier(2)
                both = [context.Process(target=worker_children.together,
                                        args=(child, together, worker_children.told(key)))
                        for _ in range(2)]
                for process in both: process.start()
                for process in both:
                    process.join(60)
                    assert process.exitcode == 0, process.exitcode
            assert len(child.holders) == 80
            assert set(child.holders.values()) == {("key", "other")}
        """
    )


def test_each_is_heard_of_by_itself() -> None:
    """By its process, with its pipe of its own; one that falls, and one that ends."""
    code = ASK + "ask('key'); sys.stdin.readline(); sys.argv[1:] == ['fall'] and overrun(secret())"
    with LockdownChannel() as channel, secalloc.random(32) as key:
        with channel.child("web", secrets={"key": key}, uses=3) as child:
            workers = [
                subprocess.Popen(  # noqa: S603
                    [*command(PRELUDE + code), how],
                    **child.popen_args(env=variables()),
                    stdin=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
                for how in ("fall", "end")
            ]
            who = {}
            for _ in workers:
                event = next_event(channel)
                assert (event.kind, event.secret, event.child.origin) == (ADOPTED, "key", child)
                who[event.child.pid] = event.child
            assert set(who) == {worker.pid for worker in workers}
            for worker, kind in zip(workers, (FATAL, CLOSED), strict=True):
                worker.communicate(b"\n", timeout=SOON)
                event = next_event(channel)
                assert (event.kind, event.child) == (kind, who[worker.pid])
                assert event.child.name.startswith("web/")
            assert workers[0].returncode == -GUARD_FAULT
            assert child.holders == {worker.pid: ("key",) for worker in workers}
        assert next_event(channel) == (CLOSED, child)  # nobody has the ends any more


def test_no_more_than_it_is_for() -> None:
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={"key": key}, uses=2)
        said = []
        for _ in range(3):
            said.append(
                subprocess.run(  # noqa: S603
                    command(
                        PRELUDE + ASK + "print(ask('key'), ask('key'))\n"
                        "try: secalloc.adopt('key')\nexcept secalloc.AdoptError as e: print(e)"
                    ),
                    **child.popen_args(env=variables()),
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
        first, second = child.holders
        assert [text.splitlines()[0] for text in said] == [
            "3 taken",
            "3 taken",
            "not meant not meant",
        ]
        assert "child.give()" in said[0]
        assert f"2 processes, and went to {first}, {second}: child(uses=" in said[2]


@linux_only
def test_another_process_cannot_answer_in_its_stead() -> None:
    """It holds the same end, reads from it whatever can be read, and says what the child would:
    the child gets its secret, and the other nothing."""
    code = """
import socket
held = socket.socket(fileno=os.dup(int(os.environ["SECALLOC_SECRETS_FD"])))
print("ready", flush=True)
held.settimeout(0.001)
end, got = time.monotonic() + 300, b""
while not os.path.exists(sys.argv[1]) and time.monotonic() < end:
    for said in (b"Y", b"N", b"SAC2" + bytes(4), b"SAC1"):
        try: held.send(said, socket.MSG_DONTWAIT)
        except OSError: pass
    try: got += held.recv(4096)
    except TimeoutError: pass
print(len(got), flush=True)
"""
    with (
        tempfile.TemporaryDirectory() as folder,
        LockdownChannel() as channel,
        secalloc.random(32) as key,
    ):
        done = os.path.join(folder, "done")
        child = channel.child(secrets={str(n): key for n in range(30)})
        thief = subprocess.Popen(  # noqa: S603
            [sys.executable, "-S", "-P", "-c", "import os, sys, time\n" + code, done],
            **child.popen_args(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert thief.stdout
        assert thief.stdout.readline() == "ready\n"
        out = subprocess.run(  # noqa: S603
            command(
                PRELUDE
                + "import hashlib\nfor n in range(30): "
                + "print(hashlib.sha256(secalloc.adopt(str(n))).hexdigest())"
            ),
            **child.popen_args(env=variables()),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert out.split() == [told(key)] * 30
        with open(done, "w"):
            pass
        assert thief.communicate(timeout=SOON)[0] == "0\n"


@linux_only
def test_a_process_id_that_is_expected() -> None:
    """Others are refused, even those that come first, with words that say for whom it is."""
    code = ASK + (
        "print(flush=True); sys.stdin.readline(); print(ask('key'))\n"
        "try: secalloc.adopt('key')\nexcept secalloc.AdoptError as e: print(e)"
    )
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={"key": key}, uses=2)
        workers = [at_end(child, code) for _ in range(3)]
        child.expect(workers[1].pid)
        child.expect(workers[2].pid)
        with pytest.raises(ValueError, match=f"expected already, {workers[1].pid}, .*uses="):
            child.expect(workers[0].pid)
        said = [worker.communicate("\n", timeout=SOON)[0].split("\n")[1:] for worker in workers]
        assert [lines[0] for lines in said] == ["not meant", "3", "3"]
        assert f"meant for process {workers[1].pid}, {workers[2].pid}" in said[0][1]
        assert set(child.holders) == {workers[1].pid, workers[2].pid}
    for bad in (True, "1", 1.5):
        with LockdownChannel() as channel, pytest.raises(TypeError):
            channel.child(secrets={}).expect(bad)  # type: ignore[arg-type]


@linux_only
def test_siblings_at_an_unbound_end_are_not_told_apart() -> None:
    """A stated limit: the process that comes first has it, not the one that it was meant for."""
    code = PRELUDE + ASK + "print(ask('key'))"
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={"key": key})
        said = [
            subprocess.run(  # noqa: S603
                command(code),
                **child.popen_args(env=variables()),
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for _ in ("a sibling", "the one that was meant")
        ]
        assert said == ["3\n", "not meant\n"]


@linux_only
def test_a_later_process_of_the_same_number() -> None:
    """Told apart by when it began."""
    me, (ours, theirs) = os.getpid(), socket.socketpair()
    with ours, theirs, Arena(1) as key:
        assert peer(ours) == Peer(me, os.geteuid(), began(me))
        offer = Offer({"key": key}, 60)
        first = Peer(7, os.geteuid(), 1000)
        asker = offer.admit(first, None)
        assert asker
        offer.left(asker)
        assert offer.admit(first, None) is asker
        with pytest.raises(Refused, match="went to 7"):
            offer.admit(first._replace(began=1001), None)
        with pytest.raises(Refused, match="user 12"):
            offer.admit(first._replace(user=12), None)
        offer.expect(me, more=False)
        with pytest.raises(Refused, match="meant for process"):
            offer.admit(Peer(me, os.geteuid(), 5), None)
        assert offer.admit(Peer(me, os.geteuid(), began(me)), None)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(ProcessLookupError):
        began(child.pid)


@linux_only
def test_the_process_that_offers_cannot_be_the_first() -> None:
    check("""
        with secalloc.LockdownChannel() as channel, Arena(3) as key:
            child = channel.child(secrets={"key": key})
            with channel.child() as other: pass
            from secalloc._channel import takeover
            os.environ["SECALLOC_SECRETS_FD"] = str(os.dup(child.fds[1]))
            takeover.from_environment()
            try: secalloc.adopt("key")
            except secalloc.AdoptError as error: assert error.reason == "not meant", error
            else: raise SystemExit("it gave it to itself")
    """)


# ---- workers that others start ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_executor(method: str) -> None:
    """Three workers of concurrent.futures, and three of multiprocessing.Pool, with one offer."""
    check(
        f"""
        import concurrent.futures, multiprocessing, worker_children
        context = multiprocessing.get_context({method!r})
        with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
            offer = channel.offer({{"key": key}}, name="pool")
            with concurrent.futures.ProcessPoolExecutor(
                3, mp_context=context, initializer=worker_children.begin, initargs=(offer,)
            ) as pool:
                said = list(pool.map(worker_children.digest, range(30)))
            assert {{digest for digest, _ in said}} == {{worker_children.told(key)}}
            with context.Pool(3, worker_children.begin, (offer,)) as pool:
                again = pool.map(worker_children.digest, range(30), 1)
                pool.close()
                pool.join()
            assert {{digest for digest, _ in again}} == {{worker_children.told(key)}}
            pids = {{pid for _, pid in said + again}}
            kinds = {{}}
            while (event := channel.wait(0)) is not None:
                if event.child.origin == offer:
                    kinds.setdefault(event.child.pid, []).append(str(event.kind))
            assert pids <= set(kinds), (pids, kinds)
            for pid, said in kinds.items():
                assert said == ["ADOPTED", "CLOSED"], kinds
        """
    )


def test_a_worker_that_falls_is_followed_by_another() -> None:
    """multiprocessing.Pool starts one by itself, which gets the key, too."""
    check(
        """
        import multiprocessing, worker_children
        with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
            offer = channel.offer({"key": key})
            context = multiprocessing.get_context("fork")
            with context.Pool(1, worker_children.begin, (offer,)) as pool:
                first = pool.apply(worker_children.digest, (0,))
                pool.apply_async(worker_children.fall)
                second = pool.apply(worker_children.digest, (1,))
                assert first[0] == second[0] == worker_children.told(key)
                assert first[1] != second[1]
            said = []
            while (event := channel.wait(0)) is not None:
                if event.child.pid == first[1]: said.append(str(event.kind))
            assert said == ["ADOPTED", "FATAL"], said
        """
    )


def test_ends_that_a_server_imported_before_it_forked() -> None:
    """A prefork server that came with the ends by its environment, and its workers."""
    code = """
import hashlib
assert secalloc.status().lockdown_fd is not None
pids = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        key = secalloc.adopt("key")
        os.write(1, hashlib.sha256(key).hexdigest().encode() + b"\\n")
        os._exit(0)
    pids.append(pid)
for pid in pids: assert os.waitpid(pid, 0)[1] == 0
"""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child("server", secrets={"key": key}, uses=4)
        server = subprocess.run(  # noqa: S603
            command(PRELUDE + code),
            **child.popen_args(env=variables()),
            capture_output=True,
            text=True,
            check=False,
        )
        assert server.stdout.split() == [told(key)] * 4, server.stderr
        child.release()
        found = events(channel, 9)
        assert found == {("ADOPTED", "key"): 4, ("CLOSED", None): 5}


# ---- new ones for those that run -----------------------------------------------------------


def test_given_to_children_that_run() -> None:
    """Each is called back, and replaces its key; one that asks by itself finds it, too."""
    code = """
import hashlib
key = secalloc.adopt("key")
def tell(): print(hashlib.sha256(key).hexdigest(), flush=True)
def renew(name):
    if name == "boom": raise RuntimeError("said by a callback")
    with secalloc.adopt(name) as new: key.replace(new, timeout=60)
    tell()
tell()
if sys.argv[1:] == ["called"]:
    secalloc.on_offer(renew)
for line in sys.stdin: renew("key")
"""
    with LockdownChannel() as channel, secalloc.random(32) as key, secalloc.random(32) as new:
        child = channel.child("web", secrets={"key": key}, uses=2)
        workers = {
            how: at_end(child, code, how, stderr=subprocess.PIPE) for how in ("called", "asks")
        }
        called, asks = workers.values()
        assert called.stdin
        assert called.stdout
        assert asks.stdin
        assert asks.stdout
        for worker in (called.stdout, asks.stdout):
            assert worker.readline().strip() == told(key)
        assert events(channel, 2) == {("ADOPTED", "key"): 2}
        for arena in (new, key, new):
            child.give("boom", key, timeout=60)
            child.give("key", arena)
            print(file=asks.stdin, flush=True)
            for worker in (called.stdout, asks.stdout):
                assert worker.readline().strip() == told(arena)
            assert events(channel, 2) == {("ADOPTED", "key"): 2}
        for how, process in workers.items():
            out, err = process.communicate(timeout=SOON)
            assert (process.returncode, out) == (0, ""), err
            assert err.count("RuntimeError: said by a callback") == (3 if how == "called" else 0)


def test_what_a_callback_does_not_take_is_offered_still() -> None:
    """It is called once for each that is given. Where it fails, before adopt() or in it, what it
    was called for can be adopted, and is named again to the next on_offer()."""
    code = """
said = []
threading = __import__("threading")
threading.excepthook = lambda args: said.append(type(args.exc_value).__name__)
def fails(name):
    said.append(name)
    if name == "early": raise RuntimeError
    secalloc.adopt(name, size=5)
hears = secalloc.on_offer(fails)
print("ready", flush=True)
sys.stdin.readline()
while len(said) < 4: time.sleep(0.01)
print(*said, flush=True)
again = []
secalloc.on_offer(again.append)
while len(again) < 2: time.sleep(0.01)
print(*again, len(said), hears.is_alive(), flush=True)
for name in sorted(again): print(secalloc.adopt(name).size, flush=True)
sys.stdin.readline()
while len(said) < 6 or len(again) < 3: time.sleep(0.01)
print(*said[4:], *again[2:])
"""
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={})
        worker = at_end(child, code)
        assert worker.stdin
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
        child.give("early", key)
        child.give("late", key)
        print(file=worker.stdin, flush=True)
        assert worker.stdout.readline() == "early RuntimeError late AdoptError\n"
        assert worker.stdout.readline() == "early late 4 True\n"
        assert [worker.stdout.readline() for _ in range(2)] == ["3\n", "3\n"]
        child.give("early", key)  # and a new one is told to all who hear
        print(file=worker.stdin, flush=True)
        assert worker.communicate(timeout=SOON)[0] == "early RuntimeError early\n"


def test_given_to_one_of_several() -> None:
    code = (
        ASK + "print(ask('key'), flush=True)\nfor line in sys.stdin: print(ask('own'), flush=True)"
    )
    with LockdownChannel() as channel, Arena(3) as key, Arena(7) as own:
        child = channel.child(secrets={"key": key}, uses=2)
        workers = {}
        for _ in range(2):
            worker = at_end(child, code)
            event = next_event(channel)
            assert event.child.pid == worker.pid
            workers[worker] = event.child
        first, second = workers
        workers[first].give("own", own)
        assert first.communicate("\n", timeout=SOON)[0] == "3\n7\n"
        assert second.communicate("\n", timeout=SOON)[0] == "3\nunknown\n"
        assert child.holders[first.pid] == ("key", "own")


def test_what_cannot_be_given() -> None:
    with LockdownChannel() as channel, Arena(3) as key, Arena(3) as wiped, Arena(3) as closed:
        wiped.clear()
        closed.close()
        with channel.child() as without, pytest.raises(ValueError, match=r"secrets=\{\}"):
            without.give("key", key)
        child = channel.child(secrets={})
        with pytest.raises(secalloc.WipedError, match=r"'key' .* wiped"):
            child.give("key", wiped)
        with pytest.raises(ValueError, match="closed"):
            child.give("key", closed)
        with pytest.raises(TypeError):
            child.give("key", b"key")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timeout"):
            child.give("key", key, timeout=0)
        with pytest.raises(secalloc.WipedError):
            channel.offer({"key": wiped})
        for uses in (0, -1):
            with pytest.raises(ValueError, match="uses"):
                channel.child(uses=uses)
        for bad in ("2", 1.5, True):
            with pytest.raises(TypeError, match="uses"):
                channel.child(uses=bad)  # type: ignore[arg-type]
    with Arena(3) as key, pytest.raises(ValueError, match="gone, or its channel closed"):
        child.give("key", key)


@linux_only
def test_what_a_slow_thread_or_a_spurious_wake_up_could_spoil(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection is given up before it is told what went over it, or its process would be
    refused for having too many; and a watch stays, whatever wakes the parent."""
    code = """
key = secalloc.adopt("key")
def renew(name):
    with secalloc.adopt(name) as new: print(new.size, flush=True)
secalloc.on_offer(renew)
print("ready", flush=True)
sys.stdin.read()
"""
    with LockdownChannel() as channel, Arena(3) as key:
        server, counts = channel._server, []
        adopted = server._adopted

        def counted(offer: Offer, asker: Asker, name: str, given: bool) -> None:
            counts.append(asker.connections)
            adopted(offer, asker, name, given)

        monkeypatch.setattr(server, "_adopted", counted)
        child = channel.child(secrets={"key": key})
        worker = at_end(child, code)
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
        end = time.monotonic() + SOON
        while not server._parked:
            assert time.monotonic() < end
            time.sleep(0.01)
        ((fd, watch),) = server._parked.items()
        monkeypatch.setattr(wire, "PATIENCE", 0.05)
        server._look(fd)
        while server._parked.get(fd) is not watch:
            assert watch in server._open, "it is not told of anything any more"
            assert time.monotonic() < end
            time.sleep(0.01)
        monkeypatch.undo()
        monkeypatch.setattr(server, "_adopted", counted)
        for size in (4, 5):
            with Arena(size) as new:
                child.give("key", new)
                assert worker.stdout.readline() == f"{size}\n"
                assert next_event(channel) == (ADOPTED, child)
        worker.communicate(timeout=SOON)
        assert max(counts) == 1, counts  # the watch


@linux_only
def test_a_later_childs_end_of_the_same_number_stays() -> None:
    """Where the end that could be read was closed before it was read, and another began."""
    with Arena(1) as key:
        server = Server(lambda _offer, _asker: -1, lambda *_told: None)
        (old, gone), (new, theirs) = socket.socketpair(), socket.socketpair()
        with gone, theirs:
            earlier, later = Offer({"key": key}, 60), Offer({"key": key}, 60)
            old.close()
            server.add(new, later)
            server._take(new.fileno(), old, earlier)
            assert earlier.closed
            assert new.fileno() in server._ends
            server.remove(later)
            assert new.fileno() == -1


@linux_only
def test_an_end_outlives_what_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory or no descriptor to be had for a message: it is read when there is. Any other
    error is the end."""
    receive, failures = wire.receive_end, list[int]()

    def failing(end: socket.socket) -> tuple[bool, list[int]]:
        if failures:
            raise OSError(failures.pop(), "made up")
        return receive(end)

    monkeypatch.setattr(wire, "receive_end", failing)
    for errors, wanted in (([*PASSING], "3\n"), ([errno.ECONNRESET], "gone\n")):
        failures[:] = errors
        with LockdownChannel() as channel, Arena(3) as key:
            worker = subprocess.run(  # noqa: S603
                command(PRELUDE + ASK + "print(ask('key'))"),
                **channel.popen_args(env=variables(), secrets={"key": key}),
                capture_output=True,
                text=True,
                check=True,
                timeout=SOON,
            )
        assert worker.stdout == wanted
        assert not failures


@linux_only
@pytest.mark.parametrize("of", ["server", "offer", "listener"])
def test_a_finalizer_waits_for_no_lock(of: str) -> None:
    """It may run while its thread holds another: an end, and a channel, that nobody has any more
    are closed by another thread where a lock is taken, and all is closed when it is given back."""
    check(
        f"""
        import gc, threading, warnings
        warnings.simplefilter("ignore", ResourceWarning)
        before = sorted(os.listdir("/proc/self/fd"))
        key = secalloc.random(32)
        for what in ("end", "channel", "both"):
            channel = secalloc.LockdownChannel()
            child = channel.child(secrets={{"key": key}})
            (offer,) = channel._offers.values()
            lock = {{"server": channel._server._lock, "offer": offer.lock,
                    "listener": channel._listener}}[{of!r}]
            dropped, reached = [child, channel], threading.Event()
            del channel, child
            def drop():
                if what != "channel": del dropped[0]
                gc.collect()
                if what != "end": dropped.clear()
                gc.collect()
                reached.set()
            if what == "channel": kept = dropped.pop(0)
            with lock:
                threading.Thread(target=drop).start()
                assert reached.wait(60), "a finalizer waits"
            if what == "channel": del kept
            offer = lock = None
            dropped.clear()
            gc.collect()
        for _ in range(6000):
            if sorted(os.listdir("/proc/self/fd")) == before: break
            time.sleep(0.01)
        assert sorted(os.listdir("/proc/self/fd")) == before
        """
    )


# ---- many, and what stays ----------------------------------------------------------------------


def descriptors() -> list[str]:
    """This process's."""
    return sorted(os.listdir("/proc/self/fd"))


def threads() -> int:
    """This process's, those that Python's threading knows nothing of, too."""
    return len(os.listdir("/proc/self/task"))


def settled(before: tuple[list[str], int]) -> None:
    """Until the threads that served are gone, and nothing is there that was not before. What an
    earlier test left may have gone meanwhile."""
    end = time.monotonic() + SOON
    while True:
        now = descriptors(), threads()
        if set(now[0]) <= set(before[0]) and now[1] <= before[1]:
            return
        assert time.monotonic() < end, (before, now)
        time.sleep(0.01)


NONSENSE = 10_000 if os.environ.get("SECALLOC_LONG") else 2000


@linux_only
def test_nonsense() -> None:
    """From a process that holds the end: the parent goes on, keeps nothing, gives nothing, and
    another gets its secret meanwhile."""
    code = f"""
import array, random, select, socket
held = socket.socket(fileno=int(os.environ["SECALLOC_SECRETS_FD"]))
chance = random.Random(1)
count = 0
def rights(*fds): return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
def say(data, *fds):
    global count
    count += 1
    while True:
        try: return held.sendmsg([data], rights(*fds) if fds else [])
        except BlockingIOError: select.select([], [held], [])  # it was sent itself, and made so
for n in range({NONSENSE}):
    kind, data = n % 8, chance.randbytes(chance.randrange(1, 700))
    if kind == 0: say(data)
    elif kind == 1: say(b"SAC3" + data)
    elif kind == 2: say(data, held.fileno())
    elif kind == 3: say(data, 0, 1, 2, held.fileno())
    elif kind == 4:
        r, w = os.pipe(); say(data, r); os.close(r); os.close(w)
    elif kind == 5:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s: say(data, s.fileno())
    elif kind == 6:
        with socket.socket() as s: say(data, s.fileno())
    else:
        a, b = socket.socketpair()
        a.sendall(data)
        say(data, b.fileno())
        b.close()
        a.close()
print(count, flush=True)
a, b = socket.socketpair()
say(b"!", b.fileno())
b.close()
a.settimeout(60)
a.sendall(b"SAC3A" + bytes(16) + b"\\x03key" + bytes(252 + 8 + 24))
said = a.recv(4096)
print(said[4:5], b"went to" in said or b"meant for" in said)
"""
    before = descriptors(), threads()
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={str(n): key for n in range(5)})
        args = child.popen_args(env=variables())
        mine = subprocess.Popen(  # noqa: S603
            command(
                PRELUDE
                + ASK
                + "for n in range(5): sys.stdin.readline(); print(ask(str(n)), flush=True)"
            ),
            **args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert mine.stdin
        assert mine.stdout
        print(file=mine.stdin, flush=True)
        assert mine.stdout.readline() == "32\n"
        fuzzer = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", "import os\n" + code],
            **child.popen_args(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4):
            print(file=mine.stdin, flush=True)
            assert mine.stdout.readline() == "32\n"
        out = fuzzer.communicate(timeout=SOON)[0]
        assert out == f"{NONSENSE}\nb'M' True\n"
        mine.communicate(timeout=SOON)
        assert set(child.holders) == {mine.pid}
        del args
    settled(before)
    assert not key.wiped or key.closed


HAND_OVERS, MANY = (1000, 50) if os.environ.get("SECALLOC_LONG") else (96, 8)


@linux_only
def test_many_side_by_side() -> None:
    """All get all, and nothing stays: no descriptor, mapping, thread or locked byte."""
    out = check(
        f"""
        import hashlib, worker_children
        def look():
            status = secalloc.status()
            return (sorted(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")),
                    open("/proc/self/maps").read().count("secretmem"), locked_kib(),
                    status.locked_bytes, status.arenas)
        def begin(offer, ready):
            offer.install()
            os.read(ready, 1)
            names = [str(n) for n in range({HAND_OVERS // MANY})]
            for name in names:
                with secalloc.adopt(name, size=32) as a: digest = worker_children.told(a)
                assert digest == wanted
        key = secalloc.random(32)
        wanted = worker_children.told(key)
        def round():
            with secalloc.LockdownChannel() as channel:
                offer = channel.offer({{str(n): key for n in range({HAND_OVERS // MANY})}})
                r, w = os.pipe()
                pids = []
                for _ in range({MANY}):
                    pid = os.fork()
                    if pid == 0:
                        code = 1
                        try:
                            os.close(w)
                            begin(offer, r)
                            code = 0
                        except BaseException as error: print(repr(error), file=sys.stderr)
                        finally: os._exit(code)
                    pids.append(pid)
                os.close(r)
                os.write(w, b"x" * {MANY})
                os.close(w)
                failed = sum(os.waitpid(pid, 0)[1] != 0 for pid in pids)
                given = sum(map(len, offer.holders.values()))
                return failed, given
        assert round() == (0, {HAND_OVERS // MANY * MANY})
        def settled(before):
            for _ in range(3000):
                if look() == before: return
                time.sleep(0.01)
            raise SystemExit((before, look()))
        for _ in range(3000):
            if len(os.listdir("/proc/self/task")) == 1: break
            time.sleep(0.01)
        before = look()
        assert round() == (0, {HAND_OVERS // MANY * MANY})
        settled(before)
        print("all")
        """
    )
    assert out == "all"
