"""The event loops of asyncio that wait on a channel."""

from typing import TYPE_CHECKING

from secalloc._channel.watch import Watch

if TYPE_CHECKING:
    import asyncio


class Loops:
    """The loops that watch a channel's set, with the futures of those who wait in each.

    A loop that watches is counted as one who waits.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._futures: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}

    async def readable(self) -> None:
        """Wait until there may be an event, or the channel is closed."""
        import asyncio  # noqa: PLC0415 - who gets here has it

        watch = self._watch
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with watch.listener:
            if watch.closed:
                return
            waiting = self._futures.get(loop)
            if waiting is None:
                waiting = []
                loop.add_reader(watch.poller.fileno(), _wake, waiting)
                self._futures[loop] = waiting
                watch.listener.count(1)
            waiting.append(future)
        try:
            await future
        finally:
            waiting.remove(future)
            if not waiting:  # later: what comes first is the event
                try:
                    loop.call_soon(self._watch_no_more, loop)
                except RuntimeError:  # the loop is closed, and has forgotten the set
                    self._left(loop)

    def _watch_no_more(self, loop: "asyncio.AbstractEventLoop") -> None:
        """In the loop: unless somebody waits again meanwhile."""
        if self._futures.get(loop) == []:
            loop.remove_reader(self._watch.poller.fileno())
            self._left(loop)

    def _left(self, loop: "asyncio.AbstractEventLoop") -> None:
        """The loop does not know the set any more."""
        with self._watch.listener:
            if self._futures.pop(loop, None) is not None:
                self._watch.leave()

    def closed(self) -> None:
        """With the lock held: the channel is. Loops that were closed before they came to
        forget the set wait no more."""
        for loop in list(self._futures):
            if loop.is_closed():
                del self._futures[loop]
                self._watch.listener.count(-1)

    def forked(self) -> None:
        """In a child, where the loops are the parent's."""
        self._futures.clear()


def _wake(futures: "list[asyncio.Future[None]]") -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
