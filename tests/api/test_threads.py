"""Threads: every call from many at once, and an alternate stack each, freed with it."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from crash import SECRET, content, raw, secret
from support import TRIALS, check, linux_only, needs_lockable

import secalloc
from secalloc import Arena

THREADS = 6


def together(work: "list[object]") -> None:
    """Run callables at the same time; the first error is raised."""
    barrier = threading.Barrier(len(work))

    def one(call: object) -> None:
        barrier.wait()
        call()  # type: ignore[operator]

    with ThreadPoolExecutor(len(work)) as pool:
        for future in [pool.submit(one, call) for call in work]:
            future.result()


@needs_lockable(8 << 20)
def test_making_rotating_and_closing() -> None:
    def work(seed: int) -> None:
        mine = []
        for i in range(150):
            size = (seed * 7919 + i * 104729) % 9000
            arena = secret(size)
            mine.append(arena)
            assert bytes(arena) == (SECRET * 94)[:size]
            arena.rotate()
            assert bytes(arena) == (SECRET * 94)[:size]
            if i % 50 == 0:
                mine.append(secalloc.concat(arena, b"x", secret(100_000)))
            if i % 3 == 0:
                mine.pop(0).close()
        for arena in mine:
            arena.close()

    before = secalloc.status().arenas
    together([lambda n=n: work(n) for n in range(THREADS)])
    assert secalloc.status().arenas == before


def test_rotated_by_all_while_read(make: Callable[..., Arena]) -> None:
    arenas = [make(n) for n in (300, 1, 96, 500)]

    def rotate() -> None:
        for i in range(200):
            arenas[i % 4].rotate(timeout=30)

    def read() -> None:
        for i in range(300):
            arena, expected = arenas[i % 4], content(arenas[i % 4].size)
            assert arena == expected
            assert secalloc.compare_digest(expected, arena)
            assert arena[0] == expected[0]
            assert secalloc.concat(arena[:10]) == expected[:10]

    together([rotate, rotate, read, read])
    assert all(bytes(a) == raw(a) == content(a.size) for a in arenas)


def test_lockdowns_while_others_work() -> None:
    """Whatever is read is either whole or refused, never noise."""
    size = 700
    expected = bytes(secret(size))
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                with secret(size) as arena:
                    assert secalloc.compare_digest(arena, expected)
                    arena.rotate()
                    joined = arena + arena
                    assert secalloc.compare_digest(joined, expected * 2)
                    with arena.open("w") as view:
                        view[:] = expected
                    assert secalloc.compare_digest(arena, expected)
            except secalloc.WipedError:
                pass

    def lock() -> None:
        for _ in range(100):
            secalloc.lockdown()
        done.set()

    together([work, work, lock, lock])


# At the interpreter's end its threads end where they wait for the GIL. What is still to be
# freed then, as what lies in sys is, locks down as well.
LOCKING_DOWN_AT_EXIT = """
class Late:
    def __del__(self, lockdown=secalloc.lockdown, write=os.write):
        lockdown()
        write(1, b"late")
kept = [secalloc.random(32) for _ in range(300)]
def again(lockdown=secalloc.lockdown):
    while True:
        lockdown()
secalloc.set_lockdown_fd(None)
for _ in range(3):
    threading.Thread(target=again, daemon=True).start()
sys.late = Late()
time.sleep(0.05)
"""


def test_the_interpreter_ends_while_others_lock_down() -> None:
    for _ in range(max(1, TRIALS // 4)):
        assert check(LOCKING_DOWN_AT_EXIT, timeout=60) == "late"


def test_clear_and_rekey_give_one_whole_stream() -> None:
    """A clear never shows a mixture of two streams, nor zeros."""
    done = threading.Event()

    def rekey() -> None:
        for _ in range(300):
            secalloc.rekey()
        done.set()

    def clear() -> None:
        while not done.is_set():
            buffer = bytearray(8192)
            secalloc.clear(buffer)
            assert buffer[:4096] == buffer[4096:]
            assert buffer.count(0) < 200

    together([rekey, clear, clear])


def test_a_variable_is_consumed_by_one() -> None:
    """And whole: none of the others overwrites it meanwhile, or gets what is overwritten."""
    expected = bytes(secret(3000)).hex().encode()
    for _ in range(20):
        os.environb[b"SECALLOC_SHARED"] = expected
        got: list[secalloc.Arena | None] = []
        together([lambda got=got: got.append(secalloc.getenv("SECALLOC_SHARED"))] * THREADS)
        assert [value == expected for value in got if value is not None] == [True]


def test_close_by_all_at_once() -> None:
    for _ in range(50):
        arena = secret()
        together([arena.close] * 4)
        assert arena.closed


def test_set_lockdown_fd_and_status_from_all() -> None:
    def work() -> None:
        for _ in range(300):
            secalloc.set_lockdown_fd(None)
            assert secalloc.status().lockdown_fd is None
            secalloc.is_secure(b"x")

    together([work] * 4)


@linux_only
def test_an_alternate_stack_of_its_own_freed_at_the_end() -> None:
    """Ten rounds of eight threads must not leave a stack each behind."""
    check("""
        kinds = set()
        def work():
            before = secalloc.status().alt_stack
            Arena(1).close()
            kinds.add((before, secalloc.status().alt_stack))
            barrier.wait()
        def round():
            global barrier
            barrier = threading.Barrier(8)
            threads = [threading.Thread(target=work) for _ in range(8)]
            for t in threads: t.start()
            for t in threads: t.join()
        def maps(): return sum(1 for _ in open("/proc/self/maps"))
        a = Arena(1)
        round(); round()
        before = maps()
        for _ in range(10): round()
        assert {after for _, after in kinds} == {"ours"}, kinds
        grown = maps() - before
        assert grown < 40, f"{grown} more mappings after 80 threads"
    """)


@linux_only
def test_a_foreign_alternate_stack_is_kept() -> None:
    for size, kind in ((65536, "foreign"), (2048, "small")):
        assert check(f"""
            libc = ctypes.CDLL(None, use_errno=True)
            block = ctypes.create_string_buffer({size})
            stack = struct.pack("PixxxxN", ctypes.addressof(block), 0, {size})
            def current():
                out = ctypes.create_string_buffer(24)
                assert libc.sigaltstack(None, out) == 0
                return struct.unpack("PixxxxN", out.raw)[0]
            def work():
                if libc.sigaltstack(stack, None) != 0:
                    print("refused")
                    return
                mine = current()
                Arena(1).close()
                assert current() == mine == ctypes.addressof(block)
                print(secalloc.status().alt_stack)
            a = Arena(1)
            on_thread(work)
        """) in (kind, "refused" if size < 4096 else kind)
