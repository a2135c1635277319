"""The order: what a native handler that was there first gets to see.

The observer is compiled (spy.c) and its handler is installed before the
library's, which must therefore run first, wipe, and then hand over. With the
library disarmed the same observer must see the secret, or it proves nothing.
"""

import os
import struct
from signal import Signals

import pytest
from support import TRIALS, Outcome, linux_only, run, spy, x86_or_arm_linux

BATCH = 4
KINDS = ["segv", "bus", "ill", "abrt"]
SIGNALS = {
    "segv": Signals.SIGSEGV,
    "bus": Signals.SIGBUS,
    "ill": Signals.SIGILL,
    "abrt": Signals.SIGABRT,
    "trap": Signals.SIGTRAP,
    "sys": Signals.SIGSYS,
}


POOLED = """
pool = secalloc.Pool()
near += [pool.alloc(rng.randrange(1, 3000)) for _ in range(rng.randrange(300))]
a = pool.alloc(SECRET + bytes(rng.choice([0, 100, 1900, 5000, 200_000])))
near += [pool.alloc(rng.randrange(1, 3000)) for _ in range(rng.randrange(300))]
if rng.random() < .3: a.rotate()
for other in near[::3]: other.close()
spy.spy_watch(ctypes.c_void_p(a.address), ctypes.c_size_t(a.size), masked, len(masked))
"""
PLACES = {"own pages": "", "pooled": POOLED}
each_place = pytest.mark.parametrize("place", PLACES)


def observed(code: str, kind: str, *, seed: int = 0, info: int = 0) -> Outcome:
    """Run a snippet under the observer; its marker pipe carries the observer's word too."""
    setup = f"""
import random
rng = random.Random({seed})
spy = ctypes.CDLL({spy()!r})
number = {int(SIGNALS[kind])}
pipe = secalloc.status().lockdown_fd
assert spy.spy_install(number, pipe, {info}) == 0
size = rng.choice([96, 200, 4096, 5000, 60_000, 200_000])
near = [Arena(rng.randrange(1, 20_000)) for _ in range(rng.randrange(20))]
a = Arena(size, align=rng.choice([1, 16, 4096]))
at = rng.randrange(size - len(SECRET) + 1)
a[at:at + len(SECRET)] = SECRET
near += [Arena(rng.randrange(1, 20_000)) for _ in range(rng.randrange(20))]
masked = bytes(b ^ 0x5A for b in SECRET)
spy.spy_watch(ctypes.c_void_p(a.address), ctypes.c_size_t(size), masked, len(masked))
fall = rng.choice([fault, lambda kind: on_thread(fault, kind)])
"""
    return run(setup + code)


@x86_or_arm_linux
@each_place
@pytest.mark.parametrize("batch", range(BATCH))
def test_the_observer_sees_noise(batch: int, place: str) -> None:
    for seed in range(batch, TRIALS, BATCH):
        kind = KINDS[seed % len(KINDS)]
        end = observed(f"{PLACES[place]}fall({kind!r})", kind, seed=seed)
        assert end.fate == (-SIGNALS[kind], b"FN"), (seed, end)


@x86_or_arm_linux
@each_place
@pytest.mark.parametrize("batch", range(BATCH))
def test_disarmed_it_sees_the_secret(batch: int, place: str) -> None:
    for seed in range(batch, TRIALS, BATCH):
        kind = KINDS[seed % len(KINDS)]
        end = observed(f"{PLACES[place]}secalloc.disarm(); fall({kind!r})", kind, seed=seed)
        assert end.fate == (-SIGNALS[kind], b"S"), (seed, end)


