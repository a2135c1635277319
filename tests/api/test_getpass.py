"""Asking a person, beside the standard library: keys, signals, job control, standard input."""

import os
import random
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import LINUX, TRIALS, check, linux_only
from typist import Typist

import secalloc

IUTF8 = 0x4000  # of Linux and macOS; termios has it from 3.13 on
DISABLED = b"\0" if LINUX else b"\xff"


# A shell that runs one program: when that stops it says so, and does what it is told by a
# line: "fg", "bg" or "end".
SHELL = """
import os, signal, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(number, signal.SIG_IGN)
ours = os.getpgrp()
start = os.environ.pop("START", "fg")
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    if start == "fg":
        os.tcsetpgrp(0, os.getpid())
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
if start != "fg":
    print("started", flush=True)
while True:
    if start == "fg":
        got, status = os.waitpid(pid, os.WUNTRACED)
        os.tcsetpgrp(0, ours)
        local = termios.tcgetattr(0)[3]
        modes = [name for name in ("ECHO", "ICANON", "ISIG") if local & getattr(termios, name)]
        if not os.WIFSTOPPED(status):
            print("ended", os.waitstatus_to_exitcode(status), *modes, flush=True)
            sys.exit(0)
        print("stopped", signal.Signals(os.WSTOPSIG(status)).name, *modes, flush=True)
    modes = termios.tcgetattr(0)
    edits = [*modes[:3], modes[3] & ~termios.ECHO, *modes[4:]]  # as a shell does that edits lines
    termios.tcsetattr(0, termios.TCSANOW, edits)
    start = input()
    termios.tcsetattr(0, termios.TCSANOW, modes)
    if start == "fg":
        os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
"""


class Job(Typist):
    """A program that a shell runs on its terminal."""

    program = 0  # its process, once it is known
    early = b""  # what it said before it asked

    def __init__(self, code: str, *arguments: str) -> None:
        super().__init__(code, *arguments, shell=SHELL)


# ---- keys -----------------------------------------------------------------------------

# Asks again and again, each time with the terminal set as told: changes of c_iflag and c_lflag
# and control characters.
ASKER = """
import ast, importlib, os, signal, sys, termios
ask = importlib.import_module(sys.argv[1]).getpass
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGQUIT, lambda *_: None)
plain = termios.tcgetattr(0)
for at, (on, off, local_off, keys) in enumerate(ast.literal_eval(sys.argv[2])):
    modes = [*plain[:6], list(plain[6])]
    modes[0] = (modes[0] | on) & ~off
    modes[3] &= ~local_off
    for name, code in keys.items():
        modes[6][getattr(termios, name)] = code
    termios.tcsetattr(0, termios.TCSANOW, modes)
    try:
        got = ask(f"ask{at}:")
        got = got.encode() if isinstance(got, str) else bytes(got)
    except BaseException as error:
        got = repr(error).encode()
    back = termios.tcgetattr(0) == modes
    termios.tcsetattr(0, termios.TCSANOW, plain)
    print(f"got{at}:{got.hex()}:{back}:", flush=True)
"""

Setting = tuple[int, int, int, dict[str, bytes]]
PLAIN: Setting = (IUTF8, 0, 0, {})


def test_a_program_that_cannot_be_run_leaves_no_second_test_process() -> None:
    """As where a user may not reach the interpreter: the fork must not go on with the tests."""
    out = check("""
        import typist
        sys.executable = "/dev/null/none"
        hand = typist.Typist("pass")
        os.write(1, b"one\\n")
        assert hand.end() == 127
    """)
    assert out == "one"


def typed_at(module: str, cases: Sequence[tuple[Setting, bytes]]) -> list[bytes]:
    """What the module's getpass makes of each."""
    terminal = Typist(ASKER, module, repr([setting for setting, _ in cases]))
    results = []
    for at, (_, typed) in enumerate(cases):
        terminal.expect(f"ask{at}:".encode())
        terminal.type(typed)
        terminal.expect(f"got{at}:".encode())
        answer, back, _ = terminal.expect(b"\r\n").split(b":")
        assert back == b"True"
        results.append(bytes.fromhex(answer.decode()))
    assert terminal.end() == 0
    return results


