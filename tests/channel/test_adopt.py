"""Secrets handed to a child: what it gets, who gets it, and what stays behind."""

import asyncio
import hashlib
import math
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from channel_children import (
    ASK,
    CLOSED,
    FATAL,
    PRELUDE,
    SOON,
    adopt_and_fall,
    at_end,
    command,
    kinds,
    next_event,
    spawn,
    talk,
    variables,
)
from support import GUARD_FAULT, LINUX, TESTS, check, linux_only

import secalloc
from secalloc import Arena, LockdownChannel

GET = "import hashlib\na = secalloc.adopt('key')\n"
TELL = "print(hashlib.sha256(a).hexdigest(), a.size, flush=True)\n"


def told(arena: Arena) -> str:
    """What a child that runs TELL prints."""
    return f"{hashlib.sha256(arena).hexdigest()} {arena.size}\n"


def outcome(channel: LockdownChannel, code: str, **secrets: Arena) -> str:
    """What a child prints that is given the secrets; it must end well."""
    child = spawn(
        channel, code, secrets=secrets, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = child.communicate(timeout=SOON)
    assert child.returncode == 0, str(err)
    return str(out)


def wait_for_descriptors(expected: list[str]) -> None:
    """Until the thread that gave the secrets has closed its end."""
    end = time.monotonic() + SOON
    while (now := sorted(os.listdir("/proc/self/fd"))) != expected:
        assert time.monotonic() < end, (expected, now)
        time.sleep(0.01)


# ---- what the child gets ----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 32, 4096, 5000, 65536, 70000, 3_000_000])
def test_a_child_gets_its_own_copy(size: int) -> None:
    with LockdownChannel() as channel, secalloc.random(size) as key:
        assert outcome(channel, GET + TELL, key=key) == told(key)
        assert kinds(channel, 1) == [CLOSED]


@linux_only
def test_both_sides_are_as_any_arena_and_nothing_stays_open() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    code = """
before = len(os.listdir("/proc/self/fd"))
kept = secalloc.Arena(1)
a = secalloc.adopt("key")
assert a.protection == kept.protection, (a.protection, kept.protection)
assert secalloc.is_secure(a) and not a.wiped and a.pool is None
assert not readable(a.address + a.size)
a.check()
assert len(os.listdir("/proc/self/fd")) == before  # it may be given more later
assert secalloc.status().arenas == 2
maps = open("/proc/self/maps").read()
a.rotate()
a.close()
"""
    with secalloc.random(32) as key:
        maps = Path("/proc/self/maps").read_text().count("secretmem")
        protection = key.protection
        with LockdownChannel() as channel:
            outcome(channel, code, key=key)
        wait_for_descriptors(before)
        assert Path("/proc/self/maps").read_text().count("secretmem") == maps
        assert key.protection == protection
        key.check()


@linux_only
def test_a_requirement_and_a_name() -> None:
    """What cannot be had, or is no name, costs no secret."""
    code = """
def error(**kind):
    try: secalloc.adopt("key", **kind)
    except Exception as error: return type(error).__name__
secalloc.configure(secretmem=False)
print(error(require=secalloc.Protection.SECRETMEM), error(name=5), error(name=""), end=" ")
a = secalloc.adopt("key", require=secalloc.Protection.GUARD, name="from the parent")
print(a.name, "name='from the parent'" in repr(a))
"""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        out = outcome(channel, code, key=key)
    assert out == "ProtectionError TypeError ValueError from the parent True\n"


def test_the_copies_are_independent() -> None:
    code = GET + (
        "print(flush=True); sys.stdin.readline(); "
        + TELL.strip()
        + "; a.rotate(); a.clear(); print(flush=True); sys.stdin.readline()"
    )
    with LockdownChannel() as channel, secalloc.random(32) as key:
        expected = told(key)
        child, hears, says = talk(channel, code, key)
        says.readline()
        content = hashlib.sha256(key).digest()
        key.rotate()
        key[:] = b"\0" * 32
        key.clear()
        print(file=hears, flush=True)
        assert says.readline() == expected
        key[:] = bytes(range(32))
        says.readline()
        assert bytes(key) == bytes(range(32))
        assert hashlib.sha256(key).digest() != content
        child.communicate("\n", timeout=SOON)
        assert child.returncode == 0


@linux_only
@pytest.mark.parametrize("lacks", ["nobody", "child", "parent"])
def test_with_and_without_secretmem(lacks: str) -> None:
    """And which of the two ways it takes."""
    deny = 'deny("memfd_secret", errno.EPERM)\n'
    child = (deny if lacks == "child" else "") + GET + TELL + "print(a.protection.name)\n"
    out = check(f"""
        warnings.simplefilter("ignore")
        {deny if lacks == "parent" else ""}
        from channel_children import command, variables
        import subprocess, hashlib
        key = secalloc.random(500)
        with secalloc.LockdownChannel() as channel:
            p = subprocess.Popen(command("from crash import *\\nwarnings.simplefilter('ignore')\\n"
                                         + {child!r}), text=True, stdout=subprocess.PIPE,
                                 **channel.popen_args(env=variables(), secrets={{"key": key}}))
            out = p.communicate()[0]
            assert p.returncode == 0
            assert out.split()[0] == hashlib.sha256(key).hexdigest()
            print(out.split()[2])
    """)
    if lacks == "child":
        assert "SECRETMEM" not in out


@linux_only
@pytest.mark.parametrize("deny", ["", 'deny("memfd_secret", errno.EPERM)\n'])
def test_no_copy_is_left_in_the_childs_memory(deny: str) -> None:
    """Looked for from outside; a copy made on purpose is found."""
    needle = os.urandom(64)
    code = (
        "warnings.simplefilter('ignore')\n" + deny + GET + "print(a.address, flush=True)\n"
        "sys.stdin.readline()\ncontrol = bytes(a)\nprint(flush=True)\nsys.stdin.readline()\n"
    )
    with LockdownChannel() as channel, Arena(needle) as key:
        child, hears, says = talk(channel, code, key)
        own = int(says.readline())
        assert copies(child.pid, needle) in ([], [own])  # secretmem cannot even be read
        print(file=hears, flush=True)
        says.readline()
        assert set(copies(child.pid, needle)) - {own}
        child.communicate("\n", timeout=SOON)


def copies(process: int, needle: bytes) -> list[int]:
    """Where another process's memory holds the bytes."""
    found = []
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if line.split()[1][0] != "r" or "[v" in line:
                continue
            memory.seek(start)
            try:
                content = memory.read(end - start) or b""
            except OSError:
                continue
            at = content.find(needle)
            while at >= 0:
                found.append(start + at)
                at = content.find(needle, at + 1)
    return found


# ---- ways to start it ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_multiprocessing(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with LockdownChannel() as channel, secalloc.random(32) as key:
        process = context.Process(
            target=adopt_and_fall,
            args=(channel.child(secrets={"key": key}), hashlib.sha256(key).digest()),
        )
        process.start()
        assert next_event(channel).kind is FATAL
        process.join(SOON)
        assert process.exitcode == -GUARD_FAULT
        process.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("seconds", [60, None])
def test_a_parent_that_waits_for_the_process_alone(method: str, seconds: float | None) -> None:
    """The plain code: it holds the child's object, and asks nothing of the channel."""
    check(
        f"""
        import multiprocessing, hashlib
        from channel_children import adopt_and_fall
        context = multiprocessing.get_context({method!r})
        with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
            c = channel.child(secrets={{"key": key}}, timeout={seconds})
            p = context.Process(target=adopt_and_fall, args=(c, hashlib.sha256(key).digest()))
            p.start()
            p.join(30)
            assert p.exitcode == -11, p.exitcode
            c.release()
            assert channel.wait(30).kind == "FATAL"
        """
    )


def spawned(child: secalloc.LockdownChild) -> int:
    """Of a process by posix_spawn that ends with the secret's first byte: its number."""
    return os.posix_spawn(
        sys.executable,
        command(PRELUDE + GET + "os._exit(a[0])"),
        {**variables(), **child.env},
        file_actions=child.file_actions,
    )


def test_a_parent_that_holds_what_it_gave_to_posix_spawn() -> None:
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key})
        pid = spawned(child)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == key[0]
        assert child.fds


