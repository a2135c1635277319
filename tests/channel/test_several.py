"""Several secrets for one process: small ones come under a key of the connection's own. So they do
not need pages of their own on the way, and nobody else can read them there."""

import hashlib
import os
import threading
import time
from typing import Any

import pytest
from channel_children import ASK, SOON, next_event, spawn, talk
from support import check, linux_only, needs_lockable
from test_hostile import hostile, lines

import secalloc
from secalloc import Arena, LockdownChannel
from secalloc._channel import handover, room, wire
from secalloc._channel.asking import Asking
from secalloc._channel.keys import Keys
from secalloc._channel.offer import Refused
from secalloc._channel.serve import Server

pytestmark = linux_only

SEVERAL = """
import hashlib
from secalloc._channel.asking import asking
got = {}
def adopt(*names):
    for name in names:
        got[name] = secalloc.adopt(name)
def keyed(): return asking.key is not None and asking.key.name == "a channel's key"
def tell():
    for name, arena in got.items():
        print(name, hashlib.sha256(arena).hexdigest(), flush=True)
def wait():
    print("now", flush=True)
    sys.stdin.readline()
"""
NAMES = "abcdef"


def secrets(size: int = 32) -> dict[str, Arena]:
    """As many as there are names."""
    return {name: secalloc.random(size) for name in NAMES}


def told(arenas: dict[str, Arena]) -> list[str]:
    """What a child that has them all tells."""
    return [f"{name} {hashlib.sha256(arena).hexdigest()}" for name, arena in arenas.items()]


needs_room = needs_lockable(2 * room.ROOM)
"""Below that nobody makes keys: what can be locked is left to the secrets."""


def has_keys() -> bool:
    """Whether keys can be had at all."""
    with Arena(1) as probe:
        return "SECRETMEM" in str(probe.protection) and room.has_room()


def arenas_fall_to(number: int) -> None:
    """That this process has no more, soon. What an earlier test left may have gone meanwhile."""
    end = time.monotonic() + SOON
    while secalloc.status().arenas > number:
        assert time.monotonic() < end, (secalloc.status().arenas, number)
        time.sleep(0.01)


def said(code: str, arenas: dict[str, Arena]) -> list[str]:
    """What a child says to which those are offered; it must end well."""
    with LockdownChannel() as channel:
        child = spawn(channel, SEVERAL + code, secrets=arenas, stdout=-1, stderr=-1, text=True)
        out, err = child.communicate(timeout=SOON)
    assert child.returncode == 0, err
    return str(out).splitlines()


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("size", [0, 32, 4096, 4097, 70_000])
def test_a_key_for_the_small(size: int, asks: bool) -> None:
    """All come whole. A child that knows how large they are has the key from the second on, one
    that asks for that from the first on; both until the last. It is no arena of the program's
    afterwards, and no descriptor stays open. Where keys are not to be had, all come without."""
    keys = has_keys()
    arenas = secrets(size)
    before = secalloc.status().arenas
    code = f"""
fds = len(os.listdir("/proc/self/fd"))
for name in "abcdef":
    got[name] = secalloc.adopt(name, size={None if asks else size})
    print(int(keyed()), end="")
print("", secalloc.status().arenas, len(os.listdir("/proc/self/fd")) - fds)
tell()
"""
    found = said(code, arenas)
    keyed = "111110" if asks else "011110"
    if size > 4096 or not keys:
        keyed = "000000"
    assert found[0] == f"{keyed} 6 0"
    assert found[1:] == told(arenas)
    arenas_fall_to(before)


@pytest.mark.parametrize(
    "lack",
    [
        'deny("memfd_secret", errno.EPERM)',
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))",
    ],
)
def test_without_a_key(lack: str) -> None:
    """Where there is no secretmem, or little that can still be locked: as ever."""
    arenas = secrets()
    code = f"""
import resource
warnings.simplefilter("ignore")
{lack}
got["a"] = secalloc.adopt("a", size=32)
kept = asking.kept
adopt(*"bcd")
limit = secalloc.status().secretmem_limit
print(keyed() and limit is not None, asking.kept is kept)
adopt(*"ef")
tell()
"""
    assert said(code, arenas) == ["False True", *told(arenas)]


