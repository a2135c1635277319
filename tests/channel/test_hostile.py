"""Processes at a child's end that mean no good, or come from elsewhere: the parent goes on, keeps
nothing of them, and nobody gets what is another's."""

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from channel_children import ASK, PRELUDE, SOON, command, next_event, variables
from support import linux_only
from test_workers import descriptors, settled, threads

import secalloc
from secalloc import Arena, LockdownChannel, LockdownKind

pytestmark = linux_only

RAW = """
import array, os, socket, struct, sys
held = socket.socket(fileno=int(os.environ["SECALLOC_SECRETS_FD"]))
def rights(fd): return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
def connected():
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    held.sendmsg([b"2"], rights(theirs.fileno()))
    theirs.close()
    return ours
def offer(kind=b"S", offset=0, size=0): return struct.pack("=c7xQQ", kind, offset, size)
def question(name, size, offer=offer()):
    return struct.pack("=4sc16s256pQ", b"SAC3", b"A", bytes(16), name, size) + offer
def answer(end):
    got = b""
    while len(got) < 274:
        part = end.recv(274 - len(got))
        if not part: break
        got += part
    return got[4:5], got
def say(*what): print(*what, flush=True)
"""
"""What a process can do by hand at the end that it was given."""


def hostile(child: secalloc.LockdownChild, code: str, *prefix: str) -> "subprocess.Popen[str]":
    """A process without the library, at a child's end; `prefix` starts it."""
    return subprocess.Popen(  # noqa: S603
        [*prefix, sys.executable, "-S", "-P", "-c", RAW + textwrap.dedent(code)],
        **child.popen_args(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def honest(child: secalloc.LockdownChild, code: str = "print(ask('key'))") -> str:
    """What a process says that asks as it should."""
    return subprocess.run(  # noqa: S603
        command(PRELUDE + ASK + code),
        **child.popen_args(env=variables()),
        capture_output=True,
        text=True,
        check=True,
        timeout=SOON,
    ).stdout


def lines(process: "subprocess.Popen[str]") -> list[str]:
    """All that it says until its end."""
    return process.communicate(timeout=SOON)[0].split("\n")[:-1]


def test_one_that_dies_in_the_middle() -> None:
    """Of a question, before the answer, and after it, with the secret about to come in another way
    than by pages that it named and did not send: it holds nothing, and others do."""
    before = descriptors(), threads()
    with LockdownChannel() as channel, secalloc.random(32) as key:
        for code in (
            "connected().sendall(question(b'key', 32)[:100])",
            "connected().sendall(question(b'key', 32, offer(b'P')))",
            "end = connected(); end.sendall(question(b'key', 32, offer(b'P'))); "
            "say(answer(end)[0])",
        ):
            with channel.child("worker", secrets={"key": key}, uses=2) as child:
                said = lines(hostile(child, code))
                assert said in ([], ["b'O'"])
                assert honest(child) == "32\n"
                while next_event(channel).kind != LockdownKind.ADOPTED:
                    pass
            end = time.monotonic() + SOON  # until its thread found that it is gone
            while set(held := sorted(child.holders.values())[:-1]) - {()}:
                assert time.monotonic() < end, held
                time.sleep(0.01)
            assert ("key",) in child.holders.values()
    settled(before)


def test_one_that_holds_the_end_and_connections_without_asking() -> None:
    """More connections than it may have, and none of them used: others are served meanwhile, the
    channel closes at once, and all is as it was when the process is gone."""
    before = descriptors(), threads()
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key}, uses=2)
        idle = hostile(
            child,
            """
            ends = [connected() for _ in range(20)]
            said = [answer(end) for end in ends[8:]]
            say({verdict for verdict, _ in said}, all(b"8 connections" in text for _, text in said))
            sys.stdin.read()
            """,
        )
        assert idle.stdout
        assert idle.stdout.readline() == "{b'G'} True\n"
        assert honest(child) == "32\n"
        assert child.holders[idle.pid] == ()
        assert len(child.holders) == 2
    assert lines(idle) == []
    settled(before)


def test_one_that_closes_the_end_for_all() -> None:
    """shutdown() on what its sibling has, too: the sibling is told at once that there is
    nothing, and other children are served."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key})
        other = channel.child(secrets={"key": key})
        assert lines(hostile(child, "held.shutdown(socket.SHUT_RDWR)")) == []
        assert honest(child) == "gone\n"
        assert honest(other) == "32\n"
        assert child.holders == {}
        end = time.monotonic() + SOON  # the parent lets go of the end, rather than look for ever
        while len(channel._server._ends) > 1:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_one_that_asks_on_the_connection_of_another() -> None:
    """It inherited the connection from the process that is expected: the process that asks is
    looked at, and not only the one that made the connection."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key, "other": key})
        worker = hostile(
            child,
            """
            sys.stdin.readline()
            end = connected()
            if os.fork() == 0:
                end.sendall(question(b"key", 32))
                verdict, text = answer(end)
                say(verdict, b"another process asks" in text)
                os._exit(0)
            os.wait()
            again = connected()
            again.sendall(question(b"key", 32))
            say(answer(again)[0])
            """,
        )
        child.expect(worker.pid)
        print(file=worker.stdin, flush=True)
        assert lines(worker) == ["b'M' True", "b'O'"]
        assert set(child.holders) == {worker.pid}