def test_the_time_of_an_offer_begins_with_the_start() -> None:
    """Not when the descriptors are looked at, long before."""
    with LockdownChannel() as channel, secalloc.random(32) as key:
        child = channel.child(secrets={"key": key}, timeout=1000)
        (offer,) = channel._offers.values()
        (entry,) = offer.entries.values()
        assert entry.until is None  # nobody can have been started
        ends: list[float] = []
        for start in (lambda: child.fds, lambda: child.env, child.popen_args, child.release):
            time.sleep(0.01)
            start()
            assert entry.until
            ends.append(entry.until)
        assert ends == sorted({*ends})


def test_multiprocessing_by_fork() -> None:
    check(
        f"""
        import multiprocessing, hashlib
        from channel_children import adopt_and_fall
        context = multiprocessing.get_context("fork")
        with secalloc.LockdownChannel() as channel, secalloc.random(32) as key:
            process = context.Process(target=adopt_and_fall, args=(
                channel.child(secrets={{"key": key}}), hashlib.sha256(key).digest()))
            process.start()
            assert channel.wait(30).kind == "FATAL"
            process.join()
            assert process.exitcode == -{GUARD_FAULT}
        """,
        python=["-W", "error", "-W", "ignore:secrets are held without"],
    )


@pytest.mark.skipif(not LINUX, reason="elsewhere dup2 onto itself may leave close-on-exec set")
def test_posix_spawn() -> None:
    with LockdownChannel() as channel, secalloc.random(32) as key:
        with channel.child(secrets={"key": key}) as child:
            pid = spawned(child)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == key[0]