def compare(cases: Sequence[tuple[Setting, bytes]]) -> list[bytes]:
    ours, theirs = typed_at("secalloc", cases), typed_at("getpass", cases)
    for (setting, typed), mine, other in zip(cases, ours, theirs, strict=True):
        assert mine == other, (setting, typed)
    return ours


KEYS: list[tuple[Setting, bytes, bytes]] = [
    (PLAIN, b"secret\n", b"secret"),
    (PLAIN, b"secret\r", b"secret"),
    (PLAIN, b"\n", b""),
    (PLAIN, b"abX\x7fc\n", b"abc"),
    (PLAIN, b"\x7f\x7fok\n", b"ok"),
    (PLAIN, "a\u00e9\u20ac\U0001f600\x7f\x7f\x7fb\n".encode(), b"ab"),
    (PLAIN, b"wrong\x15right\n", b"right"),
    (PLAIN, b"wrong\x17right\n", b"right"),
    (PLAIN, b"one two\x17three\n", b"one three"),
    (PLAIN, b"one  \x17x\n", b"x"),
    (PLAIN, b"\x17\x17a b\x17\x17c\n", b"c"),
    (PLAIN, b"a\x16\x03b\n", b"a\x03b"),
    (PLAIN, b"a\x16\x17\x16\x15\x16\x7f\x16\x16b\n", b"a\x17\x15\x7f\x16b"),
    (PLAIN, b"a\x16\x04\x16\x1a\x16\x1c\x16\x13\n", b"a\x04\x1a\x1c\x13"),
    (PLAIN, b"ab\x16\x01\x7fc\n", b"abc"),
    (PLAIN, b"wrong\x03right\n", b"right"),
    (PLAIN, b"wrong\x1cright\n", b"right"),
    (PLAIN, b"a\x13b\x11c\n", b"abc"),
    (PLAIN, b"a\0b\n", b"a\0b"),
    (PLAIN, b"end\x04\x04", b"end"),
    (PLAIN, b"\x04", b"EOFError()"),
    (PLAIN, b"ab\tc\x1b[A\n", b"ab\tc\x1b[A"),
    ((IUTF8, 0, 0, {"VERASE": b"#"}), b"abX#c\n", b"abc"),
    ((IUTF8, 0, 0, {"VKILL": b"@"}), b"ab\x15@c\n", b"c"),
    ((IUTF8, 0, 0, {"VWERASE": b"%"}), b"a b%\x17c\n", b"a \x17c"),
    ((IUTF8, 0, 0, {"VLNEXT": b"!"}), b"a!!\x16!\x03\n", b"a!\x16\x03"),
    ((IUTF8, 0, 0, {"VEOF": b"$", "VSUSP": DISABLED}), b"a\x04\x1a$$", b"a\x04\x1a"),
    ((IUTF8, 0, 0, {"VINTR": b"\x7f", "VERASE": b"\x08"}), b"ab\x7fc\x08d\n", b"d"),
    ((IUTF8, 0, 0, dict.fromkeys(("VKILL", "VWERASE", "VLNEXT", "VINTR", "VEOF"), DISABLED)),
     b"\0\x15\x17\x16\x03\x04\n", b"\0\x15\x17\x16\x03\x04"),
    ((IUTF8, 0, termios.IEXTEN, {}), b"a\x17\x16b\x7f\n", b"a\x17\x16"),
    ((IUTF8, 0, termios.ISIG, {}), b"a\x03\x1c\x1a\n", b"a\x03\x1c\x1a"),
    ((IUTF8, termios.IXON, 0, {}), b"a\x13\x11\n", b"a\x13\x11"),
    ((IUTF8 | termios.IGNCR, 0, 0, {}), b"a\rb\n", b"ab"),
    ((IUTF8 | termios.ISTRIP, 0, 0, {}), b"a\xe2\n", b"ab"),
]  # fmt: skip


