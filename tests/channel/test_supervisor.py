"""The supervisor of docs/workers.md: under load, with a worker that falls, and one that finds
itself tampered with. The long form, of `make check-workers`, makes 20,000 requests."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from channel_children import SOON, variables
from support import linux_only

REQUESTS = int(os.environ.get("SECALLOC_REQUESTS") or 20_000)
GUIDE = Path(__file__).parents[2] / "docs" / "workers.md"

DRIVER = """
import faulthandler, hmac, http.client, os, signal, sys, threading, time
faulthandler.dump_traceback_later(540)  # where it hangs, says the log
from supervisor import Supervisor

requests, path = int(sys.argv[1]), "/what is signed"
supervisor = Supervisor(2)
port = supervisor.listener.getsockname()[1]
answers, valid, failed, done = {}, set(), [], threading.Event()

def sign():
    with supervisor.key.open("r") as key:
        valid.add(hmac.digest(key, path.encode(), "sha256").hex())

def until(true):
    end = time.monotonic() + 300
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)

def load(count):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        for n in range(count):
            if n % 100 == 99:
                connection.close()  # so that both workers get some
            connection.request("GET", path.replace(" ", "%20"))
            said = connection.getresponse().read().decode()
            answers[said] = answers.get(said, 0) + 1
    except Exception as error:
        failed.append(repr(error))
    connection.close()

path = path.replace(" ", "%20")
sign()
clients = [threading.Thread(target=load, args=(requests // 4,)) for _ in range(4)]
for client in clients: client.start()
rotations = 0
while any(client.is_alive() for client in clients) or rotations < 3:
    supervisor.renew()
    sign()
    rotations += 1
for client in clients: client.join()
assert not failed, failed
assert sum(answers.values()) == requests // 4 * 4, answers
assert set(answers) <= valid, "a key that never was"
assert len(answers) > 1 or requests < 100
for child, process in supervisor.workers.items():
    assert child.holders == {process.pid: ("key",)}

# One falls, and another takes its place.
child, process = next(iter(supervisor.workers.items()))
os.kill(process.pid, signal.SIGSEGV)
until(lambda: child not in supervisor.workers and len(supervisor.workers) == 2)
until(lambda: all(child.holders for child in supervisor.workers))
answers.clear()
load(20)
assert not failed and set(answers) <= valid, (failed, answers)
supervisor.renew()

# One finds that it was tampered with: all end, and no arena is left to read.
alive = list(supervisor.workers.values())
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
connection.request("GET", "/tampered")
try: connection.getresponse()
except Exception: pass
assert supervisor.locked.wait(300)
for process in alive: process.wait(300)
until(lambda: supervisor.key.wiped and not supervisor.workers)
supervisor.close()
print(rotations, "rotations")
"""


def files() -> dict[str, str]:
    """Those of the guide."""
    blocks = re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
    return dict(blocks)


@linux_only
@pytest.mark.skipif("SECALLOC_LONG" not in os.environ, reason="make check-workers runs it")
def test_the_supervisor_of_the_guide(tmp_path: Path) -> None:
    for name in ("supervisor.py", "worker.py"):
        (tmp_path / name).write_text(files()[name])
    (tmp_path / "driver.py").write_text(DRIVER)
    log = tmp_path / "log"
    with log.open("wb") as out:
        driver = subprocess.Popen(  # noqa: S603
            [sys.executable, "driver.py", str(REQUESTS)],
            cwd=tmp_path,
            env=variables(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        assert driver.wait(2 * SOON) == 0
    finally:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)  # its workers, too, where it fell
        driver.wait()
        print(log.read_text())
