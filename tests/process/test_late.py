"""What is imported late is there when no file is in reach any more, and in a forked child."""

import os
import subprocess
import sys
import tempfile

import pytest
from support import check, linux_only, run

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do that")

# Every public name, called where nothing can be imported any more.
CALLS = """
import io, select, sys, traceback, warnings

def child_of_a_channel():
    kinds = []
    with secalloc.LockdownChannel() as channel, secalloc.Arena(b"handed over") as key:
        child = channel.child("worker", secrets={"key": key})
        pid = os.fork()
        if pid == 0:
            try:
                child.install()
                with secalloc.adopt("key", size=11) as mine:
                    assert mine == b"handed over"
                secalloc.lockdown()
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        child.release()
        for event in channel:
            assert event.child.name == "worker"
            kinds.append(str(event.kind))
            if event.kind == secalloc.LockdownKind.CLOSED: break
        assert os.waitpid(pid, 0)[1] == 0
    assert kinds == ["LOCKDOWN", "CLOSED"], kinds

def typed():
    sys.stdin = io.StringIO("typed\\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return secalloc.getpass("Password: ")

def read():
    reader, writer = os.pipe()
    os.write(writer, b"piped"); os.close(writer)
    return secalloc.read(reader)

def raises(error, call, *args):
    try: call(*args)
    except error: return
    raise AssertionError(error)

def pool():
    with secalloc.Pool() as pool:
        assert pool.alloc(b"x") == b"x"

def paths():
    try:
        with secalloc.as_path(kept) as path: assert os.read(path.fds[0], 10) == b"kept"
    except FileNotFoundError: pass  # there is no /dev/fd here

def piped():
    with secalloc.pipe(kept) as fd: assert os.read(fd, 10) == b"kept"

def found():
    try: return secalloc.residue.find(secalloc.random(64))
    except FileNotFoundError: pass  # there is no /proc here

def sheltered(call):
    def tried():
        try: return call()
        except NotImplementedError: pass  # a free-threaded build
    return tried

os.environ["SECRET"] = "from the environment"
kept = secalloc.Arena(b"kept")
calls = {
    "AdoptError": lambda: raises(secalloc.AdoptError, secalloc.adopt, "none"),
    "Arena": lambda: repr(secalloc.Arena(3).protection),
    "ArenaView": lambda: isinstance(kept[1:], secalloc.ArenaView),
    "ClosedError": lambda: raises(secalloc.ClosedError, close_and_read),
    "Error": lambda: secalloc.Error("x"),
    "ForkedError": lambda: secalloc.ForkedError("x"),
    "Hardening": lambda: secalloc.harden(),
    "LockdownChannel": child_of_a_channel,
    "LockdownChild": lambda: secalloc.LockdownChild,
    "LockdownEvent": lambda: secalloc.LockdownEvent,
    "LockdownKind": lambda: secalloc.LockdownKind("FATAL"),
    "Pool": pool,
    "Protection": lambda: str(secalloc.Protection.GUARD | secalloc.Protection.LOCK),
    "ProtectionError": lambda: secalloc.ProtectionError(1, "x"),
    "ProtectionWarning": lambda: secalloc.ProtectionWarning("x"),
    "Sheltered": lambda: secalloc.Sheltered(1, 2),
    "SealedError": lambda: raises(secalloc.SealedError, seal_and_read),
    "Status": lambda: isinstance(secalloc.status(), secalloc.Status),
    "WipedError": lambda: raises(secalloc.WipedError, clear_and_read),
    "adopt": lambda: raises(secalloc.AdoptError, secalloc.adopt, "none"),
    "arm": lambda: secalloc.arm(),
    "as_path": paths,
    "b64decode": lambda: secalloc.b64decode("YWJj"),
    "b64encode": lambda: secalloc.b64encode(kept),
    "capture": sheltered(lambda: secalloc.capture(bytes, 5)),
    "capturing": sheltered(lambda: secalloc.capturing(bytes)(5)),
    "clear": lambda: secalloc.clear(bytearray(3)),
    "compare_digest": lambda: secalloc.compare_digest(kept, b"kept"),
    "concat": lambda: secalloc.concat(kept, b"more"),
    "lock_on": lambda: raises(ValueError, secalloc.lock_on, "lunch"),
    "configure": lambda: secalloc.configure(secretmem=True),
    "credential": lambda: secalloc.credential("none", required=False),
    "disarm": lambda: secalloc.disarm(),
    "encode": lambda: secalloc.encode("Grüße"),
    "fromhex": lambda: secalloc.fromhex("00ff"),
    "getenv": lambda: secalloc.getenv("SECRET"),
    "getpass": typed,
    "harden": lambda: secalloc.harden().refused,
    "hexlify": lambda: secalloc.hexlify(kept),
    "is_secure": lambda: secalloc.is_secure(kept),
    "is_sheltered": lambda: secalloc.is_sheltered(b"outside"),
    "lockdown": lambda: secalloc.lockdown(),
    "on_offer": lambda: raises(secalloc.AdoptError, secalloc.on_offer, print),
    "map": lambda: secalloc.map.draw(io.StringIO()),
    "pipe": piped,
    "random": lambda: secalloc.random(3),
    "read": read,
    "rekey": lambda: secalloc.rekey(),
    "require": lambda: secalloc.require(secalloc.require(secalloc.Protection(0))),
    "residue": found,
    "rotate": lambda: secalloc.rotate(kept),
    "set_lockdown_fd": lambda: secalloc.set_lockdown_fd(secalloc.set_lockdown_fd(None)),
    "shelter": sheltered(lambda: secalloc.shelter(bytes, 5)),
    "sheltered": sheltered(lambda: secalloc.sheltered(bytes)(5)),
    "status": lambda: repr(secalloc.status()),
    "take": lambda: secalloc.take(bytearray(b"taken")),
    "trim": lambda: secalloc.trim(),
    "write": lambda: raises(OSError, secalloc.write, "/dev/null/none", kept),
}

def close_and_read():
    a = secalloc.Arena(b"closed", name="closed"); a.close(); bytes(a)

def seal_and_read():
    a = secalloc.Arena(b"sealed"); a.seal(); bytes(a)

def clear_and_read():
    a = secalloc.Arena(b"cleared"); a.clear(); bytes(a)

def call_all():
    public = {name for name in dir(secalloc) if not name.startswith("_")}
    assert public == set(calls), public ^ set(calls)
    secalloc.set_lockdown_fd(None)
    for name in [name for name in calls if name != "lockdown"] + ["lockdown"]:
        try: calls[name]()
        except BaseException as error: raise AssertionError(name) from error
    print("all of it")

def nothing_is_imported():
    raised = False
    try: import this
    except OSError: raised = True
    except ImportError: raised = True
    assert raised, "files are in reach"
"""


