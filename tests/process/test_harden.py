"""harden(): each line of it in processes of their own, beside what holds without it."""

import signal
from pathlib import Path

import pytest
from support import Outcome, check, dies, linux_only, run, spy, x86_or_arm_linux

import secalloc

FULL = "Hardening(no_core_files=True, not_dumpable=True, no_debugger=True, refused=())"


def test_the_answer() -> None:
    """Readable, and false where something was refused, though it is a tuple."""
    answer = secalloc.Hardening(True, True, True, ())
    assert repr(answer) == FULL
    assert answer
    assert not secalloc.Hardening(True, False, False, ("prctl: no",))


@linux_only
def test_all_of_it_takes_effect() -> None:
    out = check("""
        become_nobody()
        limit(resource.RLIMIT_CORE, 0, resource.getrlimit(resource.RLIMIT_CORE)[1])
        print(secalloc._core._dumpable())
        for _ in range(3):
            print(secalloc.harden(), bool(secalloc.harden()))
        print(resource.getrlimit(resource.RLIMIT_CORE), secalloc._core._dumpable())
    """)
    assert out.splitlines() == ["True", *[f"{FULL} True"] * 3, "(0, 0) False"]


@linux_only
def test_the_limit_cannot_be_raised_again() -> None:
    check("""
        become_nobody()
        secalloc.harden()
        raises(ValueError, lambda n: resource.setrlimit(resource.RLIMIT_CORE, (n, n)), of=4096)
    """)


@linux_only
def test_it_needs_no_arena() -> None:
    check("""
        secalloc.harden()
        assert secalloc.status().backend == "none"
    """)


# ---- core files -------------------------------------------------------------------


def core_of(code: str, directory: Path) -> list[Path]:
    """The core files that a snippet leaves when it faults."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip(f"core files do not go to the working directory: core_pattern is {pattern}")
    start = "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]; limit(4, hard); a = Arena(32)\n"
    dies(f"{start}{code}\nfault('segv')", signal.SIGSEGV, cwd=directory)
    return list(directory.glob("core*"))


@x86_or_arm_linux
def test_no_core_file(tmp_path: Path) -> None:
    if not core_of("", tmp_path):
        pytest.skip("no core file was written: the hard limit on their size is likely 0")
    for name, code in {
        "all": "secalloc.harden()",
        "the limit alone": "deny('prctl', errno.EPERM); secalloc.harden()",
        "the flag alone": "deny('prlimit64', errno.EPERM); secalloc.harden()",
    }.items():
        directory = tmp_path / name
        directory.mkdir()
        assert core_of(code, directory) == []


# ---- other processes ---------------------------------------------------------------

LOOK = """
become_nobody()
iovec = ctypes.c_ulong * 2
def attempts(pid, address):
    got = ctypes.create_string_buffer(4)
    yield "ptrace", LIBC.ptrace(16, pid, None, None) == 0  # PTRACE_ATTACH
    os.waitpid(pid, os.WNOHANG)
    LIBC.ptrace(17, pid, None, None)  # PTRACE_DETACH
    ours, theirs = iovec(ctypes.addressof(got), 4), iovec(address, 4)
    yield "vm_readv", LIBC.process_vm_readv(pid, ours, 1, theirs, 1, 0) == 4
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
            yield "mem", os.pread(mem.fileno(), 4, address) == b"look"
    except PermissionError:
        yield "mem", False
from crash import LIBC
kept = ctypes.create_string_buffer(b"look")
def look(harden):
    ready, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        LIBC.prctl(0x59616d61, ctypes.c_long(-1), 0, 0, 0)  # PR_SET_PTRACER, where Yama is
        harden()
        os.write(say, b"x")
        signal.pause()
        os._exit(0)
    os.read(ready, 1)
    seen = [name for name, worked in attempts(pid, ctypes.addressof(kept)) if worked]
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return seen
"""


@linux_only
def test_no_process_of_the_same_user_reads_it() -> None:
    out = check(LOOK + "print(look(lambda: None))\nprint(look(secalloc.harden))")
    control, hardened = out.splitlines()
    if "ptrace" not in control:
        pytest.skip(f"this machine lets nobody attach anyway: {control}")
    assert control == "['ptrace', 'vm_readv', 'mem']"
    assert hardened == "[]"


@linux_only
def test_a_fork_stays_so_and_another_program_does_not() -> None:
    out = check("""
        secalloc.harden()
        assert child_of(lambda: sys.exit(secalloc._core._dumpable())) == 77  # SystemExit
        assert child_of(lambda: os._exit(10 + secalloc._core._dumpable())) == 10
        import subprocess
        code = ("import secalloc, resource; "
                "print(secalloc._core._dumpable(), resource.getrlimit(4))")
        subprocess.run([sys.executable, "-P", "-c", code], check=True)
    """)
    assert out.endswith("True (0, 0)")


# ---- what no longer works for the process itself -------------------------------------------


@linux_only
def test_what_the_process_gives_up() -> None:
    """As the docstring lists it: an ordinary user's process, before and after."""
    out = check("""
        become_nobody()
        def shut(names):
            for name in names:
                try:
                    open(f"/proc/self/{name}", "rb").close()
                except PermissionError:
                    yield name
        lost = ["mem", "environ", "auxv", "pagemap"]
        still = ["maps", "status", "smaps", "fd/0", "exe", "stat", "limits", "cmdline"]
        print(*shut(lost + still))
        secalloc.harden()
        print(*shut(lost + still))
        print(len(os.listdir("/proc/self/fd")) > 2, os.stat("/proc/self/mem").st_uid)
    """)
    *before, after, others = out.split("\n")
    assert before in ([], [""])
    assert after == "mem environ auxv pagemap"
    assert others == "True 0"


