"""Sheltered calls wherever they may be made, and beside what else changes Python's memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import check, linux_only, needs_lockable

import secalloc

without_gil = pytest.mark.skipif("t" not in sys.abiflags, reason="of free-threaded Pythons")
with_gil = pytest.mark.skipif("t" in sys.abiflags, reason="not for free-threaded Pythons")
roomy = needs_lockable(8 << 20)
"""It makes more in the shelter than a user with 64 KiB can lock."""


@without_gil
def test_without_a_gil_it_is_refused_and_names_the_roads() -> None:
    @secalloc.sheltered
    def decorated() -> None: ...

    for refused in (
        lambda: secalloc.shelter(int),
        lambda: secalloc.capture(str),
        secalloc.capturing(str),
        decorated,
    ):
        with pytest.raises(NotImplementedError, match=r"secalloc run.*LockdownChannel"):
            refused()
    assert not secalloc.is_sheltered(b"some bytes")
    assert secalloc.status().sheltered == (0, 0)


HIDDEN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
void *dlsym(void *file, const char *name)
{
    static void *(*next)(void *, const char *);
    const char *versions[] = {"GLIBC_2.34", "GLIBC_2.2.5", "GLIBC_2.17"};
    for (int i = 0; i < 3 && !next; i++)
        next = (void *(*)(void *, const char *))dlvsym(RTLD_NEXT, "dlsym", versions[i]);
    return strcmp(name, "PyMem_SetAllocator") ? next(file, name) : NULL;
}
"""


@with_gil
@linux_only
def test_where_pythons_functions_are_not_to_be_found(tmp_path: Path) -> None:
    """As in a Python that has its symbols to itself: dlsym is made not to find one."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not os.confstr("CS_GNU_LIBC_VERSION"):
        pytest.skip("needs a C compiler and glibc")
    (tmp_path / "hidden.c").write_text(HIDDEN)
    hidden = str(tmp_path / "hidden.so")
    command = [compiler, "-shared", "-fPIC", "-w", "-o", hidden, str(tmp_path / "hidden.c")]
    subprocess.run(command, check=True)  # noqa: S603
    code = """
import secalloc
for refused in (lambda: secalloc.shelter(int), lambda: secalloc.capture(str)):
    try: refused()
    except NotImplementedError as error: assert "secalloc run" in str(error)
    else: print("taken")
assert secalloc.Arena(b"abc") == b"abc"
"""
    assert check(code, env={**os.environ, "LD_PRELOAD": hidden}) == ""
    assert check(code) == "taken\ntaken", "the control: it is found else"


@with_gil
@linux_only
def test_without_a_vault_to_be_had() -> None:
    """No address space: an error, and when there is some again it works."""
    code = """
import os, resource, secalloc
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
size = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGESIZE")
called, calls = [], (secalloc.shelter, secalloc.capture)
resource.setrlimit(resource.RLIMIT_AS, (size, hard))
for refused in calls:
    try: refused(called.append, 1)
    except (MemoryError, OSError): pass
    else: raise AssertionError
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
assert called == []
assert secalloc.is_sheltered(secalloc.shelter(os.urandom, 100))
"""
    check(code)


@roomy
@with_gil
def test_in_children_handlers_and_at_the_end() -> None:
    """In a child forked before and inside of a call, a handler of a signal inside and outside, a
    finalizer, a callback of a weak reference, and functions that run at exit."""
    code = """
import atexit, gc, os, secalloc, signal, weakref
from secalloc import is_sheltered, shelter
def makes(): return os.urandom(100)
def in_child(f):
    pid = os.fork()
    if pid == 0:
        try: f()
        except BaseException: os._exit(1)
        os._exit(7)
    assert os.waitpid(pid, 0)[1] == 7 << 8
def fine():
    assert is_sheltered(shelter(makes))
    try: shelter(lambda: (n for n in [1]))
    except TypeError: pass
    else: raise AssertionError
in_child(fine)   # nothing was sheltered before
fine()
in_child(fine)
shelter(in_child, fine)
def inside():
    pid = os.fork()
    if pid == 0:
        os._exit(7 if is_sheltered(makes()) and is_sheltered(kept) else 1)
    assert os.waitpid(pid, 0)[1] == 7 << 8
kept = shelter(makes)
shelter(inside)

got = []
signal.signal(signal.SIGUSR1, lambda number, frame: got.append([shelter(makes), makes()]))
os.kill(os.getpid(), signal.SIGUSR1)
assert [is_sheltered(one) for one in got.pop()] == [True, False]
def interrupted():
    os.kill(os.getpid(), signal.SIGUSR1)
    for n in range(100): str(n)
shelter(interrupted)
assert [is_sheltered(one) for one in got.pop()] == [True, True]

