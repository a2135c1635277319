"""Where secrets come from: what arrives, what is refused, and that nothing stays behind."""

import base64
import binascii
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import check, linux_only, spy
from typist import Typist

import secalloc
import secalloc.residue
from secalloc import Arena, Protection, WipedError

SIZES = [*range(20), 255, 256, 257, 1000, 5000, 300_000]

# ---- hex and base64 ----------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_codecs_agree_with_the_standard_library(size: int) -> None:
    data = os.urandom(size)
    with Arena(data) as arena:
        for source in (data, arena, arena[:], bytearray(data), memoryview(data)):
            assert secalloc.hexlify(source) == binascii.hexlify(data)
            assert secalloc.b64encode(source) == base64.b64encode(data)
            assert secalloc.b64encode(source, urlsafe=True) == base64.urlsafe_b64encode(data)
    for text in (data.hex(), data.hex().upper(), data.hex(" "), f"\t{data.hex()}\n"):
        for form in (text, text.encode(), Arena(text.encode()), bytearray(text.encode())):
            assert secalloc.fromhex(form) == data
    standard, safe = base64.b64encode(data), base64.urlsafe_b64encode(data)
    for form in (standard, standard.decode(), Arena(standard)):
        assert secalloc.b64decode(form) == data
    for token in (safe, safe.rstrip(b"="), b"\n".join((safe[:5], safe[5:].rstrip(b"="), b" "))):
        assert secalloc.b64decode(token.decode(), urlsafe=True) == data
    lines = b" ".join((standard[:7], b"\t", standard[7:], b"\r\n"))
    assert secalloc.b64decode(base64.encodebytes(data)) == data
    assert secalloc.b64decode(lines) == data
    for gap in (1, 2, 3):
        part = standard[:4000]
        spaced = b" ".join(part[i : i + gap] for i in range(0, len(part), gap))
        assert secalloc.b64decode(spaced) == data[:3000]


def test_every_byte_as_a_digit() -> None:
    """Just the digits that the standard library takes, in each place."""
    for byte in range(256):
        for text in (bytes([byte, 0x30]), bytes([0x30, byte])):
            try:
                expected: bytes | None = bytes.fromhex(text.decode("latin-1"))
            except ValueError:
                expected = None
            outcome(secalloc.fromhex, text, expected)
        for place in range(4):
            letters = bytearray(b"QUJD")
            letters[place] = byte
            try:
                expected = base64.b64decode(letters, validate=True)
            except ValueError:
                expected = None
            if byte == 0x3D or bytes([byte]).isspace():
                continue  # padding, and what is passed over: tried below
            outcome(secalloc.b64decode, bytes(letters), expected)


def outcome(decode: Callable[[bytes], Arena], text: bytes, expected: bytes | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"position|after"):
            decode(text)
    else:
        assert decode(text) == expected


def safe_base64(text: str) -> Arena:
    return secalloc.b64decode(text, urlsafe=True)


BAD = [
    (secalloc.fromhex, "0", 1),
    (secalloc.fromhex, "abc", 3),
    (secalloc.fromhex, "0g", 1),
    (secalloc.fromhex, "12 3 f", 4),
    (secalloc.fromhex, "1234zz", 4),
    (secalloc.fromhex, "12\u00e9\u00e9", 2),
    (secalloc.fromhex, "0x12", 1),
    (secalloc.b64decode, "A", 1),
    (secalloc.b64decode, "QUI", 3),
    (secalloc.b64decode, "QUI\n", 4),
    (secalloc.b64decode, "Q U J D A", 9),
    (secalloc.b64decode, " QU-D", 3),
    (secalloc.b64decode, "QUI=QUI=", 3),
    (safe_base64, "QUJDA", 5),
    (safe_base64, "QUI==", 3),
    (safe_base64, "QU+D", 2),
    (secalloc.b64decode, "QUJD=", 4),
    (secalloc.b64decode, "=", 0),
    (secalloc.b64decode, "QU-_", 2),
    (secalloc.b64decode, "QUJ\u20ac", 3),
    (secalloc.encode, "ab\ud800", 2),
    (secalloc.encode, "\udfffab", 0),
]