@linux_only
def test_the_library_goes_on() -> None:
    check("""
        os.environ["SECALLOC_TEST"] = "value of it"
        import subprocess
        secalloc.getenv, secalloc.read, secalloc.LockdownChannel  # its files may be root's alone
        become_nobody()
        assert secalloc.harden()
        a = secret(); b = secret(300_000); b.rotate(); a.seal()
        with a.open("r") as view: assert view == SECRET
        assert secalloc.getenv("SECALLOC_TEST") == b"value of it"
        assert secalloc.read("/proc/self/status", 4) == b"Name"
        with secalloc.Pool() as pool: pool.random(40).rotate()
        for each in a, b: each.close()
        with secalloc.LockdownChannel() as channel:
            subprocess.run(["sh", "-c", "printf L >&$SECALLOC_LOCKDOWN_FD"], check=True,
                           **channel.popen_args())
            assert channel.wait(20).kind == "LOCKDOWN"
    """)


# ---- the fatal path -------------------------------------------------------------------------


@x86_or_arm_linux
@pytest.mark.parametrize("kind", ["segv", "bus", "ill", "trap", "sys", "abrt"])
def test_a_fault_still_wipes_and_ends_as_it_would(kind: str) -> None:
    """The marker goes through a pipe of which /proc/self/fd is needed, too."""
    number = signal.Signals[f"SIG{kind.upper()}"]
    dies(f"become_nobody(); assert secalloc.harden(); a = secret(); fault({kind!r})", number)


def observed(before: str) -> Outcome:
    return run(f"""
        spy = ctypes.CDLL({spy()!r})
        become_nobody()
        assert secalloc.harden()
        assert spy.spy_install(signal.SIGSEGV, secalloc.status().lockdown_fd, 0) == 0
        a = secret()
        masked = bytes(b ^ 0x5A for b in SECRET)
        spy.spy_watch(ctypes.c_void_p(a.address), ctypes.c_size_t(a.size), masked, len(masked))
        {before}
        overrun(a)
    """)


@linux_only
def test_what_the_next_handler_sees_is_noise() -> None:
    assert observed("").fate == (-signal.SIGSEGV, b"FN")
    assert observed("secalloc.disarm()").fate == (-signal.SIGSEGV, b"S")


# ---- what is refused -----------------------------------------------------------------------------


@x86_or_arm_linux
def test_a_refusal_is_told() -> None:
    out = check("""
        deny("prctl", errno.EPERM)
        answer = secalloc.harden()
        assert answer[:3] == (True, False, False) and not answer, answer
        print(*answer.refused, sep="\\n")
    """)
    assert out == (
        "prctl(PR_SET_DUMPABLE): Operation not permitted; a seccomp profile must allow prctl"
    )
    out = check("""
        deny("prlimit64", errno.EPERM)
        answer = secalloc.harden()
        assert answer[:3] == (False, True, True) and not answer, answer
        print(*answer.refused, sep="\\n")
    """)
    assert out == (
        "setrlimit(RLIMIT_CORE): Operation not permitted; start the program with ulimit -c 0"
    )


@linux_only
def test_a_debugger_that_is_there_already_is_told() -> None:
    out = check("""
        from crash import LIBC
        def traced():
            assert LIBC.ptrace(0, 0, None, None) == 0  # PTRACE_TRACEME
            answer = secalloc.harden()
            assert answer[:3] == (True, True, False) and not answer, answer
            print(*answer.refused)
        assert child_of(traced) == 0
    """)
    assert out == "a debugger is attached already; detach it, and call again"
