"""Other libraries that handle fatal signals, in one process with this one.

`make check-neighbours` installs them. What is not there is skipped.
"""

import ctypes.util
import importlib.util
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest
from support import dies, linux_only, run

pytestmark = linux_only


def needs(module: str) -> pytest.MarkDecorator:
    found = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not found, reason=f"{module} is not installed")


WASM = """
    from wasmtime import Engine, Instance, Module, Store, Trap, WasmtimeError
    store = Store(Engine())
    module = Module(store.engine, '''(module (memory 1)
        (func (export "segv") (result i32) (i32.load (i32.const 0x7fffffff)))
        (func (export "fpe") (param i32) (result i32) (i32.div_s (i32.const 1) (local.get 0)))
        (func (export "ill") unreachable))''')
    functions = Instance(store, module, []).exports(store)
    def traps():
        for name, arguments in (("segv", ()), ("fpe", (0,)), ("ill", ())):
            try:
                functions[name](store, *arguments)
            except (Trap, WasmtimeError):
                continue
            raise AssertionError(name)
"""
CAUGHT = "[signal.SIGSEGV, signal.SIGILL, signal.SIGFPE]"


@needs("wasmtime")
@pytest.mark.parametrize("kind", ["segv", "ill", "fpe", "bus", "abrt"])
def test_traps_stay_traps_where_wasmtime_comes_after_the_first_arena(kind: str) -> None:
    number = {"segv": 11, "ill": 4, "fpe": 8, "bus": 7, "abrt": 6}[kind]
    dies(
        f"""
    a = secret()
    {WASM}
    handlers = secalloc.status().handlers
    assert all(handlers[n] == "shadowed" for n in {CAUGHT}), handlers
    for turn in range(3):
        traps()
        on_thread(traps)
        assert bytes(a) == raw(a) == SECRET
        assert secalloc.status().handlers == handlers
        b = secret()  # arms nothing again, on top of wasmtime
    fault({kind!r})
    """,
        number,
    )


@needs("wasmtime")
def test_the_other_order_wipes_at_a_trap_and_says_so_beforehand() -> None:
    """A stated limit: our handler comes first, and cannot know whose fault it is."""
    end = run(f"""
    {WASM}
    a = secret()
    handlers = secalloc.status().handlers
    assert all(handlers[n] == "armed" for n in {CAUGHT}), handlers
    traps()
    assert a.wiped
    print("lives")
    """)
    assert (end.code, end.out.strip()) == (0, "lives"), end
    assert end.marker.strip(b"F") == b"" != end.marker


@needs("wasmtime")
def test_arming_by_hand_comes_on_top_of_wasmtime() -> None:
    """As the documents say: then a trap wipes, and is a trap all the same."""
    end = run(f"""
    a = secret()
    {WASM}
    secalloc.arm()
    traps()
    print(a.wiped)
    """)
    assert (end.code, end.out.strip()) == (0, "True"), end


@needs("wasmtime")
@pytest.mark.parametrize("first", ["faulthandler", "secalloc", "wasmtime"])
def test_faulthandler_and_wasmtime_together(first: str) -> None:
    steps = {
        "faulthandler": "import faulthandler; faulthandler.enable()",
        "secalloc": "a = secret()",
        "wasmtime": textwrap.dedent(WASM),
    }
    order = [steps.pop(first), *steps.values()]
    end = run("\n".join(order) + "\nfault('segv')\n")
    assert end.code == -11, end
    assert end.marker.strip(b"F") == b"" != end.marker, end
    assert "Fatal Python error: Segmentation fault" in end.err


@needs("sentry_sdk")
@pytest.mark.parametrize("first", [True, False])
def test_sentry_installs_no_handler_of_its_own(first: bool) -> None:
    init = "import sentry_sdk; sentry_sdk.init()"
    steps = [init, "a = secret()"]
    dies(
        "\n".join(steps if first else reversed(steps))
        + "\nassert secalloc.status().handlers[signal.SIGSEGV] == 'armed'\nfault('segv')",
        11,
    )


GLOG = ctypes.util.find_library("glog")


