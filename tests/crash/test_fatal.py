"""Fatal signals: the exit is exactly what it would have been, the marker exactly b"F"."""

import os
import platform
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from support import check, dies, linux_only, run, x86_or_arm_linux

FATAL = ["SEGV", "BUS", "ILL", "FPE", "ABRT", "SYS", "TRAP", "QUIT", "XCPU", "XFSZ", "TERM", "HUP"]
FORCED = {
    "segv": Signals.SIGSEGV,
    "bus": Signals.SIGBUS,
    "ill": Signals.SIGILL,
    "fpe": Signals.SIGFPE,
    "trap": Signals.SIGTRAP,
    "sys": Signals.SIGSYS,
    "abrt": Signals.SIGABRT,
}
WAYS = {
    "to the process": "os.kill(os.getpid(), {0})",
    "raised": "signal.raise_signal({0})",
    "to another thread": """
ready = threading.Event()
other = threading.Thread(target=lambda: (ready.set(), time.sleep(30)), daemon=True)
other.start(); ready.wait()
signal.pthread_kill(other.ident, {0})""",
    "raised on another thread": "on_thread(signal.raise_signal, {0})",
}
SLEEP = "\ntime.sleep(30)\n"


# ---- every signal -----------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FATAL)
def test_sent(name: str, way: str) -> None:
    sig = Signals["SIG" + name]
    setup = "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\na = secret()\n"
    assert run(setup + WAYS[way].format(int(sig)) + SLEEP).fate == (-sig, b"F")


@pytest.mark.parametrize("name", FATAL)
def test_without_handlers_the_exit_is_the_same_and_no_marker_comes(name: str) -> None:
    sig = Signals["SIG" + name]
    assert run(f"""
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        a = secret()
        secalloc.disarm()
        os.kill(os.getpid(), {int(sig)})
        time.sleep(30)
    """).fate == (-sig, b"")


def kinds() -> list[Any]:
    only_x86 = pytest.mark.skipif(
        platform.machine() != "x86_64", reason="only x86 traps a division by zero"
    )
    return [pytest.param(kind, marks=only_x86 if kind == "fpe" else (), id=kind) for kind in FORCED]


@x86_or_arm_linux
@pytest.mark.parametrize("where", ["fault(kind)", "on_thread(fault, kind)"], ids=["main", "thread"])
@pytest.mark.parametrize("kind", kinds())
def test_forced(kind: str, where: str) -> None:
    end = run(f"kind = {kind!r}; a = secret(); {where}; print('alive')")
    assert end.fate == (-FORCED[kind], b"F"), end
    assert end.out == ""


@x86_or_arm_linux
@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind.values != ("abrt",)])
def test_forced_while_ignored_counts_as_default(kind: str) -> None:
    sig = FORCED[kind]
    assert run(f"""
        signal.signal({int(sig)}, signal.SIG_IGN)
        a = secret()
        fault({kind!r})
    """).fate == (-sig, b"F")


@x86_or_arm_linux
@pytest.mark.parametrize("kind", kinds())
def test_forced_without_handlers(kind: str) -> None:
    assert run(f"a = secret(); secalloc.disarm(); fault({kind!r})").fate == (-FORCED[kind], b"")


# ---- stack overflow ----------------------------------------------------------------


@x86_or_arm_linux
@pytest.mark.parametrize(
    "where", ["exhaust_stack()", "on_thread(lambda: (Arena(1), exhaust_stack()))"]
)
def test_stack_overflow(where: str) -> None:
    assert run(f"a = secret(); {where}").fate == (-11, b"F")


@x86_or_arm_linux
def test_stack_overflow_on_a_thread_that_never_touched_the_library() -> None:
    """A stated limit: it has no alternate stack, so the kernel ends it without a word."""
    assert run("a = secret(); on_thread(exhaust_stack)").fate == (-11, b"")


@x86_or_arm_linux
def test_a_fault_while_its_signal_is_blocked() -> None:
    """A stated limit: the kernel kills without asking the handler."""
    assert run("""
        a = secret()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
        fault("segv")
    """).fate == (-11, b"")


def test_abort_while_its_signal_is_ignored() -> None:
    """A limit: what abort() sends is ignored, then it takes the default and sends again."""
    dies("signal.signal(signal.SIGABRT, signal.SIG_IGN); a = secret(); os.abort()", 6, b"")


def test_kill_leaves_no_word() -> None:
    assert run("a = secret(); os.kill(os.getpid(), 9)").fate == (-9, b"")


