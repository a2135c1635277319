"""A look into each process of an example, by a thread; the example is started as its head says.

SPY names a socket. The process sends its number there, and answers what comes: a letter, a length
and a secret. f: where are copies of it? p: keep one, which a search must find then. l: lock down.
q: end. An answer is a line. With SPY_HOLD a program that has come to its end waits for q. With
SPY_CARELESS it calls plainly what it would call sheltered.
"""

import atexit
import json
import os
import signal
import socket
import threading

import secalloc
from secalloc import residue

kept: list[bytes] = []
ends = threading.Event()


def answer() -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ["SPY"])
        connection.sendall(os.getpid().to_bytes(4, "big"))
        try:
            answers(connection)
        except Exception as error:  # told to the one that asked
            connection.sendall(json.dumps(repr(error)).encode() + b"\n")
    ends.set()


def answers(connection: socket.socket) -> None:
    while head := connection.recv(5, socket.MSG_WAITALL):
        command, size = head[:1], int.from_bytes(head[1:], "big")
        with secalloc.Arena(size) as secret:
            if size:
                connection.recv_into(secret, size, socket.MSG_WAITALL)
            if command == b"p":
                kept.append(bytes(secret))
            found = [str(copy) for copy in residue.find(secret)] if size else []
        if command == b"l":
            secalloc.lockdown()
        connection.sendall(json.dumps(found).encode() + b"\n")
        if command == b"q":
            break


if "SPY" in os.environ:
    if "SPY_CARELESS" in os.environ:
        careless = {
            "sheltered": lambda f: f,
            "capturing": lambda **_: lambda f: lambda *given: secalloc.Arena(f(*given)),
        }
        vars(secalloc).update(careless)
    if "SPY_HOLD" in os.environ:
        atexit.register(ends.wait)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=answer, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