FIRST = """
import ctypes, fcntl, mmap, tempfile
libc = ctypes.CDLL(None, use_errno=True)
page = os.sysconf("SC_PAGESIZE")
def secretmem(size):
    fd = libc.syscall(447, os.O_CLOEXEC)
    if fd >= 0: os.ftruncate(fd, size)
    return fd
def memfd(size, *seals):
    fd = os.memfd_create("pages", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    for seal in seals: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seal)
    return fd
def cut(fd):
    try: os.ftruncate(fd, 0)
    except OSError: return  # secretmem has its size for good
    raise SystemExit("cut short")
def ask(fd, offset=page - 32, size=page, *more, then=None):
    end = connected()
    asked = question(b"key", 32, offer(b"P", offset, size))
    end.sendmsg([asked], rights(fd, *more) if fd >= 0 else [])
    if then: then()
    verdict, got = answer(end)
    return verdict, got[-1:], end
def rights(*fds): return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
def holds(fd, at=page - 32):
    try:
        with mmap.mmap(fd, page) as m: return any(m[at:at + 32])
    except (OSError, ValueError): return False
"""


def first_message(child: secalloc.LockdownChild, code: str) -> list[str]:
    """What comes of pages that are offered with a question: the verdict, the step after it, and
    whether the secret is in them."""
    return lines(hostile(child, FIRST + textwrap.dedent(code)))


def has_secretmem() -> bool:
    """Whether an arena has it here."""
    with Arena(1) as probe:
        return secalloc.Protection.SECRETMEM in probe.protection


@pytest.mark.parametrize(
    ("pages", "control"),
    [
        ("fd = secretmem(page); said = ask(fd)", True),
        ("fd = os.open(tempfile.mkstemp()[1], os.O_RDWR); os.ftruncate(fd, page)", False),
        ("fd = memfd(page)", False),
        ("fd = memfd(page, 2, 4)", False),
        ("fd = memfd(page); said = ask(fd, then=lambda: os.ftruncate(fd, 0))", False),
        ("fd = secretmem(page); said = ask(fd, then=lambda: cut(fd))", True),
        ("fd = secretmem(0)", False),
        ("fd = secretmem(2 * page)", False),
        ("fd = secretmem(page); said = ask(fd, 0, 2 * page)", False),
        ("fd = secretmem(page); said = ask(fd, page - 31)", False),
        ("fd = secretmem(page); said = ask(fd, 2**64 - 32)", False),
        ("fd = secretmem(64 * page); said = ask(fd, 0, 64 * page)", False),
        ("fd = secretmem(page); said = ask(-1)", False),
        ("fd = os.pipe()[0]", False),
        ("fd = os.open('/dev/zero', os.O_RDWR)", False),
    ],
)
def test_pages_that_come_with_the_question(pages: str, control: bool) -> None:
    """A file, sealed or not or cut short, of another size, with another place in it, none at all:
    refused after the answer, and nothing is in them. The process may ask for the bytes instead."""
    if not has_secretmem():
        pytest.skip("the pages are secretmem's")
    before = descriptors(), threads()
    with (
        LockdownChannel() as channel,
        Arena(b"k" * 32) as key,
        channel.child(secrets={"key": key}, uses=3) as child,
    ):
        code = f"""
            said = None
            {pages}
            verdict, step, end = said or ask(fd)
            say(verdict, step, holds(fd))
            if step == b"R":
                end.sendall(offer())
                got = b""
                while len(got) < 34: got += end.recv(34 - len(got))
                say(got == b"G" + b"k" * 32 + b"D")
            """
        said = first_message(child, code)
        assert said == (["b'O' b'D' True"] if control else ["b'O' b'R' False", "True"])
        assert honest(child) == "32\n"
    settled(before)


def test_a_question_in_pieces_and_with_more_than_one_descriptor() -> None:
    """Pages count only where they come with the end of a question; what else comes is closed."""
    if not has_secretmem():
        pytest.skip("the pages are secretmem's")
    before = descriptors(), threads()
    with (
        LockdownChannel() as channel,
        secalloc.random(32) as key,
        channel.child(secrets={"key": key}, uses=3) as child,
    ):
        code = """
            fds = [secretmem(page) for _ in range(3)]
            whole = question(b"key", 32, offer(b"P", page - 32, page))
            end = connected()
            for n, part in enumerate((whole[:1], whole[1:300], whole[300:])):
                end.sendmsg([part], rights(fds[n]) if n < 2 else [])
            verdict, got = answer(end)
            say(verdict, got[-1:], [holds(fd) for fd in fds])
            end = connected()
            end.sendmsg([question(b"other", 32, offer(b"P", page - 32, page))], rights(*fds))
            say(answer(end)[0])
            end.sendmsg([whole], rights(*fds))
            say(answer(end)[0])
            """
        said = first_message(child, code)
        assert said[0] == "b'O' b'R' [False, False, False]"
        assert said[1] == "b'U'"
        assert len(said) == 3
        assert honest(child) == "32\n"
    settled(before)


