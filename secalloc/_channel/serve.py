"""The parent's threads that answer its children: one takes requests, and each is served by
another, for as long as it takes."""

import errno
import os
from _socket import SHUT_RDWR, socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from secalloc._channel import wire
from secalloc._channel.connection import Connection, Given
from secalloc._channel.finish import Attempt
from secalloc._channel.keys import Keys
from secalloc._channel.offer import Asker, Offer, Refused, answer
from secalloc._channel.opened import opened
from secalloc._channel.peer import peer
from secalloc._channel.poller import Poller
from secalloc._core import SealedError, WipedError, _serve_question

LINGER = 0.05
"""Seconds that a thread waits for a process's next question, before another would be begun."""
PASSING = (errno.EINTR, errno.ENOMEM, errno.ENOBUFS, errno.EMFILE, errno.ENFILE)
"""What keeps a message from being read for now. All else that recvmsg says of an end is final."""
WHILE = 0.01
"""Seconds until it is tried again."""
NOBODY_SAID = -1
"""In place of the process that a question came from: this system does not tell."""


class Server:
    """What a channel's children ask, answered. Its lock guards the sets of what is open.

    The thread that takes requests ends when there is nothing to wait for any more.
    """

    def __init__(
        self,
        enrol: Callable[[Offer, Asker], int],
        adopted: Callable[[Offer, Asker, str, bool], None],
    ) -> None:
        """`enrol` gives the descriptor for a process's markers, which is the caller's;
        `adopted` is told what a process got, and whether it was given while it ran."""
        self._enrol = enrol
        self._adopted = adopted
        self._lock = wire.rlock()
        self._ends: dict[int, tuple[socket, Offer]] = {}
        self._open: dict[Connection, None] = {}
        self._parked: dict[int, Connection] = {}
        self._sent: set[int] = set()  # the other ends of pipes, until they are
        self._keys = Keys(self._lock)
        self._poller: Poller | None = None
        self._wake: tuple[int, int] | None = None

    # ---- from the channel ----------------------------------------------------------------

    def add(self, end: socket, offer: Offer) -> None:
        """The parent's end of a child, which is the server's from here on."""
        with self._lock:
            self._ends[end.fileno()] = (end, offer)
            if self._poller:
                self._poller.add(end.fileno())
            offer.serve = self._start
            offer.locks.append(self.attempt)

    @property
    def attempt(self) -> Attempt:
        """The lock, for finalizers."""
        return Attempt(partial(self._lock.acquire, blocking=False), self._lock.release)

    def _start(self, offer: Offer) -> None:
        """Take requests from now on."""
        with self._lock:
            if self._poller or all(known is not offer for _, known in self._ends.values()):
                return
            poller, wake = Poller(), os.pipe()
            poller.add(wake[0])
            for fd in (*self._ends, *self._parked):
                poller.add(fd)
            self._poller, self._wake = poller, wake
            try:
                wire.start_thread(self._listen, (poller, wake[0]))
            except RuntimeError:  # no thread to be had, as at the interpreter's end
                self._stop()
                self._finish(poller, wake[0])

    def remove(self, offer: Offer) -> None:
        """The child is gone, or not to be served any more."""
        offer.close()
        with self._lock:
            for fd, (end, known) in list(self._ends.items()):
                if known is offer:
                    self._drop_end(fd, end)
            for connection in [one for one in self._open if one.offer is offer]:
                self._hang_up(connection)
            if not self._ends and not self._parked:
                self._stop()

    def forked(self) -> None:
        """In a child: close what is the parent's, without a word to the other side."""
        self._lock = wire.rlock()
        self._keys = Keys(self._lock)
        poller, wake = self._poller, self._wake
        self._poller = self._wake = None
        if poller:
            poller.forked()
        for fd in wake or ():
            os.close(fd)
        for end, offer in self._ends.values():
            offer.forked()
            end.close()
        for connection in self._open:
            connection.end.close()
        for fd in self._sent:
            os.close(fd)
        self._ends.clear()
        self._open.clear()
        self._parked.clear()
        self._sent.clear()

    # ---- with the lock held --------------------------------------------------------------

    def _drop_end(self, fd: int, end: socket) -> None:
        del self._ends[fd]
        if self._poller:
            self._poller.remove(fd)
        end.close()

    def _hang_up(self, connection: Connection) -> None:
        """A thread that serves it wakes up, and closes it; else it is closed here."""
        with suppress(OSError):
            connection.end.shutdown(SHUT_RDWR)
        if connection.end.fileno() in self._parked:
            self._unpark(connection)
            self._close(connection)

    def _unpark(self, connection: Connection) -> None:
        fd = connection.end.fileno()
        del self._parked[fd]
        if self._poller:
            self._poller.remove(fd)

    def _close(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        if connection.asker:
            connection.offer.unwatch(connection.asker, connection.end)
            connection.offer.left(connection.asker)
        connection.end.close()
        self._keys.drop(connection.key)

    def _stop(self) -> None:
        """The thread that takes requests is to end; its poller is its own to close."""
        wake, self._wake, self._poller = self._wake, None, None
        if wake:
            os.close(wake[1])

    @staticmethod
    def _finish(poller: Poller, woken: int) -> None:
        poller.close()
        os.close(woken)

    # ---- the thread that takes requests ------------------------------------------------------

    def _listen(self, poller: Poller, woken: int) -> None:
        try:
            while True:
                for fd in poller.wait():
                    if fd == woken:
                        return
                    self._look(fd)
                with self._lock:
                    if self._poller is poller and not self._ends and not self._parked:
                        self._stop()
        finally:
            self._finish(poller, woken)

    def _look(self, fd: int) -> None:
        """At a descriptor that can be read, or is at its end."""
        with self._lock:
            parked = self._parked.get(fd)
            if parked:
                self._unpark(parked)
            known = self._ends.get(fd)
        if parked:
            self._begin(parked)
        elif known:
            self._take(fd, *known)

    def _take(self, fd: int, end: socket, offer: Offer) -> None:
        """One message over a child's end: a connection, or nonsense, or the end of all who
        had it."""
        passing = False
        with wire.gate.lock:
            try:
                anything, fds = wire.receive_end(end)
            except BlockingIOError:
                return
            except OSError as error:
                passing = error.errno in PASSING
                anything, fds = False, []
            connection = self._connection(fds, offer)
        if passing:
            wire.sleep(WHILE)  # it can be read still, and so it is looked at again
            return
        if not anything:
            offer.close()
            with self._lock:  # a later child's end may have the number meanwhile
                if self._ends.get(fd) == (end, offer):
                    self._drop_end(fd, end)
        if connection:
            self._meet(connection)

    def _connection(self, fds: list[int], offer: Offer) -> Connection | None:
        end = None
        if len(fds) == 1:
            with suppress(OSError):  # no socket
                end = socket(fileno=fds[0])
        if end is None:
            for fd in fds:
                os.close(fd)
            return None
        connection = Connection(end, offer, self._decide)
        with self._lock:
            self._open[connection] = None
        return connection

    def _meet(self, connection: Connection) -> None:
        """Look who it is, before a thread is begun."""
        try:
            wire.tell_sender(connection.end)
            connection.asker = connection.offer.admit(peer(connection.end), None)
        except Refused as refused:
            self._refuse(connection, refused)
        except OSError:  # nothing that a process could ask by, or it is gone
            with self._lock:
                self._close(connection)
        else:
            self._begin(connection)

    def _refuse(self, connection: Connection, refused: Refused) -> None:
        with suppress(OSError):
            connection.refuse(refused, patience=0)
        with self._lock:
            self._close(connection)

    def _begin(self, connection: Connection) -> None:
        try:
            wire.start_thread(self._serve, (connection,))
        except RuntimeError:
            self._refuse(connection, Refused(wire.GONE, "the parent can start no thread"))

    # ---- a thread for each request -----------------------------------------------------------

    def _serve(self, connection: Connection) -> None:
        patience, park = wire.PATIENCE, False
        try:
            while self._answer(connection, patience):
                connection.answered, patience = True, LINGER
            park = connection.watching
        except TimeoutError:  # a spurious wake-up ends no watch
            park = connection.answered or connection.watching
        except (OSError, ValueError):
            pass  # it is gone, or closed in between
        finally:
            with self._lock:
                park = park and self._may_park(connection)
                if park:
                    self._parked[connection.end.fileno()] = connection
                elif connection in self._open:
                    self._close(connection)
        if park and connection.watching and connection.asker:
            connection.offer.watch(connection.asker, connection.end)
        if connection.after:
            connection.after()

    def _may_park(self, connection: Connection) -> bool:
        if connection.offer.closed or connection not in self._open or self._poller is None:
            return False
        self._poller.add(connection.end.fileno())
        return True

    def _answer(self, connection: Connection, patience: float) -> bool:
        """One question; False: no other is to come, or not soon."""
        connection.more = False
        given = False
        try:
            given = _serve_question(
                connection.end.fileno(),
                wire.QUESTION.size,
                connection.offer.largest,
                wire.milliseconds(patience),
                wire.milliseconds(wire.PATIENCE),
                connection.decide,
            )
        except (WipedError, SealedError):
            connection.more = True  # the child was told
        finally:
            self._ended(connection, well=given)
        return connection.more

    def _decide(self, connection: Connection, question: bytes, sender: int) -> Given | None:
        """What is to be given; else it was answered, and `more` tells whether another question is
        to come."""
        hello, verb, token, name, size = wire.QUESTION.unpack(question)
        if hello != wire.HELLO:
            return None
        offer, asker = connection.offer, connection.asker
        try:
            if asker is None:
                asker = connection.asker = offer.admit(peer(connection.end), token)
                assert asker  # noqa: S101 - it came with its token
            if sender not in (NOBODY_SAID, asker.peer.pid):
                raise Refused(wire.NOT_MEANT, "another process asks on this connection")
            if verb == wire.ASK:
                return self._give(connection, asker, name, size)
            if verb == wire.KEY:
                return self._give_key(connection, asker)
            if verb in (wire.ENROL, wire.WATCH):
                self._say(connection, asker, wire.WELCOME)
                connection.watching = verb == wire.WATCH
                connection.more = not connection.watching
        except Refused as refused:
            connection.more = refused.verdict != wire.NOT_MEANT
            connection.refuse(refused)
        return None

    def _words(
        self, connection: Connection, asker: Asker, verdict: bytes, size: int, text: bytes
    ) -> bytes:
        """An answer, and in `sent`, the first time, the descriptor that says where its markers
        go; with how many it could still have."""
        offer = connection.offer
        if offer.uses != 1 and offer.first(asker):
            try:
                with wire.gate.lock:
                    connection.sent = self._enrol(offer, asker)
                    self._sent.add(connection.sent)
            except BaseException:
                asker.enrolled = False
                raise
        return answer(verdict, size, len(asker.todo), text)

    def _say(
        self,
        connection: Connection,
        asker: Asker,
        verdict: bytes,
        size: int = 0,
        text: bytes = b"",
    ) -> None:
        words = self._words(connection, asker, verdict, size, text)
        connection.say(words + wire.NOTHING_FOLLOWS, connection.sent)

    def _give(self, connection: Connection, asker: Asker, name: bytes, size: int) -> Given | None:
        try:
            entry = connection.offer.verdict(asker, name, size)
        except Refused as refused:
            text = wire.text_bytes(str(refused))
            self._say(connection, asker, refused.verdict, refused.size, text)
            connection.more = True
            return None
        connection.giving = asker, name, entry
        connection.opened = opened.begin(entry.arena)
        words = self._words(connection, asker, wire.OFFERED, size, b"")
        return connection.hand(entry.arena, words, connection.key)

    def _give_key(self, connection: Connection, asker: Asker) -> Given:
        """A new one, for what comes over the connection from now on."""
        connection.more = True
        before, connection.key = connection.key, self._keys.make()
        self._keys.drop(before)
        words = self._words(connection, asker, wire.OFFERED, wire.KEY_BYTES, b"")
        return connection.hand(connection.key, words, None)

    def _ended(self, connection: Connection, *, well: bool) -> None:
        """What was said is, and what was given is there, or it is not."""
        fd, connection.sent = connection.sent, None
        if fd is not None:
            self._sent.discard(fd)
            os.close(fd)
        if connection.giving is None:
            return
        (asker, name, entry), connection.giving = connection.giving, None
        opened.end(connection.opened)
        offer = connection.offer
        offer.given(asker, name, entry, well=well)
        if not well:
            return
        tell = partial(self._adopted, offer, asker, name.decode(), entry.given)
        if asker.todo:
            connection.more = True
            tell()
        else:
            # Who hears of it may offer another at once, which is asked for on a new connection.
            # Were this one still counted then, a thread that is slow would have its process
            # refused.
            connection.after = tell