def test_where_nothing_can_be_imported() -> None:
    out = check(
        CALLS
        + """
class Refuses:
    def find_spec(self, name, path=None, target=None): raise ImportError(name)
sys.meta_path.insert(0, Refuses())
nothing_is_imported()
call_all()
"""
    )
    assert out == "all of it"


@root_only
def test_after_chroot() -> None:
    with tempfile.TemporaryDirectory() as empty:
        out = check(
            CALLS
            + f"""
os.chroot({empty!r}); os.chdir("/")
nothing_is_imported()
call_all()
"""
        )
    assert out == "all of it"


@root_only
def test_as_a_user_who_cannot_read_the_package() -> None:
    """It lies, as the program itself, in a directory that only root reads."""
    import secalloc  # noqa: PLC0415 - where it is

    with tempfile.TemporaryDirectory() as private:  # 0700
        os.symlink(secalloc.__path__[0], f"{private}/secalloc")
        out = check(
            f"""
for name in [n for n in sys.modules if n.partition(".")[0] == "secalloc"]: del sys.modules[name]
sys.path.insert(0, {private!r})
import secalloc
assert secalloc.__file__.startswith({private!r})
{CALLS}
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.path[:] = [{private!r}]
sys.path_importer_cache.clear()
nothing_is_imported()
call_all()
"""
        )
    assert out == "all of it"