def test_the_keys_that_the_terminal_has_set() -> None:
    """One after the other in one program, and the same as the standard library has it."""
    cases = [(setting, typed) for setting, typed, _ in KEYS]
    assert typed_at("secalloc", cases) == [expected for _, _, expected in KEYS]
    if LINUX:
        compare(cases)


@linux_only
def test_any_keys_in_any_order() -> None:
    """As Linux edits a line, letter by letter: words of any bytes that a terminal has for one."""
    chance = random.Random(os.urandom(8))  # noqa: S311
    pieces = ["a", "Z", "7", "_", " ", ".", "-", "\t", "\u00e9", "\u05d0", "\u20ac", "\u00f7",
              "\x7f", "\x7f", "\x17", "\x17", "\x15", "\x12", "\x0f", "\x13\x11", "\x16\x13",
              "\x03", "\0", "\x16\x03", "\x16\x16", "\x16\x7f", "\x16\x17", "\x16a",
              "\x16\u00e9"]  # fmt: skip
    cases = []
    for _ in range(TRIALS):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 30)))
        cases.append((PLAIN, text.encode() + b"\n"))
    compare(cases)


def test_an_erased_character_is_whole_though_the_terminal_does_not_know() -> None:
    """Here the standard library, and the terminal, leave half of one."""
    settings: Setting = (0, IUTF8, 0, {})
    assert typed_at("secalloc", [(settings, "a\u00e9\x7fb\n".encode())]) == [b"ab"]


def test_a_quoted_end_of_line() -> None:
    """Which a text stream would take for one."""
    assert typed_at("secalloc", [(PLAIN, b"a\x16\rb\x16\nc\n")]) == [b"a\rb\nc"]


# ---- job control, signals, the end -----------------------------------------------------

ASK = """
import os, signal, sys, termios, threading, time, secalloc
def wait_for_silence():
    while termios.tcgetattr(0)[3] & termios.ECHO:
        time.sleep(0.01)
print("pid", os.getpid(), flush=True)
exec(sys.argv[1])
try:
    got = secalloc.getpass("Secret: ")
    print("got", bytes(got), flush=True)
except BaseException as error:
    print("raised", type(error).__name__, flush=True)
"""
SILENT, COOKED = (False, False), (True, True)


def asks(setup: str = "") -> Job:
    terminal = Job(ASK, setup)
    terminal.expect(b"pid ")
    terminal.program = int(terminal.expect(b"\r\n"))
    terminal.early = terminal.expect(b"Secret: ")
    terminal.settles(SILENT)
    return terminal


def test_a_stop_gives_the_terminal_back() -> None:
    """And going on takes the echo away again, as often as that happens."""
    terminal = asks()
    for typed in (b"wro\x1a", b"\x1a", b"ng\x1a"):
        terminal.type(typed)
        assert b"wro" not in terminal.expect(b"stopped SIGTSTP ECHO ICANON ISIG\r\n")
        terminal.type(b"fg\n")
        terminal.expect(b"Secret: ")
        terminal.settles(SILENT)
    terminal.type(b"right\n")
    assert b"right" not in terminal.expect(b"got b'right'\r\n")
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