@pytest.mark.parametrize(("call", "text", "position"), BAD)
def test_bad_text_is_named_by_its_position(
    call: Callable[[str], Arena], text: str, position: int
) -> None:
    before = secalloc.status()
    with pytest.raises(ValueError, match=rf"\b(position|after) {position}\b") as caught:
        call(text)
    assert not any(part in str(caught.value) for part in (text, text[position:]) if len(part) > 1)
    assert caught.value.__context__ is None
    assert secalloc.status()[:2] == before[:2]


@pytest.mark.parametrize("name", ["fromhex", "b64decode", "encode", "hexlify", "b64encode"])
@pytest.mark.parametrize("bad", [None, 1, 1.5, ["ab"]])
def test_what_is_no_text_is_a_type_error(name: str, bad: Any) -> None:
    with pytest.raises(TypeError):
        getattr(secalloc, name)(bad)


def test_bytes_are_not_encoded_and_text_is_not_hexlified() -> None:
    encode: Any = secalloc.encode
    hexlify: Any = secalloc.hexlify
    with pytest.raises(TypeError):
        encode(b"x")
    with pytest.raises(TypeError, match="encode"):
        hexlify("x")


def test_a_wiped_source() -> None:
    arena = Arena(b"00ff")
    arena.clear()
    for call in (secalloc.fromhex, secalloc.b64decode, secalloc.hexlify, secalloc.b64encode):
        with pytest.raises(WipedError):
            call(arena)


@pytest.mark.parametrize("text", ["", "a", "h\u00e9", "\u20ac" * 300, "x\U0001f600" * 100, "\x00"])
def test_encode(text: str) -> None:
    assert secalloc.encode(text) == text.encode()


