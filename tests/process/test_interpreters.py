"""Subinterpreters: arenas and handlers are the process's, not the interpreter's."""

import sys

import pytest
from support import needs_lockable, run

if sys.version_info >= (3, 13):
    MODULE, CREATE = "_interpreters", "interpreters.create('isolated')"
else:
    MODULE, CREATE = "_xxsubinterpreters", "interpreters.create()"

SETUP = f"""
import {MODULE} as interpreters
def inside(id, code):
    result = interpreters.run_string(id, code)
    assert result is None, result
"""


@pytest.fixture(autouse=True)
def available() -> None:
    pytest.importorskip(MODULE, reason=f"this interpreter has no {MODULE}")


def test_arenas_in_each() -> None:
    end = run(
        SETUP
        + f"""
a = secret()
ids = [{CREATE} for _ in range(3)]
for id in ids:
    inside(id, '''if True:
        import secalloc
        b = secalloc.Arena(b"inside" * 1000)
        assert bytes(b) == b"inside" * 1000
        b.rotate()
        assert (b == b"inside" * 1000) and secalloc.is_secure(b)
        b.clear()
        try:
            bytes(b)
        except secalloc.WipedError:
            pass
        else:
            raise AssertionError
        keep = secalloc.Arena(b"kept")
    ''')
assert secalloc.status().arenas == 7
for id in ids: interpreters.destroy(id)
assert secalloc.status().arenas == 1
assert bytes(a) == raw(a) == SECRET
secalloc.lockdown()
assert a.wiped
print("well")
"""
    )
    assert (end.code, end.out.strip(), end.marker) == (0, "well", b"L"), end


def test_a_crash_wipes_those_of_all() -> None:
    end = run(
        SETUP
        + f"""
a = secret()
id = {CREATE}
inside(id, '''if True:
    import os, secalloc
    b = secalloc.Arena(b"inside")
    os.kill(os.getpid(), 11)
    while True: pass
''')
"""
    )
    assert end.fate == (-11, b"F"), end


IN_THREADS = (
    SETUP
    + """
from concurrent.futures import ThreadPoolExecutor
def in_threads(count, work):
    with ThreadPoolExecutor(count) as pool:
        for future in [pool.submit(work, n) for n in range(count)]: future.result()
USE = '''if True:
    import secalloc
    with secalloc.Pool() as pool:
        for n in range(50):
            b = secalloc.Arena(b"inside" * (n + 1))
            small = pool.alloc(b)
            b.rotate()
            assert secalloc.compare_digest(b, b"inside" * (n + 1)) and b == small
            b.seal()
            with b.open("r") as view:
                assert bytes(view) == b"inside" * (n + 1)
    keep = [secalloc.Arena(b"kept") for _ in range(10)]
'''
"""
)


@needs_lockable(8 << 20)
def test_several_at_once() -> None:
    """Each with a GIL of its own: imported, used and finalized while others are."""
    end = run(
        IN_THREADS
        + f"""
a = secret()
def work(n):
    for _ in range(3):
        id = {CREATE}
        inside(id, USE)
        interpreters.destroy(id)
in_threads(4, work)
assert secalloc.status().arenas == 1
assert bytes(a) == raw(a) == SECRET
print("well")
"""
    )
    assert (end.code, end.out.strip(), end.marker) == (0, "well", b""), end


@needs_lockable(8 << 20)
def test_a_crash_while_several_run() -> None:
    end = run(
        IN_THREADS
        + f"""
a = secret()
def work(n):
    id = {CREATE}
    inside(id, USE)
    if n == 0: inside(id, "import os; os.kill(os.getpid(), 11)")
    while True:
        inside(id, USE)
        time.sleep(0.001)  # 3.11 does not ask another interpreter's thread for the GIL
in_threads(4, work)
"""
    )
    assert (end.code, {*end.marker}) == (-11, {*b"F"}), end  # threads may fault together


def test_used_in_the_other_first() -> None:
    end = run(f"""
import importlib, sys
for name in list(sys.modules):
    if name.startswith("secalloc") or name == "crash": del sys.modules[name]
import {MODULE} as interpreters
id = {CREATE}
interpreters.run_string(id, "import secalloc; a = secalloc.Arena(b'x' * 50)")
interpreters.destroy(id)
import secalloc
a = secalloc.Arena(b"main")
assert bytes(a) == b"main" and secalloc.status().arenas == 1
print("well")
""")
    assert (end.fate, end.out.strip()) == ((0, b""), "well"), end