def test_pages_of_a_process_that_may_not_have_it() -> None:
    """Nothing of the secret is in the pages that came with a question that is refused: by another
    size, another process, a name that is none, or by one that was given it already."""
    if not has_secretmem():
        pytest.skip("the pages are secretmem's")
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key, "other": key})
        worker = hostile(
            child,
            FIRST
            + textwrap.dedent("""
            sys.stdin.readline()
            def tried(name, size, end=None):
                fd, end = secretmem(page), end or connected()
                end.sendmsg([question(name, size, offer(b"P", page - 32, page))], rights(fd))
                verdict, got = answer(end)
                say(verdict, got[-1:], holds(fd))
            tried(b"key", 31)
            tried(b"none", 32)
            end = connected()
            if os.fork() == 0:
                tried(b"key", 32, end)
                os._exit(0)
            os.wait()
            tried(b"key", 32)
            tried(b"key", 32)
            """),
        )
        child.expect(worker.pid)
        print(file=worker.stdin, flush=True)
        assert lines(worker) == [
            "b'S' b'N' False",
            "b'U' b'N' False",
            "b'M' b'N' False",
            "b'O' b'D' True",
            "b'T' b'N' False",
        ]


USERS = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run as another user")


def _namespaces() -> bool:
    if not shutil.which("unshare"):
        return False
    try_it = ["unshare", "-p", "-f", "true"]
    return subprocess.run(try_it, capture_output=True, check=False).returncode == 0  # noqa: S603


ELSEWHERE = pytest.mark.skipif(
    not _namespaces(),
    reason="no PID namespace is to be had here: needs root, or a kernel that lets others",
)


@USERS
def test_one_of_another_user() -> None:
    """By hand and by adopt(): refused with both users, and the next one of ours is served."""
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={"key": key})
        said = lines(
            hostile(
                child,
                """
                os.setuid(65534)
                end = connected()
                try: end.sendall(question(b"key", 32))
                except OSError: pass
                verdict, text = answer(end)
                say(verdict, b"runs as user 65534, and its parent as 0" in text)
                """,
            )
        )
        assert said == ["b'M' True"]
        assert honest(child, "Arena(1); os.setuid(65534); print(ask('key'))") == "not meant\n"
        assert child.holders == {}
        assert honest(child) == "3\n"


@ELSEWHERE
def test_a_worker_in_a_pid_namespace_of_its_own() -> None:
    """Below the parent's: it is told by the number that it has there, as any other."""
    with LockdownChannel() as channel, Arena(3) as key:
        child = channel.child(secrets={"key": key})
        args = child.popen_args(env=variables())
        code = PRELUDE + ASK + "print(os.getpid(), ask('key'))"
        out = subprocess.run(  # noqa: S603
            ["unshare", "-p", "-f", *command(code)],  # noqa: S607
            **args,
            capture_output=True,
            text=True,
            check=True,
            timeout=SOON,
        ).stdout
        assert out == "1 3\n"
        ((pid, names),) = child.holders.items()
        assert pid not in (0, 1, os.getpid())
        assert names == ("key",)


PARENT = """
import array, socket
out = socket.socket(fileno=int(sys.argv[1]))
with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
    for any_namespace in (False, True):
        child = channel.child(secrets={"key": key}, any_namespace=any_namespace)
        fds = array.array("i", child.fds)
        out.sendmsg([b"2"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        out.recv(1)
        print(child.holders, flush=True)
"""


@ELSEWHERE
def test_a_worker_outside_of_the_parents_pid_namespace() -> None:
    """It has no number there: refused, or let in where any_namespace=True says so, and then no
    other is taken for it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SOON)
        parent = subprocess.Popen(  # noqa: S603
            ["unshare", "-p", "-f", *command(PRELUDE + PARENT), str(theirs.fileno())],  # noqa: S607
            env=variables(),
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
            text=True,
        )
        theirs.close()
        said = []
        for _ in range(2):
            _, fds, _, _ = socket.recv_fds(ours, 1, 2)
            for _ in range(2):
                out = subprocess.run(  # noqa: S603
                    command(PRELUDE + ASK + "print(ask('key'))"),
                    env=variables(SECALLOC_SECRETS_FD=str(fds[1])),
                    pass_fds=fds,
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=SOON,
                ).stdout
                said.append(out.strip())
            for fd in fds:
                os.close(fd)
            ours.send(b"!")
        assert said == ["not meant", "not meant", "32", "not meant"]
        assert lines(parent) == ["{}", "{0: ('key',)}"]
        assert parent.returncode == 0