class Ends:
    def __del__(self): got.append(shelter(makes))
one = Ends()
reference = weakref.ref(shelter(Ends), lambda reference: got.append(makes()))
one = None
gc.collect()
assert len(got) >= 2 and reference() is None and any(map(is_sheltered, got))
loop = shelter(lambda: [Ends()])
loop.append(loop)
loop = None
gc.collect()
assert is_sheltered(got[-1])

def late():
    fine()
    print("late")
atexit.register(late)
globals()["to the very end"] = shelter(lambda: {str(n): [n * 1.5, Ends()] for n in range(500)})
"""
    assert check(code) == "late"


@roomy
@with_gil
def test_objects_that_python_keeps_for_reuse() -> None:
    """Lists, tuples, dicts, frames and slices go round between calls and what is outside."""
    code = """
import gc, secalloc, sys
def work():
    made = [[n, (n,), {n: n}, slice(n), f"{n}", n * 1.5] for n in range(300)]
    return sum(len(one) for one in made), made[::7]
for turn in range(30):
    total, some = secalloc.shelter(work)
    assert total == 1800 and some[1][4] == "7"
    outside = work()
    assert outside == (total, some)
    del some, outside
    gc.collect()
work()
gc.collect()
assert secalloc.status().sheltered.blocks < 400, secalloc.status().sheltered
"""
    check(code)


@roomy
@with_gil
@pytest.mark.parametrize("allocator", ["debug", "malloc", "malloc_debug", "pymalloc_debug"])
def test_above_pythons_other_allocators(allocator: str) -> None:
    """Blocks go back where they came from, in both directions; tracemalloc comes and goes."""
    code = """
import faulthandler, json, os, secalloc, tracemalloc
faulthandler.enable()
before = [str(n) * 9 for n in range(2000)]
tracemalloc.start()
held = secalloc.shelter(lambda: json.loads(json.dumps({str(n): [n, n / 3] for n in range(500)})))
grown = bytearray(b"12" * 40)
secalloc.shelter(grown.extend, b"x" * 3000)
tracemalloc.stop()
assert held["499"] == [499, 499 / 3] and secalloc.is_sheltered(held["499"][1])
assert grown[:80] == b"12" * 40 and len(grown) == 3080
secalloc.shelter(before.clear)
grown += b"y" * 5000
held.clear()
tracemalloc.start(); del grown; tracemalloc.stop()
"""
    check(code, env={**os.environ, "PYTHONMALLOC": allocator})


@roomy
@with_gil
def test_in_other_interpreters() -> None:
    """One after the other, with results that outlive the call, not the interpreter."""
    code = """
import sys
try: import _interpreters as module
except ImportError:
    try: import _xxinterpreters as module
    except ImportError: import _xxsubinterpreters as module
sys.path.append(PATH)
inside = '''
import sys
sys.path[:] = PATHS
import json, os, secalloc
held = secalloc.shelter(lambda: json.loads(json.dumps({str(n): [n, n / 3] for n in range(200)})))
assert secalloc.is_sheltered(held["199"][1]) and held["199"] == [199, 199 / 3]
try: secalloc.shelter(lambda: (n for n in [1]))
except TypeError: pass
else: raise AssertionError
'''.replace("PATHS", repr(sys.path))
import secalloc
for turn in range(3):
    one = module.create()
    failed = module.run_string(one, inside)
    assert not failed, failed
    kept = secalloc.shelter(lambda: [str(n) * 3 for n in range(100)])
    module.destroy(one)
    assert kept[99] == "999999"
""".replace("PATH)", f"{str(Path(secalloc.__file__).parents[1])!r})")
    check(code)


@roomy
@with_gil
def test_processes_that_are_started(tmp_path: Path) -> None:
    """By spawn, by subprocess from inside, and by exec in the place of one that holds objects."""
    program = tmp_path / "spawns.py"
    program.write_text("""
import multiprocessing, os, secalloc, subprocess, sys
def makes(n): assert len(secalloc.shelter(os.urandom, n)) == n
if __name__ == "__main__":
    kept = secalloc.shelter(lambda: [os.urandom(200) for _ in range(100)])
    child = multiprocessing.get_context("spawn").Process(target=makes, args=(20,))
    child.start()
    child.join()
    assert child.exitcode == 0
    run = [sys.executable, "-c", "print('started')"]
    said = secalloc.shelter(subprocess.run, run, stdout=subprocess.PIPE, text=True).stdout
    assert said == "started\\n" and secalloc.is_sheltered(said)
    sys.stdout.flush()
    secalloc.shelter(os.execv, sys.executable, [sys.executable, "-c", "print('in its place')"])
""")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", str(program)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "in its place\n", "")