def test_the_line_is_kept_where_the_terminal_keeps_it() -> None:
    terminal = asks("m = termios.tcgetattr(0); m[3] |= termios.NOFLSH; termios.tcsetattr(0, 0, m)")
    terminal.type(b"on\x1a")
    terminal.expect(b"stopped SIGTSTP ECHO ICANON ISIG\r\n")
    terminal.type(b"fg\n")
    terminal.expect(b"Secret: ")
    terminal.settles(SILENT)
    terminal.type(b"e\n")
    terminal.expect(b"got b'one'\r\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGSTOP])
def test_a_stop_from_elsewhere(number: signal.Signals) -> None:
    terminal = asks()
    os.kill(terminal.program, number)
    terminal.expect(f"stopped {number.name}".encode())
    if number == signal.SIGTSTP:
        assert terminal.expect(b"\r\n") == b" ECHO ICANON ISIG"
    terminal.type(b"fg\n")
    terminal.expect(b"Secret: ")
    terminal.settles(SILENT)
    terminal.type(b"right\n")
    terminal.expect(b"got b'right'\r\n")
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


def test_in_the_background_the_terminal_is_the_shells() -> None:
    terminal = asks()
    terminal.type(b"x\x1a")
    terminal.expect(b"stopped SIGTSTP ECHO ICANON ISIG\r\n")
    terminal.type(b"bg\n")
    terminal.settles((False, True))  # as the shell set it
    time.sleep(0.3)
    assert terminal.flags() == (False, True)
    terminal.type(b"fg\n")
    terminal.expect(b"Secret: ")
    terminal.settles(SILENT)
    terminal.type(b"right\n")
    terminal.expect(b"got b'right'\r\n")
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


def test_asked_in_the_background_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is restored is how the terminal was when it came to the front."""
    monkeypatch.setenv("START", "bg")
    terminal = Job(ASK, "")
    terminal.expect(b"started")
    terminal.settles((False, True))
    time.sleep(0.5)
    terminal.type(b"fg\n")
    terminal.expect(b"Secret: ")
    terminal.settles(SILENT)
    terminal.type(b"right\n")
    terminal.expect(b"got b'right'\r\n")
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("module", ["secalloc", "getpass"])
def test_an_orphan_in_the_background_is_refused(module: str) -> None:
    """It could never be brought to the front, so that nothing stops it."""
    code = """
import importlib, os, sys, time, warnings
ask = importlib.import_module(sys.argv[1]).getpass
if os.fork():
    time.sleep(60)
os.setpgid(0, 0)
parent = os.getpid()
if os.fork():
    os._exit(0)
while os.getppid() == parent:
    time.sleep(0.01)
try: ask("Secret: ")
except OSError as error: print("refused", error.errno, flush=True)
"""
    terminal = Typist(code, module)
    terminal.expect(b"refused 5\r\n")
    assert terminal.flags() == (True, True)
    os.kill(terminal.child, signal.SIGKILL)
    terminal.end()


def test_a_handler_of_the_programs_own() -> None:
    """Is called when it goes on, and none of ours stays behind."""
    terminal = asks(
        "import atexit\n"
        "went_on = []\n"
        "signal.signal(signal.SIGCONT, lambda *_: went_on.append(1))\n"
        "atexit.register(lambda: print('went on', len(went_on), flush=True))"
    )
    for _ in range(2):
        terminal.type(b"\x1a")
        terminal.expect(b"stopped SIGTSTP ECHO ICANON ISIG\r\n")
        terminal.type(b"fg\n")
        terminal.expect(b"Secret: ")
        terminal.settles(SILENT)
    terminal.type(b"right\n")
    terminal.expect(b"got b'right'\r\n")
    terminal.expect(b"went on 2\r\n")
    assert terminal.end() == 0


@linux_only
def test_no_handler_stays_behind() -> None:
    """The kernel's list of them is as it was when the first arena had armed its own."""
    terminal = asks(
        "def caught(): return [x for x in open('/proc/self/status') if 'SigCgt' in x]\n"
        "kept = secalloc.Arena(1); before = caught()\n"
        "import atexit; atexit.register(lambda: print('same', caught() == before, flush=True))"
    )
    terminal.type(b"x\n")
    terminal.expect(b"same True\r\n")
    assert terminal.end() == 0


ENDERS = [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM,
          signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGVTALRM]  # fmt: skip


@pytest.mark.parametrize("number", ENDERS)
@pytest.mark.parametrize("armed", [True, False])
def test_a_signal_that_ends_the_process(number: signal.Signals, armed: bool) -> None:
    terminal = asks(
        f"signal.signal({number:d}, signal.SIG_DFL)\n{'' if armed else 'secalloc.disarm()'}"
    )
    os.kill(terminal.program, number)
    terminal.expect(f"ended -{number:d} ECHO ICANON ISIG\r\n".encode())
    assert terminal.end() == 0


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_a_key_that_ends_the_process(key: bytes, number: signal.Signals) -> None:
    terminal = asks(f"signal.signal({number:d}, signal.SIG_DFL)")
    terminal.type(b"par" + key)
    terminal.expect(f"ended -{number:d} ECHO ICANON ISIG\r\n".encode())
    assert terminal.end() == 0


@pytest.mark.parametrize("error", ["RuntimeError", "TimeoutError", "OSError"])
@pytest.mark.parametrize("call", ["_echo_off", "_type_line", "Line.close", "_echo_back"])
def test_a_handlers_exception_at_any_end(call: str, error: str) -> None:
    """Out of each call in turn, when that has done what it does: the echo is back all the same,
    and the exception is not taken for the terminal's."""
    terminal = Job(
        ASK,
        f"""
from secalloc._terminal import typed
def raises(*_):
    raise {error}
signal.signal(signal.SIGUSR1, raises)
def signalled(call):
    def signalled(*arguments):
        call(*arguments)
        signal.raise_signal(signal.SIGUSR1)
    return signalled
typed.{call} = signalled(typed.{call})
""",
    )
    if call != "_echo_off":
        terminal.expect(b"Secret: ")
        terminal.settles(SILENT)
        terminal.type(b"x\n")
    terminal.expect(f"raised {error}\r\n".encode())
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


def test_the_interpreter_ends_on_another_thread() -> None:
    code = """
import secalloc, sys, termios, threading, time
threading.Thread(target=secalloc.getpass, args=("Secret: ",), daemon=True).start()
while termios.tcgetattr(0)[3] & termios.ECHO:
    time.sleep(0.01)
print("silent", flush=True)
"""
    terminal = Job(code)
    terminal.expect(b"silent")
    terminal.expect(b"ended 0 ECHO ICANON ISIG\r\n")
    assert terminal.end() == 0


def test_the_terminal_hangs_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    terminal = Typist(
        f"""
import signal, secalloc
signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    secalloc.getpass("Secret: ")
except BaseException as error:
    open({str(out)!r}, "w").write(type(error).__name__)
""",
    )
    terminal.expect(b"Secret: ")
    os.close(terminal.master)
    assert os.waitpid(terminal.child, 0)[1] == 0
    assert out.read_text() == "EOFError"


def test_two_threads_at_one_terminal() -> None:
    terminal = asks(
        "def other():\n"
        "    wait_for_silence()\n"
        "    try: secalloc.getpass()\n"
        "    except OSError as error: print('refused', error.errno, flush=True)\n"
        "threading.Thread(target=other).start()"
    )
    import errno  # noqa: PLC0415

    refused = f"refused {errno.EBUSY}".encode()
    if refused not in terminal.early:  # the echo is off before the prompt is there
        terminal.expect(refused)
    terminal.settles(SILENT)  # the other's is not ended by that
    terminal.type(b"x\n")
    terminal.expect(b"got b'x'")
    assert terminal.end() == 0


@pytest.mark.parametrize("fork", ["os.fork()", "raw_fork()"])
def test_a_child_forked_while_another_thread_waits(fork: str) -> None:
    """It asks at a terminal of its own, and what ends it there leaves the parent's alone."""
    if fork == "raw_fork()" and not LINUX:
        pytest.skip("the system call fork is Linux's")
    terminal = asks(
        f"""
import ctypes, pty, platform
def raw_fork():  # PyDLL keeps the GIL, which nobody would give back in the child
    if platform.machine() == "x86_64":
        return ctypes.PyDLL(None).syscall(57)
    return ctypes.PyDLL(None).syscall(220, 17, 0, 0, 0, 0)  # clone
def child():
    wait_for_silence()
    ours, theirs = os.openpty()
    pid = {fork}
    if pid == 0:
        try:
            os.setsid()
            import fcntl
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            got = secalloc.getpass("child: ")
            os.write(theirs, b"child got " + bytes(got))
            echo = termios.tcgetattr(theirs)[3] & termios.ECHO
            os._exit(0 if echo else 2)
        except BaseException as error:
            os.write(theirs, repr(error).encode())
        os._exit(1)
    seen = b""
    while b"child: " not in seen and b"rror" not in seen: seen += os.read(ours, 1000)
    os.write(ours, b"hers\\n")
    while b"hers" not in seen and b"rror" not in seen: seen += os.read(ours, 1000)
    print("child", seen[-20:], os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
thread = threading.Thread(target=child)
thread.start()
"""
    )
    terminal.expect(b"child b'")
    assert terminal.expect(b"\r\n").endswith(b"child got hers' 0")
    terminal.settles(SILENT)
    terminal.type(b"parent's\n")
    terminal.expect(b'got b"parent\'s"')
    assert terminal.end() == 0


def test_keys_of_a_terminal_that_is_not_the_sessions() -> None:
    """Standard input, then: without echo, and Ctrl-C is for the program that reads."""
    code = """
import os, sys, warnings
if os.fork():
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
os.setsid()
import secalloc
warnings.simplefilter("error")
print("read", bytes(secalloc.getpass("first: ")), flush=True)
try: secalloc.getpass("second: ")
except KeyboardInterrupt: print("interrupted", flush=True)
"""
    terminal = Typist(code)
    terminal.expect(b"first: ")
    terminal.settles(SILENT)
    terminal.type(b"on\x7fne\n")
    terminal.expect(b"read b'one'")
    terminal.expect(b"second: ")
    terminal.settles(SILENT)
    terminal.type(b"x\x03")
    terminal.expect(b"interrupted")
    assert terminal.end() == 0


def test_the_prompt_goes_where_it_is_told_and_in_what_can_be_written() -> None:
    """In an encoding that lacks a letter, to a stream, and to a terminal: like the library."""
    code = """
import importlib, io, os, sys
ask = importlib.import_module(sys.argv[1]).getpass
def text(got): return got if isinstance(got, str) else bytes(got).decode()
for prompt in ("caf\\u00e9 1:", "lone \\ud800 2:"):
    print(text(ask(prompt)), flush=True)
stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
print("ready", flush=True)
print(text(ask("caf\\u00e9 3:", stream)), end=" ")
stream.flush()
print(stream.buffer.getvalue(), flush=True)
"""
    for module in ("secalloc", "getpass"):
        terminal = Typist(code, module)
        for question in ("caf\u00e9 1:".encode(), b"lone ? 2:"):
            terminal.expect(question)
            terminal.settles((False, module == "getpass"))
            terminal.type(b"x\n")
            terminal.expect(b"x\r\n")
        terminal.expect(b"ready")
        terminal.settles((False, module == "getpass"))
        terminal.type(b"y\n")
        assert terminal.expect(b" 3:\\n'") == b"\r\ny b'caf?", module
        assert terminal.end() == 0


# ---- standard input -------------------------------------------------------------------


def piped(code: str, *chunks: bytes, **environment: str) -> str:
    """What it prints, with no terminal; a chunk comes when it printed "more"."""
    head = "import io, os, sys, warnings, secalloc\nwarnings.simplefilter('ignore')\n"
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", head + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
    )
    assert child.stdin
    assert child.stdout
    for chunk in chunks[:-1]:
        child.stdin.write(chunk)
        child.stdin.flush()
        assert child.stdout.readline() == b"more\n", child.communicate()
    out, err = child.communicate(chunks[-1] if chunks else b"", timeout=60)
    assert child.returncode == 0, err.decode()
    return out.decode().strip()