# ---- files -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000, 3_000_000])
def test_read_a_file(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    path = tmp_path / "key"
    path.write_bytes(data)
    for where in (path, str(path), os.fsencode(path)):
        assert secalloc.read(where) == data
    assert secalloc.read(path, size) == data
    assert secalloc.read(path, size // 2) == data[: size // 2]
    with pytest.raises(EOFError, match=rf"\b{size}\b"):
        secalloc.read(path, size + 1)
    with path.open("rb", buffering=0) as file:
        file.seek(size // 3)
        assert secalloc.read(file.fileno()) == data[size // 3 :]
        assert not file.closed


@pytest.mark.parametrize("size", [0, 1, 5000, 200_000])
def test_read_a_pipe_a_socket_and_a_named_pipe(size: int, tmp_path: Path) -> None:
    data = os.urandom(size)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    def feed(fd: int) -> None:
        with open(fd, "wb", buffering=0) as file:
            at = 0
            while at < size:
                at += file.write(data[at : at + 700])

    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    for source, sink in ((read_end, write_end), (ours.detach(), theirs.detach())):
        thread = threading.Thread(target=feed, args=[sink])
        thread.start()
        assert secalloc.read(source) == data
        thread.join()
        os.close(source)
    thread = threading.Thread(target=lambda: feed(os.open(fifo, os.O_WRONLY)))
    thread.start()
    assert secalloc.read(fifo, size) == data
    thread.join()


def open_directly(path: Path) -> int:
    """Without the kernel's cache, so that it stores into our pages itself."""
    if not hasattr(os, "O_DIRECT"):
        pytest.skip("this platform has no O_DIRECT")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            os.preadv(fd, [page], 0)
    except OSError as error:
        pytest.skip(f"this file system does not do O_DIRECT: {error}")
    return fd


@pytest.mark.parametrize("size", [0, 32, 4096, 8192, 100_003])
def test_read_past_the_cache(size: int, tmp_path: Path) -> None:
    """Where the kernel has to pin the pages that it stores into, as it cannot do to secretmem."""
    data = os.urandom(size)
    path = tmp_path / "key"
    path.write_bytes(data)
    fd = open_directly(path)
    try:
        with Arena(mmap.PAGESIZE, align=mmap.PAGESIZE) as page:
            if size and page.protection & Protection.SECRETMEM:
                with pytest.raises(OSError, match="Bad address"):  # the control
                    os.preadv(fd, [page], 0)
        for ask in (None, size, min(size, 32)):
            os.lseek(fd, 0, os.SEEK_SET)
            with secalloc.read(fd, ask) as arena:
                assert arena == (data if ask is None else data[:ask])
            assert os.lseek(fd, 0, os.SEEK_CUR) == (size if ask is None else ask)
    finally:
        os.close(fd)


def test_residue_of_a_read_past_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "key"
    command = ["dd", "if=/dev/urandom", f"of={path}", "bs=500", "count=1", "status=none"]
    subprocess.run(command, check=True)  # noqa: S603
    fd = open_directly(path)
    with secalloc.read(fd) as arena:
        assert len(arena) == 500
        assert secalloc.residue.find(arena) == []
    os.close(fd)


@linux_only
def test_what_pins_pages_fails_on_secretmem() -> None:
    """As the docs say; a MSG_ZEROCOPY that the socket did not ask for is an ordinary send."""
    with (
        socket.create_server(("127.0.0.1", 0)) as ours,
        socket.create_connection(ours.getsockname()) as sender,
        secalloc.random(32) as key,
    ):
        zerocopy = 0x4000000  # MSG_ZEROCOPY, 4.14
        assert sender.send(key, zerocopy) == 32
        try:
            sender.setsockopt(socket.SOL_SOCKET, 60, 1)  # SO_ZEROCOPY
        except OSError as error:
            pytest.skip(f"this kernel has no SO_ZEROCOPY: {error}")
        assert sender.send(bytes(32), zerocopy) == 32  # the control
        if not key.protection & Protection.SECRETMEM:
            pytest.skip("there is no secretmem to be had")
        with pytest.raises(OSError, match="Bad address"):
            sender.send(key, zerocopy)


def test_read_standard_input() -> None:
    code = "import sys, secalloc; sys.exit(secalloc.read('/dev/stdin') != b'from the pipe')"
    read_end, write_end = os.pipe()
    os.write(write_end, b"from the pipe")
    os.close(write_end)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-c", code],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, read_end, 0)],
    )
    os.close(read_end)
    assert os.waitpid(pid, 0)[1] == 0


def test_what_cannot_be_read(tmp_path: Path) -> None:
    before, open_before = secalloc.status(), len(os.listdir("/dev/fd"))
    with pytest.raises(IsADirectoryError):
        secalloc.read(tmp_path)
    with pytest.raises(FileNotFoundError):
        secalloc.read(tmp_path / "missing")
    with pytest.raises(OSError, match="descriptor"):
        secalloc.read(987654)
    with pytest.raises(ValueError, match="negative"):
        secalloc.read(tmp_path, -1)
    read: Any = secalloc.read
    for bad in (True, None, 1.5):
        with pytest.raises(TypeError):
            read(bad)
    with pytest.raises(TypeError):
        secalloc.read(tmp_path, True)
    for size in (1.5, "3", array("B", [3])):  # the last would be copied by Arena()
        with pytest.raises(TypeError, match="integer"):
            read("/dev/zero", size)
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.write(write_end, b"part of it")
    with pytest.raises(BlockingIOError):
        secalloc.read(read_end)
    os.close(read_end)
    os.close(write_end)
    assert secalloc.status()[:2] == before[:2]
    assert len(os.listdir("/dev/fd")) == open_before


# ---- the environment ---------------------------------------------------------------------


def test_getenv_consumes() -> None:
    token = "t\u00f6ken".encode()
    os.environb[b"SECALLOC_VALUE"] = token
    kept = secalloc.getenv("SECALLOC_VALUE", consume=False)
    assert kept == token
    assert os.environb[b"SECALLOC_VALUE"] == token
    assert secalloc.getenv(b"SECALLOC_VALUE") == kept
    assert "SECALLOC_VALUE" not in os.environ
    assert b"SECALLOC_VALUE" not in os.environb
    assert secalloc.getenv("SECALLOC_VALUE") is None
    for value in ("", "x"):
        os.environ["SECALLOC_VALUE"] = value
        assert secalloc.getenv("SECALLOC_VALUE") == value.encode()
    os.environ["OTHER"] = "x"
    assert os.environ["OTHER"] == "x"
    del os.environ["OTHER"]


def test_a_value_that_the_program_holds_is_left_alone() -> None:
    os.environ["SECALLOC_VALUE"] = "held by another"
    held = os.environb[b"SECALLOC_VALUE"]
    assert secalloc.getenv("SECALLOC_VALUE") == b"held by another"
    assert held == b"held by another"


@pytest.mark.parametrize("bad", ["", "A=B", "A\0B", b"=", None, 1])
def test_bad_names(bad: Any) -> None:
    with pytest.raises(TypeError if not isinstance(bad, str | bytes) else ValueError):
        secalloc.getenv(bad)


@linux_only
def test_the_environ_file() -> None:
    out = check(
        """
        mine = lambda: b"secret-of-the-parent" in open("/proc/self/environ", "rb").read()
        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_char_p
        print(mine(), libc.getenv(b"FROM_OUTSIDE") is not None)
        print(secalloc.getenv("FROM_OUTSIDE") == b"secret-of-the-parent")
        print(mine(), libc.getenv(b"FROM_OUTSIDE"))
        print(b"OTHER=stays" in open("/proc/self/environ", "rb").read())
        """,
        env={"FROM_OUTSIDE": "secret-of-the-parent", "OTHER": "stays"},
    )
    assert out.split() == ["True", "True", "True", "False", "None", "True"]


# Begins with an environment that a dict cannot hold, and looks at it as others see it.
MOVED = """
import ctypes, os, sys
if sys.argv[1:] == ["again"]:
    import secalloc
    getenv = secalloc.getenv  # before its module cannot be found
    file = os.open("/proc/self/environ", os.O_RDONLY)  # stays when /proc is gone
    def shown():
        data = b"".join(os.pread(file, 4096, at) for at in range(0, 65536, 4096))
        return sorted(e for e in data.split(bytes(1)) if b"TOKEN" in e)
    before = shown()
    {moved}
    got = getenv("TOKEN")
    print(before, None if got is None else bytes(got), shown(), os.environ.get("TOKEN"))
    sys.exit(0)
entries = [b"PATH=/bin", *{entries!r}, b"LAST=1"]
entries += [os.fsencode(f"{{k}}={{os.environ[k]}}") for k in ("PYTHONPATH",) if k in os.environ]
arguments = [os.fsencode(a) for a in (sys.executable, "-P", "-W", "ignore", *{script!r}, "again")]
listed = lambda items: (ctypes.c_char_p * (len(items) + 1))(*items, None)
ctypes.CDLL(None).execve(arguments[0], listed(arguments), listed(entries))
"""
ENTRIES = [b"ATOKEN=other", b"TOKEN=first one", b"TOKENS=more", b"TOKEN=second one",
           b"OTHER=TOKEN=not an entry"]  # fmt: skip
KEPT = [b"ATOKEN=other", b"OTHER=TOKEN=not an entry", b"TOKEN=", b"TOKEN=", b"TOKENS=more"]


@linux_only
@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        ("pass", b"first one"),
        ("os.environ['TOKEN'] = 'set anew'", b"set anew"),
        ("os.putenv('TOKEN', 'set anew')", b"set anew"),
        ("os.environ['NEW'] = 'moves the list'", b"first one"),
        ("del os.environ['TOKEN']", None),
        ("os.chroot(os.path.dirname(__file__))", b"first one"),
    ],
)
def test_the_environ_file_where_the_entry_was_moved_or_doubled(
    moved: str, expected: bytes | None, tmp_path: Path
) -> None:
    if "chroot" in moved and os.geteuid() != 0:
        pytest.skip("chroot is root's")
    script = tmp_path / "script.py"
    script.write_text(MOVED.format(moved=moved, entries=ENTRIES, script=[str(script)]))
    import subprocess  # noqa: PLC0415

    end = subprocess.run(  # noqa: S603
        [sys.executable, "-P", str(script)], capture_output=True, check=False, timeout=60
    )
    assert end.returncode == 0, end
    assert end.stdout.decode().strip() == f"{sorted(ENTRIES)!r} {expected!r} {KEPT!r} None"


@linux_only
def test_an_entry_that_cannot_be_written() -> None:
    """As of a literal that a C library gave to putenv."""
    out = check(
        """
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        page = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, ctypes.c_long(0))
        ctypes.memmove(page, b"TOKEN=a literal", 15)
        assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(4096), 1) == 0
        assert libc.putenv(ctypes.c_void_p(page)) == 0
        print(bytes(secalloc.getenv("TOKEN")), secalloc.getenv("TOKEN"))
        """
    )
    assert out == "b'a literal' None"


# ---- what stays behind -------------------------------------------------------------------

MASK = 0x5A
RESIDUE = """
spy = ctypes.CDLL({spy!r})
spy.spy_copies.restype = ctypes.c_long
masked = bytes.fromhex({masked!r})
def copies():
    import gc
    gc.collect()
    return spy.spy_copies(masked, ctypes.c_size_t(len(masked)))
"""


def residue(secret: bytes, setup: str, ours: str, control: str, **options: Any) -> None:
    """After `ours` no copy is found; after `control`, the standard library's way, one is."""
    head = RESIDUE.format(spy=spy(), masked=bytes(b ^ MASK for b in secret).hex())
    for code, expected in ((ours, "none"), (control, "some")):
        verdict = "print('some' if copies() else 'none')"
        assert check(f"{head}\n{setup}\n{code}\n{verdict}", **options) == expected


@linux_only
def test_residue_of_read(tmp_path: Path) -> None:
    secret = os.urandom(1024)
    (tmp_path / "key").write_bytes(secret)
    path = str(tmp_path / "key")
    residue(
        secret,
        "",
        f"kept = secalloc.read({path!r}); secalloc.read({path!r}).close()",
        f"kept = open({path!r}, 'rb').read()",
    )


@linux_only
def test_residue_of_the_decoders() -> None:
    secret = os.urandom(1024)
    for name, text, control in (
        ("fromhex", secret.hex(), "bytes.fromhex(text)"),
        ("b64decode", base64.b64encode(secret).decode(), "__import__('base64').b64decode(text)"),
    ):
        ours = f"kept = secalloc.{name}(text); secalloc.{name}(text.encode()).close()"
        residue(secret, f"text = {text!r}", ours, f"kept = {control}")


@linux_only
def test_residue_of_the_encoders() -> None:
    """The needle is the text; its source is in an arena."""
    for name, control, encoded in (
        ("hexlify", "binascii.hexlify(arena)", binascii.hexlify),
        ("b64encode", "binascii.b2a_base64(arena)", base64.b64encode),
    ):
        secret = os.urandom(768)
        setup = f"import binascii\narena = secalloc.fromhex({secret.hex()[::-1]!r}[::-1])"
        if name == "hexlify":  # its text is the very needle: bring it in masked
            setup = (
                "import binascii\narena = Arena(768)\n"
                f"for i, b in enumerate(bytes.fromhex({bytes(b ^ 1 for b in secret).hex()!r})):"
                " arena[i] = b ^ 1"
            )
        residue(encoded(secret), setup, f"kept = secalloc.{name}(arena)", f"kept = {control}")


@linux_only
def test_residue_of_encode() -> None:
    """A str of one byte a character, whose UTF-8 is another text."""
    text = "".join(chr(0xC0 + b % 64) for b in os.urandom(600))
    residue(
        text.encode(),
        f"text = bytes.fromhex({text.encode('latin-1').hex()!r}).decode('latin-1')",
        "kept = secalloc.encode(text)",
        "kept = text.encode()",
    )


@linux_only
def test_residue_of_getenv() -> None:
    secret = base64.b64encode(os.urandom(768))
    residue(
        secret,
        "",
        "kept = secalloc.getenv('TOKEN')",
        "kept = os.environ.pop('TOKEN')",
        env={"TOKEN": secret.decode()},
    )


# ---- the terminal -------------------------------------------------------------------------

TYPIST = """
import secalloc, os, sys, signal
{setup}
try:
    arena = secalloc.getpass("Secret: ")
    print("got", secalloc.hexlify(arena) == {expected!r}, len(arena))
except BaseException as error:
    print(type(error).__name__)
{after}
"""


class Terminal(Typist):
    """A program that asks for a secret, and says whether it is the one expected."""

    def __init__(self, expected: str = "", setup: str = "", after: str = "") -> None:
        text = expected.encode().hex().encode()
        super().__init__(TYPIST.format(setup=setup, expected=text, after=after))

    def echo(self) -> bool:
        return self.flags()[0]


def test_getpass_reads_a_line() -> None:
    terminal = Terminal("h\u00e9llo w\u00f6rld")
    seen = terminal.expect(b"Secret: ")
    assert not terminal.echo()
    terminal.type("h\u00e9llo w\u00f6rld\n".encode())
    seen += terminal.expect(b"got True")
    assert terminal.echo()
    assert terminal.end() == 0
    assert b"llo" not in seen + terminal.seen


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"abX\x7fc\r", "abc"),
        (b"abX\x08c\n", "abc"),
        ("ab\u00e9\x7fc\n".encode(), "abc"),
        (b"wrong\x15right\n", "right"),
        (b"\x7f\x7fok\n", "ok"),
        (b"end\x04", "end"),
        (b"\n", ""),
    ],
)
def test_editing_keys(typed: bytes, expected: str) -> None:
    terminal = Terminal(expected)
    terminal.expect(b"Secret: ")
    terminal.type(typed)
    terminal.expect(b"got True")
    assert terminal.end() == 0


