"""A signing agent: workers sign for whoever may open its socket, and hand out no key.

    python examples/agent.py signing.key agent.socket
    nc -N -U agent.socket <message >signature    # Ed25519, 64 bytes

The first start makes the key file, of 32 bytes. Each worker gets a copy of the key, from arena to
arena, and no other process does. One that falls is replaced. Renew the file and send SIGHUP: all
get the new key. One that reports a lockdown has found something wrong: then all of them end.
OpenSSL makes a copy of the key for each signature, and clears it right after.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import secalloc

SIGNALS = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT}
WORKERS = 2


class Agent:
    """The parent: it has the key, and signs nothing."""

    def __init__(self, path: str, listener: socket.socket) -> None:
        self.path, self.listener = path, listener
        self.key = secalloc.read(path, 32, name="signing key")
        self.key.seal(encrypt=True)
        self.lock, self.ends = threading.Lock(), False
        self.workers: dict[secalloc.LockdownChild, subprocess.Popen[bytes]] = {}
        self.channel = secalloc.LockdownChannel()
        self.channel.on_event(self.heard)  # on a thread of its own
        for number in range(WORKERS):
            self.start(f"worker {number}")

    def start(self, name: str) -> None:
        with self.lock:
            if not self.ends:
                child = self.channel.child(name, secrets={"key": self.key})
                fd = self.listener.fileno()
                command = [sys.executable, __file__, "work", str(fd)]
                process = subprocess.Popen(command, **child.popen_args(pass_fds=[fd]))
                child.expect(process.pid)  # no other process gets the key
                self.workers[child] = process

    def heard(self, event: secalloc.LockdownEvent) -> None:
        if event.kind in ("FATAL", "CLOSED"):
            with self.lock:
                process = self.workers.pop(event.child)
            print(f"{event.child.name} ended: {process.wait()}", flush=True)
            self.start(event.child.name)
        elif event.kind in ("LOCKDOWN", "GARBAGE"):
            os.kill(os.getpid(), signal.SIGTERM)

    def renew(self) -> None:
        with secalloc.read(self.path, 32) as new, self.lock:
            self.key.replace(new, timeout=10)
            for child in self.workers:
                with suppress(ValueError):  # it has just ended: who follows it gets this key
                    child.give("key", self.key)

    def stop(self) -> None:
        with self.lock:
            self.ends = True
            for process in self.workers.values():
                process.terminate()  # the library's handler overwrites the key first
        self.key.close()


def serve(path: str, where: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # in all threads to come
    if not os.path.exists(path):
        with secalloc.random(32) as key:
            secalloc.write(path, key, exclusive=True)
    os.umask(0o077)  # the socket is this user's
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(where)
        listener.listen(128)
        agent = Agent(path, listener)
        while signal.sigwait(SIGNALS) == signal.SIGHUP:
            agent.renew()
        agent.stop()
    os.unlink(where)


def work(fd: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):  # of the terminal: the parent's
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # it inherited what the parent blocks
    key = secalloc.adopt("key", size=32)
    key.seal()

    def renewed(name: str) -> None:
        with secalloc.adopt(name, size=32) as new:
            key.replace(new, timeout=10)  # whole, when nobody is signing

    secalloc.on_offer(renewed)
    listener = socket.socket(fileno=fd)
    while True:
        connection, _ = listener.accept()
        connection.settimeout(10)
        with connection, connection.makefile("rwb") as stream:
            message = stream.read(1 << 20)
            with key.open("r") as view:  # a wipe in here is an error, and no signature
                signature = Ed25519PrivateKey.from_private_bytes(memoryview(view)).sign(message)
            stream.write(signature)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(int(sys.argv[2]))
    else:
        serve(sys.argv[1], sys.argv[2])