MORE = "print('more', flush=True)\n"


def test_a_line_that_was_read_ahead() -> None:
    """By input(), which takes all there is; the lines after it stay for the next reader."""
    code = """
ask = secalloc.getpass
print(input().strip(), bytes(ask()), input().strip(), bytes(ask()), input())
for ask in (secalloc.getpass, input):
    try: ask()
    except EOFError: print("end")
"""
    secret = "p\u00e4ss \u20ac".encode()
    for end in (b"\n", b"\r\n"):
        lines = end.join([b"user", secret, b"", b"", b"last"])
        assert piped(code, lines) == f"user {secret!r}  b'' last\nend\nend"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b"user\npa", b"ss\nnext"),
        (b"user\n", b"pass\nnext"),
        (b"user\npass", b"\nnext"),
        (b"user\r\npass\r", b"\nnext"),
        (b"user\r\npass", b"\r\nnext"),
        ("user\np\u00e4".encode()[:-1], b"\xa4ss\nnext"),
        ("user\np\u20ac".encode()[:-1], b"\xacss\nnext"),
        ("user\np\U0001f600".encode()[:-3], b"\x9f\x98\x80ss\nnext"),
        (b"user\npass\nne", b"xt"),
    ],
)
def test_a_line_of_which_a_part_was_read_ahead(first: bytes, second: bytes) -> None:
    code = f"""
user = input().strip()
{MORE}
print(user, bytes(secalloc.getpass()), input())
"""
    password = (first + second).replace(b"\r", b"").split(b"\n")[1]
    assert piped(code, first, second) == f"user {password!r} next"