@linux_only
@pytest.mark.parametrize("name", ["SIGALRM", "SIGUSR1", "SIGINT"])
def test_another_signal_waits_until_the_wipe_is_done(name: str) -> None:
    """It is sent once the pass over a large arena has begun: five times each."""
    for _ in range(5):
        assert run(f"""
            signal.signal(signal.{name}, signal.SIG_DFL)
            large = secalloc.Arena(64 << 20)
            large[:] = b"Z" * len(large)
            first = (ctypes.c_char * 8).from_address(large.address)
            def disturb():
                while first.raw == b"ZZZZZZZZ": pass
                signal.pthread_kill(threading.main_thread().ident, signal.{name})
            threading.Thread(target=disturb, daemon=True).start()
            time.sleep(0.01)
            ctypes.CDLL(None).memset(ctypes.c_void_p(8), 0, ctypes.c_size_t(1))  # without the GIL
        """).fate == (-11, b"F")


# ---- several at once -----------------------------------------------------------------


@x86_or_arm_linux
def test_many_threads_fault_together() -> None:
    end = run("""
        arenas = [secret(n) for n in (1, 100, 5000, 100_000)]
        barrier = threading.Barrier(8)
        def fall():
            barrier.wait()
            fault("segv")
        for _ in range(8):
            threading.Thread(target=fall).start()
    """)
    assert end.code == -11, end
    assert end.marker.strip(b"F") == b""
    assert end.marker


# ---- faulthandler -------------------------------------------------------------------


@x86_or_arm_linux
@pytest.mark.parametrize("order", ["before", "after", "never"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("segv", "Segmentation fault"),
        ("abrt", "Aborted"),
        ("bus", "Bus error"),
        ("ill", "Illegal instruction"),
    ],
)
def test_faulthandler_still_prints(kind: str, message: str, order: str) -> None:
    enable = "import faulthandler; faulthandler.enable()\n"
    code = {
        "before": enable + "a = secret()\n",
        "after": "a = secret()\n" + enable,
        "never": "a = secret()\n",
    }[order]
    end = run(code + f"fault({kind!r})")
    assert end.fate == (-FORCED[kind], b"F"), end
    assert (f"Fatal Python error: {message}" in end.err) is (order != "never"), end
    assert ("most recent call first" in end.err) is (order != "never"), end


def test_faulthandler_of_the_interpreter_option() -> None:
    end = run("a = secret(); os.kill(os.getpid(), 11)" + SLEEP, python=["-X", "faulthandler"])
    assert end.fate == (-11, b"F"), end
    assert "Fatal Python error: Segmentation fault" in end.err


@x86_or_arm_linux
@pytest.mark.parametrize("kind", ["fpe", "ill", "abrt"])
@pytest.mark.parametrize(
    ("steps", "marks", "reports"),
    [
        ("arena enable disable", 1, 0),
        ("arena enable arm", 2, 1),
        ("arena enable arm disable", 1, 0),
        ("arena enable arm disable enable arm", 2, 1),
        ("enable arena disable", 0, 0),  # a limit: it puts back what was there before it
        ("enable arena disable arm", 1, 0),
    ],
)
def test_faulthandler_comes_and_goes(steps: str, kind: str, marks: int, reports: int) -> None:
    if kind == "fpe" and platform.machine() != "x86_64":
        pytest.skip("only x86 traps a division by zero")
    lines = {
        "arena": "a = secret()",
        "arm": "secalloc.arm()",
        "enable": "faulthandler.enable()",
        "disable": "faulthandler.disable()",
    }
    code = "\n".join(["import faulthandler", *(lines[s] for s in steps.split())])
    end = run(code + f"\nfault({kind!r})")
    assert end.fate == (-FORCED[kind], b"F" * marks), end
    assert end.err.count("Fatal Python error") == reports, end


# ---- signals that are armed only when asked for ------------------------------------------


MORE = [
    s.name
    for s in Signals
    if s.name.startswith("SIGRT")
    or s.name[3:] in ["INT", "PIPE", "ALRM", "USR1", "USR2", "VTALRM", "PROF", "PWR", "STKFLT"]
]


