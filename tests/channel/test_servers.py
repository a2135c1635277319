"""Workers that other libraries start, and processes that gevent and eventlet patched.

`make check-workers` installs what they need, and runs them.
"""

import hashlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from channel_children import SOON, variables
from support import linux_only

pytestmark = [
    linux_only,
    pytest.mark.skipif("SECALLOC_LONG" not in os.environ, reason="make check-workers runs it"),
]

KEY = b"the key of these tests, 32 bytes"
DIGEST = hashlib.sha256(KEY).hexdigest()


def write(folder: Path, **files: str) -> None:
    """Modules by their names."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))


@contextmanager
def running(folder: Path, *command: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A program there; ended at last with all that it started, and what it said is shown where
    the test fails."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=folder,
            env=variables(KEY=KEY.decode(), HOME=str(folder)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield process
        process.terminate()
        process.wait(SOON)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that outlive their parent, too
        process.wait()
        print(log.read_text())


class Local(http.client.HTTPConnection):
    """HTTP over a socket with a name."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        """As the class it is of."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(path: Path) -> list[str]:
    """What a worker answers, once one does: its key's digest, and its process."""
    end = time.monotonic() + SOON
    while True:
        with suppress(OSError, http.client.HTTPException), closing(Local(path)) as connection:
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read().decode().split()
            if answer.status == 200:
                return body
        assert time.monotonic() < end, "no answer"
        time.sleep(0.05)


def until(true: Callable[[], Any]) -> None:
    """Wait for that."""
    end = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def two_and_a_third(path: Path, events: Path) -> None:
    """Two workers have the key; one falls, its parent hears of it, and another has it."""
    seen: set[str] = set()

    def both() -> bool:
        with ThreadPoolExecutor(4) as pool:  # or one would answer all
            for digest, pid in pool.map(ask, [path] * 4):
                assert digest == DIGEST
                seen.add(pid)
        return len(seen) >= 2

    until(both)
    fallen = seen.pop()
    os.kill(int(fallen), signal.SIGSEGV)
    until(lambda: f"FATAL {fallen}\n" in events.read_text())
    until(lambda: ask(path)[1] not in (fallen, *seen))
    assert events.read_text().count("ADOPTED") >= 3


FILES = dict(
    re.findall(
        r"^```python\n# (\w+)\.py\n(.*?)^```$",
        (Path(__file__).parents[2] / "docs" / "workers.md").read_text(),
        re.M | re.S,
    )
)
"""Those of the guide."""


@pytest.mark.parametrize("preload", [False, True])
def test_gunicorn(preload: bool, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    write(
        tmp_path,
        keys=FILES["keys"],
        app="""
        import hashlib, os, time, keys
        def app(environ, start_response):
            time.sleep(0.05)
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [f"{hashlib.sha256(keys.key).hexdigest()} {os.getpid()}".encode()]
        """,
    )
    write(tmp_path, gunicorn_conf=FILES["gunicorn_conf"] + f"\npreload_app = {preload}\n")
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", "gunicorn_conf.py", "app:app"]
    with running(tmp_path, *gunicorn):
        two_and_a_third(tmp_path / "socket", tmp_path / "events")


def test_uvicorn(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    write(tmp_path, keys=FILES["keys"], serve=FILES["serve"])
    with running(tmp_path, sys.executable, "serve.py"):
        two_and_a_third(tmp_path / "socket", tmp_path / "events")


def test_celery(tmp_path: Path) -> None:
    pytest.importorskip("celery")
    write(
        tmp_path,
        keys=FILES["keys"],
        # In a task: one that waits for work may hold the lock of the queue that all have.
        tasks=FILES["tasks"] + "\n@app.task\ndef fall():\n    os.kill(os.getpid(), 11)\n",
        client=f"""
        from tasks import digest, fall
        seen = set()
        while len(seen) < 2:
            answer, pid = digest.delay().get(timeout={SOON})
            assert answer == {DIGEST!r}, answer
            seen.add(pid)
        fall.delay()
        while pid in seen:
            answer, pid = digest.delay().get(timeout={SOON})
            assert answer == {DIGEST!r}, answer
        """,
    )
    celery = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", "prefork"]
    with running(tmp_path, *celery, "--concurrency", "2", "--loglevel", "INFO"):
        client = subprocess.run(
            [sys.executable, "client.py"],
            cwd=tmp_path,
            env=variables(),
            capture_output=True,
            text=True,
            timeout=SOON / 2,
            check=False,
        )
        assert client.returncode == 0, client.stderr
        events = tmp_path / "events"
        until(lambda: [events.read_text().count(kind) for kind in ("ADOPTED", "FATAL")] == [3, 1])


PATCHED = """
import hashlib, subprocess, sys, time
import secalloc

CHILD = '''
PATCH
import hashlib, time
import secalloc
key, ran, renewed = secalloc.adopt("key"), [], []
def renew(name):
    with secalloc.adopt(name) as new: key.replace(new, timeout=60)
    renewed.append(name)
def other():
    while not renewed: ran.append(1); time.sleep(0.001)
START(other)
secalloc.on_offer(renew)
while len(ran) < 9: time.sleep(0.001)  # though another waits for what is offered
print("ready", flush=True)
while not renewed: time.sleep(0.001)
print(hashlib.sha256(key).hexdigest(), flush=True)
'''
ran = []
def other():
    while True: ran.append(1); time.sleep(0.001)
START(other)
with secalloc.LockdownChannel() as channel, secalloc.random(32) as key, secalloc.random(32) as new:
    child = channel.child("workers", secrets={"key": key}, uses=2)
    workers = [subprocess.Popen([sys.executable, "-P", "-c", CHILD], stdout=subprocess.PIPE,
                                text=True, **child.popen_args()) for _ in range(2)]
    kinds = [channel.wait(60).kind for _ in workers]
    assert kinds == ["ADOPTED"] * 2, kinds
    for worker in workers: assert worker.stdout.readline() == "ready\\n"
    ran.clear()
    end = time.monotonic() + 60
    while not ran:  # though this one waits for an event
        assert time.monotonic() < end, "nothing else runs"
        assert channel.wait(0.05) is None
    child.give("key", new)
    said = {channel.wait(60).kind for _ in range(4)}
    assert said == {"ADOPTED", "CLOSED"}, said
    for worker in workers: assert worker.stdout.read().strip() == hashlib.sha256(new).hexdigest()
print("well")
"""
PATCHES = {
    "gevent": ("from gevent import monkey; monkey.patch_all()", "import gevent; gevent.spawn"),
    "eventlet": ("import eventlet; eventlet.monkey_patch()", "import eventlet; eventlet.spawn"),
}


@pytest.mark.parametrize("library", PATCHES)
@pytest.mark.parametrize("secalloc_first", [False, True])
def test_patched(library: str, secalloc_first: bool) -> None:
    """The parent and its workers, whose other tasks run on while they wait."""
    pytest.importorskip(library)
    patch, spawn = PATCHES[library]
    if secalloc_first:
        patch = f"import secalloc; secalloc.Arena(1)\n{patch}"
    code = PATCHED.replace("PATCH", patch).replace("START", spawn)
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", "-P", "-c", f"{patch}\n{code}"],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "well\n"), done.stderr