def test_a_line_longer_than_any_buffer() -> None:
    line = "0123456789abcdef" * 1250
    terminal = Terminal(line)
    terminal.expect(b"Secret: ")
    terminal.type(line.encode() + b"\n")
    terminal.expect(b"got True 20000")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("setup", "typed", "expected"),
    [
        ("", b"par\x03", b"KeyboardInterrupt"),
        (  # the signal goes to another thread, and interrupts nothing here
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])",
            b"par\x03",
            b"KeyboardInterrupt",
        ),
        ("", b"\x04", b"EOFError"),
        (
            "def late(*_): raise TimeoutError\n"
            "signal.signal(signal.SIGALRM, late); signal.alarm(1)",
            b"par",
            b"TimeoutError",
        ),
    ],
)
def test_the_echo_is_on_again(setup: str, typed: bytes, expected: bytes) -> None:
    terminal = Terminal(setup=setup, after="input()")
    terminal.expect(b"Secret: ")
    assert not terminal.echo()
    terminal.type(typed)
    terminal.expect(expected)
    assert terminal.echo()
    terminal.type(b"\n")
    assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM, signal.SIGQUIT])
def test_the_echo_is_on_again_after_a_fatal_signal(number: signal.Signals, tmp_path: Path) -> None:
    setup = f"""
a = secalloc.Arena(1)
if os.fork() > 0: os._exit(os.wait()[1] & 127)
with open({str(tmp_path / "pid")!r}, "w") as file: file.write(str(os.getpid()))
"""
    terminal = Terminal(setup=setup)
    terminal.expect(b"Secret: ")
    assert not terminal.echo()
    terminal.type(b"part")
    os.kill(int((tmp_path / "pid").read_text()), number)
    for _ in range(300):
        if terminal.echo():
            break
        time.sleep(0.1)
    assert terminal.echo()
    assert terminal.end() == number