@pytest.mark.parametrize("name", MORE)
def test_what_is_armed_when_asked_for(name: str) -> None:
    sig = Signals[name]
    code = f"""
        signal.signal({int(sig)}, signal.SIG_DFL)
        a = secret()
        assert {int(sig)} not in secalloc.status().handlers
        ARM
        os.kill(os.getpid(), {int(sig)})
        time.sleep(30)
    """
    armed = f"""secalloc.arm([{int(sig)}])
        assert secalloc.status().handlers[signal.{name}] == 'armed'"""
    assert run(code.replace("ARM", armed)).fate == (-sig, b"F")
    assert run(code.replace("ARM", "secalloc.arm()")).fate == (-sig, b"")  # the stated limit
    # Standard error is spared it, as with SIGTERM.
    default = run(code.replace("ARM", armed), marker=False)
    assert (default.code, default.err) == (-sig, "")


@linux_only
def test_every_real_time_signal() -> None:
    check("""
        a = secret()
        numbers = range(signal.SIGRTMIN, signal.SIGRTMAX + 1)
        before = secalloc.status().handlers
        secalloc.arm(signals=numbers)
        now = secalloc.status().handlers
        assert now == before | dict.fromkeys(numbers, "armed"), now
        assert all(isinstance(n, int) for n in now)
        secalloc.disarm()
        assert set(secalloc.status().handlers) == set(before)
        secalloc.arm()
        assert secalloc.status().handlers == before
    """)


def test_what_is_handled_or_ignored_is_left_alone() -> None:
    check("""
        a = secret()
        assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        secalloc.arm([signal.SIGPIPE, signal.SIGINT])
        assert not {signal.SIGPIPE, signal.SIGINT} & set(secalloc.status().handlers)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        assert bytes(a) == SECRET
    """)


# ---- surviving -----------------------------------------------------------------------


def test_what_is_ignored_stays_so_for_programs_that_are_executed() -> None:
    """But not what can be forced: it is ours, and nothing runs at exec to put it back."""
    out = check("""
        import subprocess
        for name in ("ABRT", "PIPE", "TERM", "TRAP"):
            signal.signal(signal.Signals["SIG" + name], signal.SIG_IGN)
        a = secret()
        def lives(name):
            command = ["sh", "-c", f"kill -{name} $$; echo lives"]
            return "lives" in subprocess.run(command, capture_output=True, text=True,
                                             restore_signals=False).stdout
        print(*(name for name in ("ABRT", "PIPE", "TERM", "TRAP") if lives(name)))
        secalloc.disarm()
        print(lives("TRAP"))
    """)
    assert out.split() == ["ABRT", "PIPE", "TERM", "True"]


def test_an_ignored_sent_signal_wipes_nothing() -> None:
    check("""
        for name in ("SEGV", "BUS", "ILL", "FPE", "SYS", "TRAP", "ABRT"):
            signal.signal(signal.Signals["SIG" + name], signal.SIG_IGN)
        a = secret()
        armed = secalloc.status().handlers
        assert armed[signal.SIGSEGV] == "armed"
        for name in ("SEGV", "BUS", "ILL", "FPE", "SYS", "TRAP", "ABRT"):
            os.kill(os.getpid(), signal.Signals["SIG" + name])
        assert bytes(a) == raw(a) == SECRET
        assert secalloc.status().handlers == armed
    """)


def test_a_handler_that_was_there_runs_after_the_wipe_and_may_live_on() -> None:
    end = run("""
        seen = []
        signal.signal(signal.SIGABRT, lambda *_: seen.append(a.wiped))
        a = secret()
        os.kill(os.getpid(), signal.SIGABRT)
        assert seen == [True] and SECRET[:8] not in raw(a)
        assert secalloc.status().handlers[signal.SIGABRT] != "armed"
        os.kill(os.getpid(), signal.SIGABRT)
        assert seen == [True, True]
        b = secret()  # arms again
        assert secalloc.status().handlers[signal.SIGABRT] == "armed"
        os.kill(os.getpid(), signal.SIGABRT)
        assert seen == [True] * 3 and b.wiped
        print("lives")
    """)
    assert (end.code, end.out.strip(), end.marker) == (0, "lives", b"FF"), end


# ---- the marker's way -----------------------------------------------------------------


def test_default_descriptor_is_standard_error() -> None:
    end = run("a = secret(); os.kill(os.getpid(), 11)" + SLEEP, marker=False)
    assert (end.code, end.err) == (-11, "F")


@pytest.mark.parametrize("name", ["TERM", "HUP"])
def test_term_and_hup_tell_only_a_descriptor_that_was_set(name: str) -> None:
    code = f"a = secret(); os.kill(os.getpid(), signal.SIG{name})" + SLEEP
    sig = Signals["SIG" + name]
    default = run(code, marker=False)
    assert (default.code, default.err) == (-sig, "")
    assert run(code).fate == (-sig, b"F")
    chosen = run("secalloc.set_lockdown_fd(2)\n" + code, marker=False)
    assert (chosen.code, chosen.err) == (-sig, "F")