@needs_room
@pytest.mark.parametrize("of", ["lock_limit", "secretmem_limit"])
def test_a_parent_with_little_room(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it can still lock is for its own secrets."""

    def status() -> secalloc.Status:
        now = secalloc.status()
        now = now._replace(backend="secretmem", lock_limit=None, secretmem_limit=None)
        if of == "lock_limit":
            return now._replace(lock_limit=now.locked_bytes + room.ROOM - 1)
        return now._replace(secretmem_limit=now.secretmem_bytes + room.ROOM - 1)

    with LockdownChannel() as channel:
        keys = channel._server._keys
        keys.drop(keys.make())
        monkeypatch.setattr(room, "status", status)
        with pytest.raises(Refused, match="little"):
            keys.make()
        assert keys.pool is None


def test_a_parent_without_room_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for once, and not again."""
    asked = []

    def refuse(self: Keys) -> Arena:
        asked.append(self)
        raise Refused(b"G", "there is none")

    monkeypatch.setattr(Keys, "make", refuse)
    arenas = secrets()
    assert said("adopt(*'abcdef')\nprint(keyed())\ntell()", arenas) == ["False", *told(arenas)]
    assert len(asked) == has_keys()


def test_a_parent_that_gives_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of another version hangs up on who asks for a key: secrets come without."""
    monkeypatch.setattr(Server, "_give_key", lambda *_: None)
    arenas = secrets()
    assert said("adopt(*'abcdef')\nprint(keyed())\ntell()", arenas) == ["False", *told(arenas)]


def test_a_lockdown_of_the_child_in_the_middle() -> None:
    """What was had is wiped, the key too; the rest comes, under another."""
    arenas = secrets()
    code = """
secalloc.set_lockdown_fd(None)
adopt(*"abc")
print(secalloc.lockdown() - keyed())
got.clear()
adopt(*"de")
was = keyed()
adopt("f")
tell()
print(was)
"""
    found = said(code, arenas)
    assert found == ["3", *told(arenas)[3:], str(has_keys())]


@pytest.mark.parametrize("way", ["lockdown", "close"])
def test_a_lockdown_of_the_parent_in_the_middle(way: str) -> None:
    """Its copy of the key is wiped. A secret that is there again is had under another key."""
    arenas = secrets()
    with LockdownChannel() as channel:
        child = spawn(
            channel,
            SEVERAL + ASK + "adopt(*'abc')\nwait()\nprint(ask('d'))\nadopt(*'ef')\ntell()\n",
            secrets=arenas,
            stdin=-1,
            stdout=-1,
            text=True,
        )
        assert child.stdin
        assert child.stdout
        assert child.stdout.readline() == "now\n"
        fd = secalloc.set_lockdown_fd(None)
        secalloc.lockdown()
        secalloc.set_lockdown_fd(fd)
        for name, arena in arenas.items():
            if name in "ef":
                arena[:] = os.urandom(32)
        if way == "close":
            arenas["d"].close()
        out, _ = child.communicate("\n", timeout=SOON)
    wiped, *rest = out.splitlines()
    assert wiped == "wiped"
    assert rest[3:] == told({name: arenas[name] for name in "ef"})


def test_a_fork_has_no_key() -> None:
    """The connection and the key are its parent's, which goes on with both."""
    arenas = secrets()
    code = """
adopt(*"abc")
had = asking.key
pid = os.fork()
if pid == 0:
    os._exit(bool(asking.key or asking.kept or asking.open or not (had is None or had.closed)))
print(os.waitpid(pid, 0)[1], keyed())
adopt(*"def")
tell()
"""
    assert said(code, arenas) == [f"0 {has_keys()}", *told(arenas)]


@needs_room
def test_a_finalizer_while_a_key_is_made() -> None:
    """One that closes a connection with a key: it waits for no lock that its thread holds, or that
    finalizers do not ask for, and the pool stays for the key that is being made."""
    with LockdownChannel() as channel:
        keys, lock = channel._server._keys, channel._server._lock
        assert keys.lock is lock
        first = keys.make()
        made: list[Arena] = []
        pool: Any = keys.pool

        class Collecting:
            """In which garbage is collected."""

            def random(self, *arguments: Any, **more: Any) -> Arena:
                keys.drop(first)
                made.append(pool.random(*arguments, **more))
                return made[0]

            close = pool.close

        keys.pool = Collecting()  # type: ignore[assignment]
        thread = threading.Thread(target=keys.make, daemon=True)
        thread.start()
        thread.join(60)
        assert len(made) == 1, "a finalizer waits"
        assert first.closed
        keys.drop(*made)
        assert keys.pool is None
        assert pool.closed


def test_what_was_wiped_before_it_was_read() -> None:
    """A secret that comes as it is, without secretmem: what is left of it in the connection is
    taken for no answer."""
    code = """
secalloc.set_lockdown_fd(None)
secalloc.configure(secretmem=False)
ours, theirs = socket.socketpair()
def parent():
    theirs.recv(99, socket.MSG_WAITALL)
    secalloc.lockdown()
    theirs.sendall(b"words" + b"G" + b"content" + b"D")
thread = threading.Thread(target=parent)
thread.start()
taken, words, _, _ = _ask(7, ours.fileno(), 60000, bytes(75), 5)
print(type(taken).__name__, words, ours.recv(99))
"""
    found = check("import socket, threading\nfrom secalloc._core import _ask\n" + code)
    assert found == "WipedError b'words' b'contentD'"


def test_such_a_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is asked for anew."""
    ends: list[Any] = []

    def taken(*_: object) -> tuple[Arena | Exception, handover._Said, Any, bool]:
        ends.append(wire.socket_pair())
        said = handover._Said(wire.OFFERED, 0, 5, "")
        first = secalloc.WipedError("wiped on its way") if len(ends) == 1 else Arena(7)
        return first, said, ends[-1][0], False

    monkeypatch.setattr(handover, "asking", Asking())
    monkeypatch.setattr(handover, "_taken", taken)
    assert secalloc.adopt("key", size=7).size == 7
    assert [ours.fileno() < 0 for ours, _ in ends] == [True, False]
    for end in (*ends[0], *ends[1]):
        end.close()


KEYS = """
def key(end):
    try: end.send(struct.pack("=4sc16s256pQ", b"SAC3", b"K", bytes(16), b"", 32) + offer())
    except BrokenPipeError: pass  # it was refused before
    verdict, words = answer(end)
    if verdict != b"O": return verdict
    assert words[-1:] == b"G"
    key = end.recv(32, socket.MSG_WAITALL)
    assert end.recv(1, socket.MSG_WAITALL) == b"D"
    return key
"""

WITHOUT_END = (
    KEYS
    + """
end = connected()
keys = {key(end) for _ in range(500)}
say(len(keys), {len(one) for one in keys})
sys.stdin.readline()
"""
)

WITHOUT_ONE = (
    KEYS
    + """
end = connected()
end.send(question(b"key", 32, offer(b"E")))
say(end.recv(99))
end = connected()
say(key(end) != b"O")
end.send(question(b"key", 32, offer(b"E")))
verdict, words = answer(end)
count, tag = end.recv(8, socket.MSG_WAITALL), end.recv(16, socket.MSG_WAITALL)
say(verdict, words[-1:], len(end.recv(99)))
"""
)

REFUSED = (
    KEYS
    + """
end = connected()
say(key(end))
"""
)


@needs_room
def test_one_that_asks_for_keys_without_end() -> None:
    """It has one at a time, the parent keeps one, and no secret is spent."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key})
        before = secalloc.status().arenas
        process = hostile(child, WITHOUT_END)
        assert process.stdout
        assert process.stdout.readline() == "500 {32}\n"
        arenas_fall_to(before + 1)
        process.communicate("\n", timeout=SOON)
        next_event(channel)
        arenas_fall_to(before)


@needs_room
def test_one_that_asks_under_a_key_that_it_has_not() -> None:
    """It is hung up on, and has not had the secret: over another connection it comes."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key})
        process = hostile(child, WITHOUT_ONE)
        assert lines(process) == ["b''", "True", "b'O' b'E' 32"]


def test_one_that_was_refused_gets_no_key() -> None:
    """A process that it is not meant for."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child, _, says = talk(channel, ASK + "print(ask('key'))\nsys.stdin.readline()\n", key)
        assert says.readline() == "32\n"
        other = channel.child(secrets={"key": key})
        other.expect(child.pid)
        assert lines(hostile(other, REFUSED)) == ["b'M'"]
        child.communicate("\n", timeout=SOON)