@x86_or_arm_linux
@each_place
def test_with_other_threads_at_work(place: str) -> None:
    """Making, rotating and closing meanwhile must not let the watched one escape."""
    code = f"""
{PLACES[place]}
def work():
    while True:
        b = pool.alloc(SECRET) if {place == "pooled"} else secret(rng.randrange(1, 9000))
        b.rotate(timeout=1)
        b.clear()
        b.close()
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(rng.random() / 50)
fault("segv")
"""
    for seed in range(max(4, TRIALS // 4)):
        end = observed(code, "segv", seed=seed)
        assert end.fate == (-11, b"FN"), (seed, end)


ROTATING = """
from secalloc import Protection
if Protection.SECRETMEM not in a.protection:
    print("no secretmem")
    sys.exit()
a.close()
big = Arena(SECRET * rng.choice([40, 700, 3000]))
def work():
    while True:
        big.rotate()
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
spy.spy_watch(None, ctypes.c_size_t(0), masked, len(masked))
time.sleep(rng.random() / 50)
"""


@x86_or_arm_linux
@pytest.mark.parametrize("disarm", ["", "secalloc.disarm()"])
def test_what_is_rotated_meanwhile_is_nowhere(disarm: str) -> None:
    """All secretmem of the process is watched, so that no move can escape.

    Disarmed the secret goes on moving, and may pass by the observer now and then.
    """
    seen = set()
    for seed in range(max(4, TRIALS // 4)):
        end = observed(f"{ROTATING}\n{disarm}\nfault('segv')", "segv", seed=seed)
        if end.out.strip() == "no secretmem":
            pytest.skip("watches secretmem, which this machine does not have")
        assert end.code == -11, (seed, end)
        seen.add(end.marker)
    assert b"S" in seen <= {b"S", b"N"} if disarm else seen == {b"FN"}, seen


INFO = struct.Struct("=iiQ")


def siginfo(code: str, kind: str, disarm: bool) -> tuple[int, bytes, tuple[int, ...]]:
    """The exit, what was seen, and the siginfo that the observer was handed."""
    end = observed(("secalloc.disarm()\n" if disarm else "") + code, kind, info=1)
    text, record = end.marker[: -INFO.size], end.marker[-INFO.size :]
    return end.code, text, INFO.unpack(record)


HANDED = {
    "forced segv": ("segv", "fault('segv')", (1, 8)),
    "forced ill": ("ill", "fault('ill')", None),
    "forced bus": ("bus", "fault('bus')", None),
    "forced trap": ("trap", "fault('trap')", None),
    "forced sys": ("sys", "fault('sys')", None),
    "sent segv": ("segv", "os.kill(os.getpid(), 11); time.sleep(30)", (0, None)),
    "raised abrt": ("abrt", "os.abort()", (-6, None)),
}


@x86_or_arm_linux
@pytest.mark.parametrize("name", HANDED)
def test_siginfo_is_handed_over_unchanged(name: str) -> None:
    kind, code, expected = HANDED[name]
    armed = siginfo(code, kind, disarm=False)
    plain = siginfo(code, kind, disarm=True)
    assert (armed[0], plain[0]) == (-SIGNALS[kind],) * 2
    assert (armed[1], plain[1]) == (b"FN", b"S")
    assert armed[2][:2] == plain[2][:2]
    if expected is not None:
        assert armed[2][1] == plain[2][1] == expected[0]
    if expected is not None and expected[1] is not None:
        assert armed[2][2] == plain[2][2] == expected[1]


# ---- normal exit -----------------------------------------------------------------------

EXIT = """
spy = ctypes.CDLL({spy!r})
pipe = os.dup(secalloc.status().lockdown_fd)
masked = bytes(b ^ 0x5A for b in SECRET)
if {before}: spy.spy_at_exit(pipe)
a = {arena}
if not {before}: spy.spy_at_exit(pipe)
spy.spy_watch(ctypes.c_void_p(a.address), ctypes.c_size_t(a.size), masked, len(masked))
ctypes.pythonapi.Py_IncRef(ctypes.py_object(a))  # not deallocated with the interpreter
import atexit
atexit.register(lambda: os.write(1, b"usable" if bytes(a)[:96] == SECRET else b"gone"))
"""


@linux_only
@pytest.mark.parametrize("arena", ["secret({})", "secalloc.Pool().alloc(content({}))"])
@pytest.mark.parametrize("size", [96, 5000, 200_000])
@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "raise SystemExit"])
def test_normal_exit_wipes_after_all_python_code(arena: str, size: int, ending: str) -> None:
    """The observer registered first looks last; the one registered later is the control."""
    for before, seen in ((True, b"N"), (False, b"S")):
        end = run(EXIT.format(spy=spy(), before=before, arena=arena.format(size)) + ending)
        assert (end.fate, end.out) == ((0, seen), "usable"), (before, end)


def test_exit_past_the_hooks_is_a_stated_limit() -> None:
    assert run("a = secret(); os._exit(7)").fate == (7, b"")


def test_the_number_of_trials_is_sane() -> None:
    assert TRIALS >= BATCH or "SECALLOC_TRIALS" in os.environ
    assert os.environ.get("SECALLOC_TRIALS", "40") == str(TRIALS)