# A thread of which threading knows nothing makes the first arena, and the main one the second.
FIRST_ELSEWHERE = """
import _thread, sys
import secalloc
assert "threading" not in sys.modules
done = _thread.allocate_lock()
done.acquire()
def first():
    secalloc.Arena(1)
    done.release()
if sys.argv[1:] == ["main"]:
    secalloc.Arena(1)
_thread.start_new_thread(first, ())
done.acquire()
known = "secalloc.channel" in sys.modules
import threading
assert threading.main_thread().ident == _thread.get_ident()
assert threading.current_thread() is threading.main_thread()
secalloc.LockdownChannel().close()
print(known)
"""


@pytest.mark.parametrize("where", ["elsewhere", "main"])
def test_a_first_arena_elsewhere_makes_no_main_thread_of_it(where: str) -> None:
    out = subprocess.run(  # noqa: S603
        [sys.executable, "-I", "-c", FIRST_ELSEWHERE, where],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    assert out.split() == [str(where == "main" or sys.version_info >= (3, 13))]


def test_an_arena_is_made_where_the_rest_is_not_to_be_had() -> None:
    """The first one comes too late. What is not there is told as what it is."""
    out = check("""
for name in [n for n in sys.modules if n.partition(".")[0] == "secalloc"]: del sys.modules[name]
sys.modules.pop("enum", None)
path = sys.path[:]
import secalloc
sys.path[:] = []
sys.meta_path.insert(0, type("R", (), {"find_spec": staticmethod(
    lambda name, path=None, target=None: (_ for _ in ()).throw(ModuleNotFoundError(name)))}))
a = secalloc.Arena(b"made")
assert a == b"made" and secalloc.is_secure(a)
try: a.protection
except ImportError as error: print("ImportError", error)
sys.meta_path.pop(0)
sys.path[:] = path
print(a.protection != 0, secalloc.status().arenas)
""")
    assert out.splitlines() == ["ImportError secalloc._values", "True 1"]


def test_an_interrupt_in_the_imports_comes_through() -> None:
    out = check("""
for name in [n for n in sys.modules if n.partition(".")[0] == "secalloc"]: del sys.modules[name]
import secalloc
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "secalloc.channel": raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
try: secalloc.Arena(1)
except KeyboardInterrupt: print("interrupted")
sys.meta_path.pop(0)
secalloc.Arena(1)
print("secalloc.channel" in sys.modules)
""")
    assert out.splitlines() == ["interrupted", "True"]


FIRST_CALLS = {
    "status": "secalloc.status()",
    "arena": "secalloc.Arena(1)",
    "random": "secalloc.random(3)",
    "attribute": "secalloc.Protection",
    "channel": "secalloc.LockdownChannel().close()",
    "harden": "secalloc.harden()",
}


@pytest.mark.parametrize(
    ("first", "module"),
    [
        ("status", "secalloc._values"),
        ("status", "enum"),
        ("arena", "secalloc._values"),
        ("arena", "secalloc.channel"),
        ("channel", "threading"),
        ("random", "secalloc.sources"),
        ("attribute", "enum"),
        ("channel", "secalloc.channel"),
        ("harden", "secalloc._values"),
    ],
)
def test_a_child_forked_during_another_threads_first_call(first: str, module: str) -> None:
    """Which the import of a module holds up until the fork is under way."""
    end = run(
        f"""
import _thread
for name in [n for n in sys.modules if n.partition(".")[0] == "secalloc"] + [{module!r}]:
    sys.modules.pop(name, None)
import secalloc
at_it = _thread.allocate_lock(); at_it.acquire()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r} and at_it.locked():
            at_it.release()
            time.sleep(0.3)
sys.meta_path.insert(0, Slow())
def call():
    {FIRST_CALLS[first]}
_thread.start_new_thread(call, ())
assert at_it.acquire(timeout=30), "it is not imported there"
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    secalloc.status(); secalloc.random(3).protection; secalloc.LockdownChannel().close()
    secalloc.getenv; secalloc.residue
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0, "the child hung"
print("well")
""",
        marker=False,
    )
    assert end.code == 0, end
    assert end.out.strip() == "well", end


def test_a_fork_in_the_midst_of_ones_own_first_call() -> None:
    """As a signal's handler may do: the child goes on with the import."""
    out = check("""
for name in [n for n in sys.modules if n.partition(".")[0] == "secalloc"]: sys.modules.pop(name)
import secalloc
class Forks:
    pid = -1
    def find_spec(self, name, path=None, target=None):
        if name == "secalloc.channel" and Forks.pid < 0: Forks.pid = os.fork()
sys.meta_path.insert(0, Forks())
a = secalloc.Arena(b"both")
assert a == b"both" and secalloc.status().arenas == 1 and secalloc.LockdownChannel
assert os.fork() or os._exit(0) is None
if Forks.pid == 0: os._exit(0)
assert os.waitpid(Forks.pid, 0)[1] == 0
print("well")
""")
    assert out == "well"


def test_a_fork_does_not_wait_for_ever_for_an_import() -> None:
    out = check("""
import _thread
secalloc.Arena(1)
secalloc._FORK_WAITS = 0.5
_thread.start_new_thread(lambda: secalloc._importing.acquire() and time.sleep(1000), ())
while secalloc._importing.acquire(timeout=0.01): secalloc._importing.release()
start = time.monotonic()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    secalloc.status(), secalloc.Arena(1), secalloc.Protection
    os._exit(os.fork() and 0)
assert time.monotonic() - start > 0.4
print(os.waitpid(pid, 0)[1])
""")
    assert out == "0"


def test_names_that_dir_shows() -> None:
    out = check("""
shown = [name for name in dir(secalloc) if not name.startswith("_")]
assert all(hasattr(secalloc, name) for name in shown)
assert sorted({*secalloc.__all__, "getpass", "map", "random", "residue"}) == shown, shown
secalloc.map.draw()
print("well")
""")
    assert out.splitlines()[-1] == "well"


@linux_only
def test_a_clone_says_how_to_build_it() -> None:
    """The package as it lies in the source, without its extension."""
    import shutil  # noqa: PLC0415
    import subprocess  # noqa: PLC0415

    import secalloc  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as clone:
        shutil.copytree(
            secalloc.__path__[0], f"{clone}/secalloc", ignore=shutil.ignore_patterns("*.so")
        )
        end = subprocess.run(
            [sys.executable, "-c", "import secalloc"],
            cwd=clone,
            capture_output=True,
            text=True,
            check=False,
            env={k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"},
        )
    last = end.stderr.splitlines()[-1]
    assert end.returncode == 1
    assert last.startswith("ImportError: secalloc's extension was not built"), last
    assert "pip install ." in last
    assert "-P" in last


def test_what_cannot_be_imported_is_told() -> None:
    """By the import's own error, as often as it is asked for; and it is no loss for good."""
    code = """
import secalloc, sys
sys.modules["secalloc._values"] = None
arena = secalloc.Arena(b"made all the same")
asked = (secalloc.status, secalloc.harden, lambda: arena.protection, lambda: secalloc.require(0))
for ask in asked * 2:
    try: ask()
    except ImportError as e: assert "_values" in str(e), e
    else: raise AssertionError("answered")
del sys.modules["secalloc._values"]
assert secalloc.status().arenas == 1
assert secalloc.harden() is not None and arena.protection
"""  # crash.py would have had it all imported
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)  # noqa: S603