def test_what_the_bytes_below_have_read_ahead() -> None:
    code = """
sys.stdin.buffer.peek()
print(bytes(secalloc.getpass()), input(), bytes(secalloc.getpass()), sys.stdin.read())
"""
    assert piped(code, b"one\ntwo\nthree\nfour") == "b'one' two b'three' four"


def test_nothing_more_than_the_line_is_read() -> None:
    code = "print(bytes(secalloc.getpass()), os.read(0, 100))"
    assert piped(code, b"one\ntwo\nthree") == r"b'one' b'two\nthree'"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass\r\n", b"pass"),
        ("pass\n", b"pass"),
        ("pass", b"pass"),
        ("pass\r", b"pass\r"),
        ("p\u00e4ss\n\n", "p\u00e4ss".encode()),
        ("\n", b""),
        ("\r\n", b""),
    ],
)
def test_another_object_stands_there(text: str, expected: bytes) -> None:
    code = f"sys.stdin = io.StringIO({text!a}, newline='')\nprint(bytes(secalloc.getpass()))"
    assert piped(code) == repr(expected)


@pytest.mark.parametrize(
    "setup",
    [
        "sys.stdin = None",
        "sys.stdin.close()",
        "sys.stdin.detach()",
        "sys.stdin = io.StringIO()",
        "sys.stdin.read()",
        "sys.stdin = None; sys.stderr = None",
        "sys.stderr = None",
    ],
)
def test_there_is_nothing_to_ask(setup: str) -> None:
    code = f"""
kept = sys.stdin
{setup}
try: secalloc.getpass()
except EOFError as error: print("end")
"""
    assert piped(code) == "end"