def test_asyncio() -> None:
    async def parent() -> None:
        with LockdownChannel() as channel, secalloc.random(32) as key:
            process = await asyncio.create_subprocess_exec(
                *command(PRELUDE + GET + TELL),
                **channel.popen_args(env=variables(), secrets={"key": key}),
                stdout=subprocess.PIPE,
            )
            assert (await process.communicate())[0].decode() == told(key)

    asyncio.run(parent())


def test_across_python_versions() -> None:
    library = Path(secalloc.__file__).parent
    if not list(library.glob("_core.abi3.*")):
        pytest.skip("this build is for one version alone")
    listed = subprocess.run(  # noqa: S603
        ["/bin/sh", str(TESTS / "pythons.sh")], capture_output=True, text=True, check=True
    )
    code = (
        "import secalloc, hashlib, sys; a = secalloc.adopt('key'); "
        "print(hashlib.sha256(a).hexdigest(), a.size); print(sys.version_info[:2])"
    )
    versions = set()
    for python in listed.stdout.split():
        facts = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_config_var("
        facts += "'Py_GIL_DISABLED') or 0)"
        version = subprocess.run(  # noqa: S603
            [python, "-c", facts], capture_output=True, text=True, check=True
        ).stdout.split()
        if version[2] == "1" or version[:2] == [str(part) for part in sys.version_info[:2]]:
            continue
        with LockdownChannel() as channel, secalloc.random(32) as key:
            args = channel.popen_args(
                env={**os.environ, "PYTHONPATH": str(library.parent)}, secrets={"key": key}
            )
            child = subprocess.run(  # noqa: S603
                [python, "-P", "-c", code], **args, capture_output=True, text=True, check=False
            )
            assert child.returncode == 0, child.stderr
            assert child.stdout == f"{told(key)}({version[0]}, {version[1]})\n"
            assert kinds(channel, 1) == [CLOSED]
            versions.add(tuple(version))
    if not versions:
        pytest.skip("no other Python is here")


# ---- who gets it -----------------------------------------------------------------------------


def test_each_once_and_only_what_is_offered() -> None:
    code = ASK + (
        "print(ask('no'), ask('a', size=31), ask('a', size=32), ask('a'), "
        "ask('b' * 255), ask('a'), ask('b' * 255))"
    )
    with LockdownChannel() as channel, Arena(32) as a, Arena(7) as b, Arena(1) as c:
        out = outcome(channel, code, **{"a": a, "b" * 255: b, "c": c})
        assert out.split() == ["unknown", "size", "32", "taken", "7", "taken", "taken"]


def test_all_adopted_leaves_nothing_to_ask() -> None:
    with LockdownChannel() as channel, Arena(32) as key:
        code = ASK + "print(ask('key'), ask('key'), ask('other'))"
        assert outcome(channel, code, key=key) == "32 taken unknown\n"


@linux_only
def test_what_is_required_is_required_of_an_adopted_arena() -> None:
    code = (
        ASK
        + """
warnings.simplefilter("ignore")
deny("memfd_secret", errno.EPERM)
before = secalloc.require(Protection.SECRETMEM)
print(ask("key"), secalloc.status().arenas)
secalloc.require(before)
print(ask("key"))
"""
    )
    with LockdownChannel() as channel, Arena(32) as key:
        assert outcome(channel, code, key=key).split() == ["ProtectionError", "0", "32"]


def test_a_child_without_secrets() -> None:
    with LockdownChannel() as channel:
        child = spawn(channel, ASK + "print(ask('key'))", stdout=subprocess.PIPE)
        assert child.communicate()[0] == b"none\n"
    with pytest.raises(secalloc.AdoptError, match="secrets="):
        secalloc.adopt("key")


@pytest.mark.parametrize("end", ["close", "clear"])
@pytest.mark.parametrize("pooled", [False, True])
def test_what_cannot_be_read_is_refused_in_the_parent(end: str, pooled: bool) -> None:
    with secalloc.Pool() as pool, LockdownChannel() as channel, Arena(1) as good:
        key = pool.alloc(b"key") if pooled else Arena(b"key")
        getattr(key, end)()
        error = ValueError if end == "close" else secalloc.WipedError
        with pytest.raises(error, match="closed" if end == "close" else "'key' .* wiped"):
            channel.child(secrets={"good": good, "key": key})
        with pytest.raises(error):
            channel.popen_args(secrets={"key": key})
        assert repr(channel) == "<secalloc.LockdownChannel, 0 children>"


def test_an_arena_of_another_process_is_refused_in_the_parent() -> None:
    check("""
        key = secret()
        if (pid := os.fork()) == 0:
            with secalloc.LockdownChannel() as channel:
                try: channel.child(secrets={"key": key})
                except secalloc.ForkedError: os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
    """)


@pytest.mark.parametrize("end", ["close", "clear"])
def test_what_is_wiped_after_it_was_offered_is_told_to_the_child(end: str) -> None:
    with LockdownChannel() as channel, Arena(32) as key, Arena(1) as other:
        args = channel.popen_args(env=variables(), secrets={"key": key, "other": other})
        getattr(key, end)()
        code = PRELUDE + ASK + "print(ask('key'), ask('other'))"
        child = subprocess.run(  # noqa: S603
            command(code), stdout=subprocess.PIPE, check=True, **args
        )
        assert child.stdout == b"wiped 1\n"


@pytest.mark.parametrize("deny", ["", 'deny("memfd_secret", errno.EPERM)\n'])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_sealed_arena_is_handed_over_and_stays_sealed(pooled: bool, deny: str) -> None:
    if deny and not LINUX:
        pytest.skip("only Linux has memfd_secret")
    code = (
        "warnings.simplefilter('ignore')\n" + deny + GET + "key = a\n"
        "print(a == b'sealed' * 900, secalloc.adopt('open').size, flush=True)\n"
    )
    with LockdownChannel() as channel, secalloc.Pool() as pool, Arena(5) as other:
        key = pool.alloc(b"sealed" * 900) if pooled else Arena(b"sealed" * 900)
        for encrypt in (False, False, not pooled):
            (pool if pooled else key).seal(encrypt=encrypt)
            assert outcome(channel, code, key=key, open=other).split() == ["True", "5"]
            assert key.sealed
            assert key.encrypted is encrypt
            with pytest.raises(secalloc.SealedError):
                bytes(key)
        with (pool if pooled else key).open("r"):
            assert bytes(key) == b"sealed" * 900
        key.close()


TWO = PRELUDE + ASK + "print(ask('key'), ask('other'))"


@pytest.mark.parametrize("pooled", [False, True])
def test_a_buffer_that_keeps_a_sealed_arena_open(
    pooled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken while it was handed over, at whose end it forbids what the arena was before: the
    child has the secret all the same, and is given others."""
    serve_question: Any = secalloc._core._serve_question
    held = []

    def then_export(*told: Any) -> Any:
        decide = told[-1]
        decided = []

        def deciding(*said: Any) -> Any:
            decided.append(decide(*said))
            return decided[0]

        given = serve_question(*told[:5], deciding)
        if given and decided[0][0].size > 1:
            held.append(memoryview(decided[0][0]))
        return given

    monkeypatch.setattr("secalloc._channel.serve._serve_question", then_export)
    with LockdownChannel() as channel, secalloc.Pool() as pool, Arena(1) as other:
        key = pool.alloc(b"sealed") if pooled else Arena(b"sealed")
        (pool if pooled else key).seal()
        args = channel.popen_args(env=variables(), secrets={"key": key, "other": other})
        child = subprocess.run(command(TWO), capture_output=True, check=True, **args)  # noqa: S603
        assert child.stdout == b"6 1\n"
        assert bytes(held.pop()) == b"sealed"
        key.close()


def test_an_arena_that_is_being_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """From after the child was told its size on: it is told so, and is given others, and the
    fill ends well."""
    serve_question: Any = secalloc._core._serve_question

    def while_filled(*told: Any) -> Any:
        decide = told[-1]
        with ExitStack() as stack:

            def deciding(*said: Any) -> Any:
                decided = decide(*said)
                if decided and decided[0].size == 6:
                    stack.enter_context(decided[0].open("w"))[:] = b"filled"
                return decided

            return serve_question(*told[:5], deciding)

    monkeypatch.setattr("secalloc._channel.serve._serve_question", while_filled)
    with LockdownChannel() as channel, Arena(6) as key, Arena(1) as other:
        args = channel.popen_args(env=variables(), secrets={"key": key, "other": other})
        child = subprocess.run(command(TWO), capture_output=True, check=True, **args)  # noqa: S603
        assert child.stdout == b"wiped 1\n"


def test_a_sealed_arena_that_others_seal_and_wipe_meanwhile() -> None:
    """Whatever comes in between, the child gets all of it, or is told."""
    code = GET.replace("a =", "try: a =") + (
        "except secalloc.AdoptError as error: print(error.reason)\n"
        "else: print(len(a), a == b'k' * len(a))\n"
    )
    stop = threading.Event()
    seen = set()
    with LockdownChannel() as channel, Arena(100_000) as key:

        def churn() -> None:
            while not stop.is_set():
                for step in (key.seal, secalloc.lockdown, refill):
                    with suppress(BufferError, ValueError):  # a child has it open; wiped again
                        step()

        def refill() -> None:
            key[:] = b"k" * len(key)

        refill()
        secalloc.set_lockdown_fd(None)
        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(20):
                with suppress(secalloc.WipedError):  # before it was offered
                    seen.add(outcome(channel, code, key=key).strip())
        finally:
            stop.set()
            thread.join()
            secalloc.set_lockdown_fd(2)
    assert seen <= {"100000 True", "wiped"}, seen


@linux_only
def test_a_process_that_it_is_not_meant_for() -> None:
    with LockdownChannel() as channel, Arena(32) as key:
        with channel.child(secrets={"key": key}) as child:
            child.pid = os.getpid()
            process = subprocess.run(  # noqa: S603
                command(PRELUDE + ASK + "print(ask('key'), ask('key'))"),
                **child.popen_args(env=variables()),
                capture_output=True,
                text=True,
                check=False,
            )
        assert process.stdout == "not meant not meant\n", process.stderr


@linux_only
def test_whoever_asks_first_is_the_one() -> None:
    """Another process that gets hold of the socket is refused."""
    code = (
        ASK
        + """
import subprocess
from secalloc._channel import takeover
fd = takeover.secrets_fd()
first = ask("a")
code = "from crash import *\\n" + %r + "print(ask('b'))"
thief = subprocess.run([sys.executable, "-P", "-c", code],
    env={**os.environ, "SECALLOC_SECRETS_FD": str(fd)}, pass_fds=[fd], text=True,
    capture_output=True)
print(first, thief.stdout.strip(), ask("b"))
"""
    )
    with LockdownChannel() as channel, Arena(3) as a, Arena(4) as b:
        assert outcome(channel, code % ASK, a=a, b=b) == "3 not meant 4\n"


def test_a_fork_of_the_child_is_refused() -> None:
    code = (
        ASK
        + """
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(w, ask("key").encode())
    os._exit(0)
os.waitpid(pid, 0)
print(os.read(r, 99).decode(), ask("key"))
"""
    )
    with LockdownChannel() as channel, Arena(32) as key:
        assert outcome(channel, code, key=key) == "ForkedError 32\n"


# ---- what goes wrong -------------------------------------------------------------------------


@linux_only
def test_what_is_never_adopted_is_closed_after_a_while() -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    code = ASK + "print(flush=True); sys.stdin.readline(); print(ask('key'), ask('key'))"
    with Arena(32) as key:
        with LockdownChannel() as channel:
            with channel.child(secrets={"key": key}, timeout=0.1) as child:
                process = at_end(child, code)
            assert process.stdout
            process.stdout.readline()
            time.sleep(0.2)
            assert process.communicate("\n")[0] == "gone gone\n"
            with channel.child(secrets={"key": key}):
                pass  # never started
        wait_for_descriptors(before)
        assert not key.wiped


@pytest.mark.parametrize("timeout", [4294968, 1e10, math.inf])
def test_an_offer_for_a_long_time(timeout: float) -> None:
    """More milliseconds than an int holds are not few."""
    with LockdownChannel() as channel, Arena(32) as key:
        with channel.child(secrets={"key": key}, timeout=timeout) as child:
            process = at_end(child, ASK + "time.sleep(1); print(ask('key', timeout=1e10))")
        assert process.communicate()[0] == "32\n"


def test_the_channel_is_closed_before() -> None:
    code = ASK + "print(flush=True); sys.stdin.readline(); print(ask('key'))"
    with Arena(32) as key:
        channel = LockdownChannel()
        process, _, says = talk(channel, code, key)
        says.readline()
        channel.close()
        assert process.communicate("\n")[0] == "gone\n"


def test_a_parent_that_does_not_answer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = subprocess.run(  # noqa: S603
            command(PRELUDE + ASK + "print(ask('key', timeout=0.1), ask('key', timeout=0.1))"),
            env=variables(SECALLOC_SECRETS_FD=str(theirs.fileno())),
            pass_fds=[theirs.fileno()],
            capture_output=True,
            text=True,
            check=False,
        )
    assert end.stdout == "TimeoutError TimeoutError\n", end.stderr


@pytest.mark.parametrize(
    "nonsense", [b"", b"\0" * 300, b"SAC1\x03key" + b"\0" * 252 + b"Y" + b"?" * 500]
)
@linux_only
def test_a_child_that_talks_nonsense(nonsense: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with LockdownChannel() as channel, Arena(32) as key:
        with channel.child(secrets={"key": key}) as child:
            ours = os.dup(child.fds[1])
        os.write(ours, nonsense)
        os.close(ours)
        assert next_event(channel).kind is CLOSED
        assert not key.wiped
    wait_for_descriptors(before)
    assert capfd.readouterr().err == ""


def test_bad_arguments() -> None:
    threads = threading.active_count()
    with LockdownChannel() as channel, Arena(32) as key:
        bad: list[Any] = [{"key": b"bytes"}, {"key": key[1:]}, {5: key}, [1], "key", key]
        for secrets in bad:
            with pytest.raises(TypeError, match="secret"):
                channel.child(secrets=secrets)
        with pytest.raises(ValueError, match="255 bytes"):
            channel.child(secrets={"é" * 128: key})
        with pytest.raises(ValueError, match="timeout"):
            channel.child(secrets={"key": key}, timeout=0)
        assert channel.wait(0) is None
    for name in (5, b"key", None):
        with pytest.raises(TypeError):
            secalloc.adopt(name)  # type: ignore[arg-type]
    for timeout in (0, -1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            secalloc.adopt("key", timeout=timeout)
    assert threading.active_count() == threads


@linux_only
def test_a_bad_socket_is_warned_of(tmp_path: Path) -> None:
    read, write = os.pipe()
    end = subprocess.run(  # noqa: S603
        command(PRELUDE + ASK + "print(ask('key')); Arena(1)"),
        env=variables(SECALLOC_SECRETS_FD=str(write)),
        pass_fds=[write],
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(read)
    os.close(write)
    assert end.stdout == "none\n"
    assert "SECALLOC_SECRETS_FD" in end.stderr
    assert "no socket" in end.stderr