@pytest.mark.skipif(GLOG is None, reason="there is no libglog")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("kind", "number"), [("segv", 11), ("ill", 4), ("abrt", 6), ("bus", 7)])
def test_a_native_crash_reporter(kind: str, number: int, first: bool) -> None:
    """glog's prints a native backtrace, restores the default and sends the signal again.

    It never passes on to a handler that was there, so that one installed after the first
    arena hides ours: a stated limit, which the status shows beforehand.
    """
    install = f"ctypes.CDLL({GLOG!r})._ZN6google27InstallFailureSignalHandlerEv()"
    steps = [install, "a = secret()"]
    look = f"""
print(secalloc.status().handlers[{number}])
fault({kind!r})"""
    end = run("\n".join(steps if first else reversed(steps)) + look)
    assert end.code == -number, end
    assert end.out.strip() == ("armed" if first else "shadowed")
    assert f"SIG{kind.upper()}" in end.err, end
    assert end.marker == (b"F" if first else b""), end


GREEN = {
    "gevent": ("from gevent import monkey; monkey.patch_all()", "gevent"),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "eventlet"),
}
CHILD = "a = secalloc.adopt('key'); secalloc.lockdown(); sys.exit(a.size)"


@pytest.mark.parametrize("order", ["patched first", "secalloc first", "channel first"])
@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in GREEN])
def test_a_channel_where_the_standard_library_was_patched(name: str, order: str) -> None:
    """Other tasks of the thread run on while one waits on a channel."""
    patch, module = GREEN[name]
    before = {"patched first": "", "secalloc first": "import secalloc"}.get(
        order, "import secalloc; secalloc.LockdownChannel"
    )
    code = f"""
import sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
{before}
{patch}
from {module} import spawn, sleep
import secalloc, subprocess, time
CHILD = [sys.executable, "-P", "-c", "import secalloc, sys; " + {CHILD!r}]

def start(channel, key):
    return subprocess.Popen(CHILD, **channel.popen_args(secrets={{"key": key}}))

ticks = []
def tick():
    while True:
        ticks.append(1)
        sleep(0.005)
spawn(tick)

secalloc.set_lockdown_fd(None)
with secalloc.random(32) as key:
    heard = []
    with secalloc.LockdownChannel() as channel:
        thread = channel.on_event(heard.append)
        child = start(channel, key)
        assert child.wait() == 32
        end = time.monotonic() + 60
        while len(heard) < 2 and time.monotonic() < end: sleep(0.01)
    thread.join(60)
    assert not thread.is_alive()
    assert [str(event.kind) for event in heard] == ["LOCKDOWN", "CLOSED"], heard

    with secalloc.LockdownChannel() as channel:
        before = len(ticks)
        assert channel.wait(0.3) is None
        assert len(ticks) - before > 3, "nothing else ran"
        child = start(channel, key)
        assert [str(channel.wait(60).kind) for _ in range(2)] == ["LOCKDOWN", "CLOSED"]
        assert channel.wait(0) is None
        assert child.wait() == 32
        spawn(lambda: (sleep(0.05), channel.close()))
        try: channel.wait()
        except ValueError: print("closed")
    secalloc.Protection, secalloc.residue, secalloc.getenv, secalloc.getpass, secalloc.read
    secalloc.map.draw()
    secalloc.lockdown()
    assert key.wiped
"""
    end = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (end.returncode, end.stdout.splitlines()[:1]) == (0, ["closed"]), end.stderr


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_a_fault_under_valgrind() -> None:
    """Which it ends in its own way, after the wipe, unless we are not there."""
    code = """
        key = secalloc.Arena(b"x" * 1000)
        {}
        ctypes.string_at(8)
    """
    valgrind = ("valgrind", "--quiet")
    end = run(code.format(""), wrapper=valgrind, timeout=600)
    assert end.fate == (1, b"F")
    assert "'impossible' happened" in end.err
    end = run(code.format("secalloc.disarm()"), wrapper=valgrind, timeout=600)
    assert end.fate == (-signal.SIGSEGV, b"")
    assert "Invalid read of size 1" in end.err