def test_without_a_terminal_it_warns_the_caller() -> None:
    code = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    line = sys._getframe().f_lineno + 1
    print(bytes(secalloc.getpass("caf\\u00e9? ")))
assert [(w.category.__name__, w.lineno) for w in caught] == [("GetPassWarning", line)]
warnings.simplefilter("error")
try: secalloc.getpass()
except UserWarning as error: print(type(error).__name__, os.read(0, 100))
"""
    out = piped(code, b"one\ntwo", PYTHONIOENCODING="ascii:strict")
    assert out == "b'one'\nGetPassWarning b'two'"


def test_a_text_that_only_we_hold_is_zeroed() -> None:
    from secalloc import _core  # noqa: PLC0415

    for text, zeroed in (("secret of a front end", True), ("x", False), ("", False)):
        box = {0: "".join(text)}
        if len(text) > 1:
            box = {0: (text + "\n")[:-1]}
        assert _core._scrub(box, 0) == zeroed
        assert box == {}
    held = "".join(["held by", " another"])
    assert not _core._scrub({0: held}, 0)
    assert held == "held by another"


# ---- a notebook -----------------------------------------------------------------------


def test_in_a_notebook_the_front_end_asks() -> None:
    """One that is made up, and a terminal or standard input is not looked at."""
    code = """
import types
asked = []
class Kernel:
    def getpass(self, prompt="", stream=None):
        asked.append(prompt)
        return "".join(["from the", " front end"])
