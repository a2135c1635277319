"""Any sequence of calls on a few arenas gives what a model of them says it must."""

import os
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from support import TRIALS

import secalloc
from secalloc import Arena, Pool, WipedError

CONTENT = strategies.one_of(
    strategies.binary(max_size=80),
    strategies.sampled_from([b"k" * 4095, b"k" * 4096, b"k" * 4097, b"k" * 9000]),
)
ANY = strategies.integers(min_value=0, max_value=10**6)


@dataclass
class Shadow:
    """An arena, and what is known of it."""

    arena: Arena
    content: bytearray
    pool: int | None = None
    wiped: bool = False
    closed: bool = False
    exports: list[memoryview] = field(default_factory=list)

    @property
    def error(self) -> type[Exception] | None:
        """What reading it raises."""
        return ValueError if self.closed else WipedError if self.wiped else None


class Arenas(RuleBasedStateMachine):
    """A handful of arenas, some of them in pools."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Shadow] = []
        self.pools: list[Pool | None] = [None, None]
        self.before = secalloc.status().arenas

    def pick(self, which: int) -> Shadow:
        return self.all[which % len(self.all)]

    @rule(content=CONTENT, align=strategies.sampled_from([1, 16, 4096]))
    def make(self, content: bytes, align: int) -> None:
        if len(self.all) < 8:
            arena = Arena(content, align=align)
            assert arena.address % align == 0
            self.all.append(Shadow(arena, bytearray(content)))

    @rule(content=CONTENT, which=ANY)
    def make_in_pool(self, content: bytes, which: int) -> None:
        pool = self.pools[which % 2] or Pool()
        self.pools[which % 2] = pool
        if len(self.all) < 8:
            self.all.append(Shadow(pool.alloc(content), bytearray(content), which % 2))

    @precondition(lambda self: self.all)
    @rule(which=ANY, content=CONTENT, at=ANY)
    def write(self, which: int, content: bytes, at: int) -> None:
        it = self.pick(which)
        start = at % (len(it.content) + 1)
        part = content[: len(it.content) - start]
        whole = start == 0 and len(part) == len(it.content)
        error = ValueError if it.closed else None if whole else it.error
        if error:
            with pytest.raises(error):
                it.arena[start : start + len(part)] = part
            return
        it.arena[start : start + len(part)] = part
        it.content[start : start + len(part)] = part
        it.wiped = False

    @precondition(lambda self: self.all)
    @rule(which=ANY, good=strategies.booleans(), seed=strategies.integers(0, 255))
    def fill(self, which: int, good: bool, seed: int) -> None:
        it = self.pick(which)
        if it.closed:
            with pytest.raises(ValueError, match="closed"):
                it.arena.open("w").__enter__()
            return
        content = bytes([seed]) * len(it.content)
        try:
            with it.arena.open("w") as view:
                view[:] = content
                if not good:
                    raise KeyError
        except KeyError:
            pass
        it.wiped = not good
        it.content[:] = content

    @precondition(lambda self: self.all)
    @rule(which=ANY)
    def export(self, which: int) -> None:
        it = self.pick(which)
        if it.error:
            with pytest.raises(it.error):
                memoryview(it.arena)
        elif len(it.exports) < 3:
            it.exports.append(memoryview(it.arena))

    @precondition(lambda self: self.all)
    @rule(which=ANY)
    def release(self, which: int) -> None:
        it = self.pick(which)
        if it.exports:
            it.exports.pop().release()

    @precondition(lambda self: self.all)
    @rule(which=ANY)
    def rotate(self, which: int) -> None:
        it = self.pick(which)
        error: Any = ValueError if it.closed else BufferError if it.exports else it.error
        if error:
            with pytest.raises(error):
                it.arena.rotate()
            return
        before = it.arena.address
        it.arena.rotate()
        assert it.arena.address != before

    @precondition(lambda self: self.all)
    @rule(which=ANY)
    def clear(self, which: int) -> None:
        it = self.pick(which)
        if it.closed:
            with pytest.raises(ValueError, match="closed"):
                it.arena.clear()
            return
        it.arena.clear()
        it.wiped = True

    @precondition(lambda self: self.all)
    @rule(which=ANY)
    def close(self, which: int) -> None:
        it = self.pick(which)
        it.arena.close()
        it.closed = True
        if not it.exports:
            self.all.remove(it)

    @rule(which=ANY)
    def close_pool(self, which: int) -> None:
        pool = self.pools[which % 2]
        if pool is None:
            return
        pool.close()
        self.pools[which % 2] = None
        for it in self.all:
            it.closed = it.closed or it.pool == which % 2

    @rule()
    def lockdown(self) -> None:
        live = [it for it in self.all if not it.closed or it.exports]
        assert secalloc.lockdown() == len(live)
        for it in live:
            it.wiped = True

    @rule()
    def rekey(self) -> None:
        secalloc.rekey()

    @precondition(lambda self: self.all)
    @rule(which=ANY, other=ANY)
    def join(self, which: int, other: int) -> None:
        a, b = self.pick(which), self.pick(other)
        if error := a.error or b.error:
            with pytest.raises(error):
                secalloc.concat(a.arena, b.arena)
            return
        with secalloc.concat(a.arena, b.arena) as both:
            assert both == bytes(a.content + b.content)

    @invariant()
    def all_is_as_it_must_be(self) -> None:
        for it in self.all:
            assert it.arena.closed == it.closed
            assert it.arena.wiped == (it.wiped or it.closed)
            assert len(it.arena) == len(it.content)
            assert (it.arena == bytes(it.content)) == (it.error is None)
            for view in it.exports:
                assert it.error or view == bytes(it.content)
            if not it.closed:
                it.arena.check()
        gone = [it for it in self.all if it.closed and not it.exports]
        assert secalloc.status().arenas == self.before + len(self.all) - len(gone)

    def teardown(self) -> None:
        for it in self.all:
            it.arena.close()
            for view in it.exports:
                view.release()
        for pool in self.pools:
            if pool is not None:
                pool.close()


def test_sequences() -> None:
    Arenas.TestCase.settings = settings(
        max_examples=TRIALS,
        stateful_step_count=40,
        derandomize="SECALLOC_TRIALS" not in os.environ,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    Arenas.TestCase("runTest").runTest()