@linux_only
def test_residue_of_getpass() -> None:
    text = "".join("abcdefghijklmnop"[b % 16] for b in os.urandom(1024))
    masked = bytes(b ^ MASK for b in text.encode()).hex()
    for module, expected in (("secalloc", b"none"), ("getpass", b"some")):
        setup = "import ctypes\n" + RESIDUE.format(spy=spy(), masked=masked)
        setup += f"import {module} as module\n"
        code = "kept = module.getpass()\nprint('some' if copies() else 'none')\nos._exit(0)"
        terminal = Terminal(setup=setup + code)
        terminal.expect(b"Password: ")
        terminal.type(text.encode() + b"\n")
        terminal.expect(expected)
        terminal.end()


def test_without_a_terminal() -> None:
    code = (
        "import os, sys, warnings, secalloc\n"
        "os.setsid()\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    first = secalloc.getpass('Which? ')\n"
        "print([w.category.__name__ for w in caught], bytes(first), bytes(secalloc.getpass()))\n"
        "try: secalloc.getpass()\n"
        "except EOFError: print('end')\n"
    )
    import subprocess  # noqa: PLC0415

    end = subprocess.run(  # noqa: S603
        [
            sys.executable,
            "-P",
            "-W",
            "ignore",
            "-c",
            f"import os\nif os.fork(): os._exit(os.wait()[1])\n{code}",
        ],
        input=b"one\r\ntwo",
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert end.stdout == b"['GetPassWarning'] b'one' b'two'\nend\n", end
    assert end.stderr.startswith(b"Which? ")


def test_nothing_of_getpass_stays_open() -> None:
    setup = "fds = lambda: os.listdir('/dev/fd'); before = fds()"
    after = "print('same' if len(fds()) == len(before) else 'more', secalloc.status().arenas)"
    terminal = Terminal("x" * 500, setup, f"arena.close()\n{after}")
    terminal.expect(b"Secret: ")
    terminal.type(b"x" * 500 + b"\n")
    terminal.expect(b"same 0")
    assert terminal.end() == 0


def test_a_prompt_is_a_str() -> None:
    getpass: Any = secalloc.getpass
    with pytest.raises(TypeError):
        getpass(b"x")