HOSTILE = {
    "a full pipe": """
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True: os.write(write, bytes(4096))
        except BlockingIOError: pass
        try:
            while True: os.write(write, b"-")
        except BlockingIOError: pass
        os.set_blocking(write, True)
        target = write
    """,
    "a full socket": """
        import socket
        one, two = socket.socketpair()
        one.setblocking(False)
        try:
            while True: one.send(bytes(4096))
        except BlockingIOError: pass
        one.setblocking(True)
        target = one.fileno()
    """,
    "a pipe without a reader": """
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        read, target = os.pipe()
        os.close(read)
    """,
    "a socket without a peer": """
        import socket
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        one, two = socket.socketpair()
        two.close()
        target = one.fileno()
    """,
    "a full device": "target = os.open('/dev/full', os.O_WRONLY)",
    "a read-only file": "target = os.open('/dev/null', os.O_RDONLY)",
    "a directory": "target = os.open('/', os.O_RDONLY)",
    "a file past its limit": """
        a = secret()
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        file = tempfile.TemporaryFile()
        file.write(bytes(100)); file.flush()
        limit(resource.RLIMIT_FSIZE, 100)
        target = file.fileno()
    """,
    "nowhere": "target = None",
}


@linux_only
@pytest.mark.parametrize("sig", [Signals.SIGSEGV, Signals.SIGTERM, Signals.SIGABRT], ids=str)
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_descriptor_changes_nothing(what: str, sig: Signals) -> None:
    end = run(
        textwrap.dedent(HOSTILE[what])
        + "\nsecalloc.set_lockdown_fd(target)"
        + "\na = secret() if 'a' not in globals() else a"
        + "\nprint('ready')"
        + f"\nos.kill(os.getpid(), {int(sig)})"
        + SLEEP
    )
    assert end.fate == (-sig, b""), end
    assert end.out.strip() == "ready"


@pytest.mark.parametrize("sig", [Signals.SIGSEGV, Signals.SIGTERM], ids=str)
def test_a_descriptor_closed_meanwhile(sig: Signals) -> None:
    assert run(f"""
        a = secret()
        os.close(secalloc.status().lockdown_fd)
        os.kill(os.getpid(), {int(sig)})
        time.sleep(30)
    """).fate == (-sig, b"")


def test_a_descriptor_number_reused_for_a_data_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for when in ("before", "after"):
        data.write_bytes(b"precious")
        end = run(f"""
            if {when == "after"}: a = secret()
            number = secalloc.status().lockdown_fd
            os.close(number)
            os.dup2(os.open({str(data)!r}, os.O_WRONLY | os.O_APPEND), number)
            if {when == "before"}: a = secret()
            os.kill(os.getpid(), 11)
            time.sleep(30)
        """)
        assert end.fate == (-11, b"")
        assert data.read_bytes() == b"precious"


