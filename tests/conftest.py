"""Tests the installed library, never the tree it is built from."""

import datetime
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
TREE = TESTS.parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != TREE]
for _folder in (*sorted(p for p in TESTS.iterdir() if any(p.glob("*.py"))), TESTS):
    if str(_folder) not in sys.path:
        sys.path.insert(0, str(_folder))

for _name in ("FORCE_COLOR", "NO_COLOR"):  # a test sets what it looks at
    os.environ.pop(_name, None)

import crash  # noqa: E402
from support import TRIALS, crypto, spy  # noqa: E402

import secalloc  # noqa: E402

if Path(secalloc.__file__).resolve().is_relative_to(TREE / "secalloc"):
    raise pytest.UsageError(f"secalloc is imported from the tree, {secalloc.__file__}: install it")


@pytest.fixture(autouse=True)
def nowhere() -> Iterator[None]:
    """Keeps markers off the terminal."""
    secalloc.set_lockdown_fd(None)
    yield
    secalloc.set_lockdown_fd(None)


TASKS = "/proc/self/task"
SHORTLY = 2.0
"""Seconds at most: a test may leave a thread on purpose."""


@pytest.fixture(autouse=True)
def alone(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets the threads of a channel end before the next test counts threads and descriptors. It
    judges nothing."""
    if request.path.parent.name != "channel" or not os.path.isdir(TASKS):
        yield
        return
    before = len(os.listdir(TASKS))
    yield
    end = time.monotonic() + SHORTLY
    while len(os.listdir(TASKS)) > before and time.monotonic() < end:
        time.sleep(0.005)


class Marker:
    """The reading end of this process's lockdown descriptor."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        secalloc.set_lockdown_fd(self.write)

    def take(self) -> bytes:
        """What has come since the last look."""
        try:
            return os.read(self.read, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        secalloc.set_lockdown_fd(None)
        os.close(self.read)
        os.close(self.write)


@pytest.fixture
def marker() -> Iterator[Marker]:
    """Where this process's markers go during a test."""
    pipe = Marker()
    yield pipe
    pipe.close()


@pytest.fixture(params=["own pages", "pooled"])
def make(request: pytest.FixtureRequest) -> Callable[..., secalloc.Arena]:
    """What makes an arena with that many bytes of SECRET: on pages of its own, and in a pool."""
    if request.param == "own pages":
        return crash.secret
    pool = secalloc.Pool()
    neighbours: list[secalloc.Arena] = []

    def between_two_others(size: int = len(crash.SECRET)) -> secalloc.Arena:
        before, arena, after = (pool.alloc(crash.content(size)) for _ in range(3))
        neighbours.extend((before, after))
        return arena

    return between_two_others


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for localhost with its key."""
    x509, ec = crypto("x509"), crypto("hazmat.primitives.asymmetric.ec")
    hashes = crypto("hazmat.primitives.hashes")
    serialization = crypto("hazmat.primitives.serialization")
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:  # as in a shell's background
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those that search this process: it grows with each test that ran before, and a
    search takes as long as there is memory."""
    items.sort(key=lambda item: "residue" not in item.path.parts)


def pytest_configure(config: pytest.Config) -> None:
    """An ordinary user's lock limit is soon reached; test_limits.py looks at the warning."""
    config.addinivalue_line("filterwarnings", "ignore::secalloc.ProtectionWarning")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how often the things that depend on chance were tried."""
    terminalreporter.write_line(f"races and orders: {TRIALS} trials each (SECALLOC_TRIALS)")


def pytest_sessionfinish() -> None:
    """Remove the compiled observer."""
    if spy.cache_info().currsize:
        shutil.rmtree(Path(spy()).parent, ignore_errors=True)