shell = types.SimpleNamespace(kernel=Kernel())
sys.modules["IPython"] = types.SimpleNamespace(get_ipython=lambda: shell)
print(bytes(secalloc.getpass("Which? ")), asked)
del shell.kernel  # IPython in a terminal
print(bytes(secalloc.getpass("Which? ")), asked)
"""
    out = piped(code, b"typed\n")
    assert out == "b'from the front end' ['Which? ']\nb'typed' ['Which? ']"


def test_in_jupyters_kernel(tmp_path: Path) -> None:
    manager = pytest.importorskip("jupyter_client", reason="jupyter_client is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    kernel, client = manager.manager.start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        client.execute(
            "import secalloc; print(bytes(secalloc.getpass('Which? ')))", allow_stdin=True
        )
        asked = client.get_stdin_msg(timeout=60)["content"]
        assert asked == {"prompt": "Which? ", "password": True}
        client.input("typed in a notebook")
        seen = ""
        while "typed" not in seen:
            message = client.get_iopub_msg(timeout=60)
            assert message["msg_type"] != "error", message["content"]
            seen += message["content"].get("text", "")
        assert seen == "b'typed in a notebook'\n"
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)


# ---- twice, and with signs -------------------------------------------------------------


def at_terminal(call: str) -> Typist:
    return Typist(
        "import secalloc, os\n"
        f"try: print('got', bytes({call}))\n"
        "except BaseException as error: print(type(error).__name__, error)\n"
    )


@pytest.mark.parametrize(
    ("second", "answer"),
    [
        ("h\u00e9llo\n", b"got b'h\\xc3\\xa9llo'"),
        ("hallo\n", b"ValueError the two"),
        ("\x04", b"EOFError"),
    ],
)
def test_confirm_asks_twice(second: str, answer: bytes) -> None:
    terminal = at_terminal("secalloc.getpass(confirm=True)")
    terminal.expect(b"Password: ")
    terminal.settles((False, False))
    terminal.type("h\u00e9llo\n".encode())
    terminal.expect(b"Again: ")
    terminal.settles((False, False))
    terminal.type(second.encode())
    terminal.expect(answer)
    assert terminal.end() == 0


def test_what_was_to_be_confirmed_leaves_nothing() -> None:
    out = piped(
        """
before = secalloc.status()[:2]
for _ in range(2):
    try: print(bytes(secalloc.getpass(confirm=True)))
    except (ValueError, EOFError) as error: print(type(error).__name__)
assert secalloc.status()[:2] == before
try: secalloc.getpass(confirm=True)
except EOFError: print("end")
assert secalloc.status()[:2] == before
""",
        b"one\none\none\ntwo\nlast\n",
    )
    assert out.split("\n") == ["b'one'", "ValueError", "end"]


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (b"abc\n", b"***"),
        (b"ab\x7fc\n", b"**\b \b*"),
        ("\u00e9\u20ac\n".encode(), b"**"),
        ("\u00e9\x7fx\n".encode(), b"*\b \b*"),
        (b"ab cd\x17\n", b"*****\b \b\b \b"),
        (b"abc\x15d\n", b"***\b \b\b \b\b \b*"),
        (b"a\x16\x15b\n", b"***"),
        (b"\x7f\n", b""),
    ],
)
def test_a_sign_for_each_character(typed: bytes, shown: bytes) -> None:
    terminal = at_terminal("secalloc.getpass(echo_char='*')")
    terminal.expect(b"Password: ")
    terminal.settles((False, False))
    terminal.type(typed)
    assert terminal.expect(b"got ").strip(b"\r\n") == shown
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("", ValueError),
        ("**", ValueError),
        ("\n", ValueError),
        ("\u2022", ValueError),
        (5, TypeError),
    ],
)
def test_signs_that_are_none(bad: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="echo_char"):
        secalloc.getpass(echo_char=bad)


def test_without_a_terminal_no_sign_is_shown() -> None:
    assert piped("print(bytes(secalloc.getpass(echo_char='*')))", b"typed\n") == "b'typed'"