def test_a_regular_file_gets_its_byte(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(f"""
        file = open({str(log)!r}, "ab")
        secalloc.set_lockdown_fd(file)
        a = secret()
        os.kill(os.getpid(), 11)
        time.sleep(30)
    """).fate == (-11, b"")
    assert log.read_bytes() == b"F"


def test_standard_error_closed_from_the_start() -> None:
    """Descriptor 2 then is whatever is opened next: it must not get a byte."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch, "data")
        end = run(
            f"""
            os.close(2)
            file = open({str(data)!r}, "wb", buffering=0)
            assert file.fileno() == 2
            file.write(b"precious")
            a = secret()
            os.kill(os.getpid(), 11)
            time.sleep(30)
            """,
            marker=False,
        )
        assert end.code == -11
        assert data.read_bytes() == b"precious"


@linux_only
def test_a_terminal_that_stops_its_background() -> None:
    """A background process that writes to a terminal with TOSTOP set gets SIGTTOU."""
    end = run("""
        import fcntl, pty, termios, subprocess
        master, slave = pty.openpty()
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        modes = termios.tcgetattr(slave)
        modes[3] |= termios.TOSTOP
        termios.tcsetattr(slave, termios.TCSANOW, modes)
        def background(code):
            child = subprocess.Popen([sys.executable, "-P", "-c", "from crash import *\\n" + code],
                                     pass_fds=[slave], process_group=0)
            _, status = os.waitpid(child.pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                child.kill()
                child.returncode = 0
                return "stopped"
            return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        print(background(f"os.write({slave}, b'x')"))  # the control: a plain write stops
        print(background(f"secalloc.set_lockdown_fd({slave}); a = secret(); fault('segv')"))
    """)
    assert (end.code, end.out.split()) == (0, ["stopped", "-11"]), end


def test_a_flow_stopped_terminal_does_not_hang() -> None:
    end = run("""
        import pty, termios
        master, slave = pty.openpty()
        termios.tcflow(slave, termios.TCOOFF)
        secalloc.set_lockdown_fd(slave)
        a = secret()
        os.kill(os.getpid(), 11)
        time.sleep(30)
    """)
    assert end.fate == (-11, b""), end


# ---- the first process of a PID namespace -------------------------------------------------


def unshare() -> list[str]:
    """The command that runs another as process 1 of a namespace; skips where it cannot."""
    tool = shutil.which("unshare")
    if tool is None:
        pytest.skip("there is no unshare command to make a PID namespace with")
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    command = [tool, *user, "--pid", "--fork", "--kill-child"]
    probe = subprocess.run([*command, "true"], capture_output=True, check=False)  # noqa: S603
    if probe.returncode:
        pytest.skip("PID namespaces are not allowed here")
    return command


@linux_only
def test_init_of_a_namespace_survives_what_would_not_kill_it() -> None:
    end = run(
        """
        assert os.getpid() == 1
        a = secret()
        armed = secalloc.status().handlers
        assert armed[signal.SIGTERM] == "armed"
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU,
                  signal.SIGSEGV, signal.SIGABRT, signal.SIGSYS, signal.SIGBUS):
            os.kill(1, s)
        assert bytes(a) == raw(a) == SECRET
        assert secalloc.status().handlers == armed
        print("intact")
        """,
        wrapper=unshare(),
    )
    assert (end.fate, end.out.strip()) == ((0, b""), "intact"), end


@x86_or_arm_linux
@pytest.mark.parametrize("kind", [k for k in FORCED if k not in ("abrt", "fpe")])
def test_init_of_a_namespace_dies_of_what_is_forced(kind: str) -> None:
    end = run(
        f"assert os.getpid() == 1; a = secret(); fault({kind!r}); print('alive')",
        wrapper=unshare(),
    )
    # unshare dies of the signal that killed its child
    assert end.code in (-FORCED[kind], 128 + FORCED[kind]), end
    assert end.marker.strip(b"F") == b""
    assert end.marker
    assert end.out == ""


# ---- the core file ---------------------------------------------------------------------


PREPARE_CORE = """
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
with open("/proc/self/coredump_filter", "w") as f: f.write("0xff")  # all kinds of mappings
masked = os.urandom(32)  # the secret itself is never anywhere but in the arena
print(masked.hex())
def fill(target):
    for i, byte in enumerate(masked):
        target[i] = byte ^ 0x5A
"""
CORES = {
    "small": ("a = Arena(32); fill(a)", False),
    "large": ("a = Arena(200_000); fill(a[150_000:])", False),
    "disarmed": ("secalloc.disarm(); a = Arena(32); fill(a)", False),
    "disarmed, without secretmem": (
        "deny('memfd_secret', errno.EPERM); secalloc.disarm(); a = Arena(32); fill(a)",
        False,
    ),
    "wiped by another thread": ("a = Arena(32); fill(a); on_thread(fault, 'segv')", False),
    "plain": ("plain = bytearray(32); fill(plain)", True),  # the control
}


@linux_only
@pytest.mark.parametrize("name", CORES)
def test_core_file(name: str, tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "|" in pattern or "/" in pattern:
        pytest.skip(f"core files do not go to the working directory: core_pattern is {pattern}")
    code, found = CORES[name]
    end = run(f"{PREPARE_CORE}\n{code}\nfault('segv')", cwd=tmp_path)
    assert end.code == -11, end
    files = list(tmp_path.iterdir())
    if not files:
        pytest.skip("no core file was written: the hard limit on their size is likely 0")
    secret = bytes(byte ^ 0x5A for byte in bytes.fromhex(end.out))
    core = files[0].read_bytes()
    assert core[:4] == b"\x7fELF"
    assert len(core) < 2**29, "the reserved address space must not be in the core file"
    assert (secret[:16] in core or secret[16:] in core) is found
