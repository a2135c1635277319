"""Sheltered calls under `python -m secalloc run`: what C libraries take lies in the shelter too."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from support import needs_lockable

from secalloc._commands.run import library

pytestmark = [
    pytest.mark.skipif("t" in sys.abiflags, reason="not for free-threaded Pythons"),
    pytest.mark.skipif(library() is None, reason="what run loads is in wheels for glibc"),
]

roomy = needs_lockable(8 << 20)
"""It makes more in the shelter than a user with 64 KiB can lock."""

PLAIN = [sys.executable, "-P"]
RUN = [*PLAIN, "-m", "secalloc", "run"]


def child(command: list[str], code: str) -> Any:
    """What it prints at last."""
    end = subprocess.run(  # noqa: S603
        [*command, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (end.returncode, end.stderr) == (0, ""), end
    return json.loads(end.stdout.splitlines()[-1])


KINDS = """
import ctypes, hashlib, json, secalloc, sqlite3, ssl, zlib
import xml.parsers.expat as expat
from secalloc import residue, shelter
libc = ctypes.CDLL(None)
libc.strdup.restype = libc.realloc.restype = ctypes.c_void_p
libc.strdup.argtypes, libc.realloc.argtypes = [ctypes.c_char_p], [ctypes.c_void_p, ctypes.c_size_t]
libc.free.argtypes, libc.free.restype = [ctypes.c_void_p], None
secret = secalloc.hexlify(secalloc.random(24))

def database():
    held = sqlite3.connect(":memory:")
    held.execute("create table t (a)")
    held.execute("insert into t values (?)", [bytes(secret).decode()])
    return held
def compressor():
    held = zlib.compressobj()
    held.compress(bytes(secret))
    return held
def parser():
    held = expat.ParserCreate()
    held.Parse(b"<a>" + bytes(secret), False)
    held.Parse(b"<b", False)
    return held
def bio():
    held = ssl.MemoryBIO()
    held.write(bytes(secret))
    return held
def digest():
    held = hashlib.sha256()
    held.update(bytes(secret))
    return held
def texts():
    held = [libc.strdup(bytes(secret)) for _ in range(5)]
    held[0] = libc.realloc(held[0], 3000)
    return held
kinds = {"sqlite3": database, "zlib": compressor, "expat": parser, "OpenSSL's BIO": bio,
         "OpenSSL's digest": digest, "strdup": texts}
for warm in kinds.values():
    texts_or_other = warm()  # imports and caches, without what is looked for
    if isinstance(texts_or_other, list): [libc.free(text) for text in texts_or_other]
del texts_or_other
secret = secalloc.hexlify(secalloc.random(24))
found, before = {}, shelter(secalloc.status).sheltered.blocks
for name, make in kinds.items():
    held = shelter(make)
    while_it_lives = len(residue.find(secret))
    if name == "strdup":
        for text in held: libc.free(text)
    del held
    found[name] = [while_it_lives, len(residue.find(secret))]
print(json.dumps([found, secalloc.status().sheltered.blocks - before]))
"""


@roomy
def test_what_c_libraries_take() -> None:
    """While it lives and when it is freed; the control is the same sheltered call without run."""
    (without, _), (under, left) = child(PLAIN, KINDS), child(RUN, KINDS)
    assert all(live for live, _ in without.values()), without
    assert without.keys() == under.keys()
    assert not any(live or freed for live, freed in under.values()), under
    assert left < 300, "what the libraries keep, and Python's floats for reuse"


FORKS = """
import ctypes, json, os, secalloc, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
from secalloc import shelter
libc = ctypes.CDLL(None)
libc.strdup.restype = libc.fopen.restype = ctypes.c_void_p
libc.strdup.argtypes, libc.free.argtypes = [ctypes.c_char_p], [ctypes.c_void_p]
libc.fopen.argtypes = [ctypes.c_char_p] * 2
libc.fgetc.argtypes = libc.fclose.argtypes = [ctypes.c_void_p]
libc.pthread_setspecific.argtypes = [ctypes.c_uint, ctypes.c_void_p]
def takes():
    key = ctypes.c_uint()
    for _ in range(60):  # past those that a thread has room for from its beginning
        assert libc.pthread_key_create(ctypes.byref(key), None) == 0
    assert libc.pthread_setspecific(key, 5) == 0
    file = libc.fopen(b"/proc/self/maps", b"r")
    assert libc.fgetc(file) > 0
    return key, file, [libc.strdup(b"x" * n) for n in range(1, 3000, 100)]
def checks(key, file, texts):
    assert libc.pthread_getspecific(key) == 5 and libc.fgetc(file) > 0
    assert all(ctypes.string_at(at) == b"x" * n for at, n in zip(texts, range(1, 3000, 100)))
stop = threading.Event()
def take(): [libc.free(libc.strdup(b"y" * 200)) for _ in range(99)]
def busy():
    while not stop.is_set(): shelter(take)
threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads: thread.start()
held = shelter(takes)
bad = 0
for turn in range(TURNS):
    pid = os.fork()
    if pid == 0:
        try:
            checks(*held)
            for at in held[2]: libc.free(at)
            shelter(lambda: [libc.free(libc.strdup(b"z" * 200)) for _ in range(99)])
            libc.fclose(held[1])
        except BaseException: os._exit(1)
        os._exit(7)
    bad += os.waitpid(pid, 0)[1] != 7 << 8
checks(*held)
stop.set()
for thread in threads: thread.join()
print(json.dumps(bad))
"""


@roomy
def test_forks_beside_c_code_that_is_sheltered() -> None:
    """With a file and a thread's value of the C library, which a child looks at first of all."""
    assert child(RUN, FORKS.replace("TURNS", "30")) == 0


@roomy
def test_blocks_that_are_aligned() -> None:
    """By the heap itself: at a multiple of what is asked for, up to a page; beyond, none."""
    code = """
import ctypes, json, os, secalloc
libc, page = ctypes.CDLL(None), os.sysconf("SC_PAGESIZE")
libc.aligned_alloc.restype, libc.aligned_alloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2
libc.free.argtypes = [ctypes.c_void_p]
def takes():
    made = []
    for alignment in (16, 64, 256, page):
        for size in (1, 100, 2000, 3000, 70000):
            at = libc.aligned_alloc(alignment, size)
            assert at % alignment == 0, (at, alignment, size)
            ctypes.memset(at, 7, size)
            made.append((at, (ctypes.c_char * size).from_address(at)))
    assert libc.aligned_alloc(2 * page, 100) is None
    return made
made = secalloc.shelter(takes)
assert all(secalloc.is_sheltered(content) for _, content in made)
before = secalloc.status().sheltered.blocks
for at, _ in made: libc.free(at)
print(json.dumps(before - secalloc.status().sheltered.blocks))
"""
    assert child(RUN, code) >= 20


@roomy
def test_to_the_end_and_with_an_import_inside() -> None:
    """What C code took lives past Python; a library that is loaded inside stays loaded."""
    code = """
import atexit, ctypes, secalloc
def late():
    import _decimal, _lzma
    kept.append(secalloc.shelter(_lzma.LZMADecompressor))  # small: 8 MiB may be locked
    print(int(_decimal.Decimal(10)))
kept = []
atexit.register(secalloc.shelter, late)
libc = ctypes.CDLL(None)
def c_exit(): import _bz2; kept.append(_bz2.BZ2Compressor())
secalloc.shelter(c_exit)
libc.strdup.restype = ctypes.c_void_p
secalloc.shelter(libc.strdup, b"kept")
"""
    assert child(RUN, code) == 10


@roomy
@pytest.mark.skipif(os.getuid() != 0, reason="a limit that it can go below is a user's")
def test_no_memory_is_an_error_of_the_library() -> None:
    code = """
import json, os, resource, secalloc, sqlite3, warnings
os.setgroups([]); os.setgid(65534); os.setuid(65534)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 18, 1 << 18))
warnings.simplefilter("ignore")
def fill():
    held = sqlite3.connect(":memory:")
    held.execute("create table t (a)")
    for _ in range(2000): held.execute("insert into t values (?)", ["x" * 1000])
errors = []
for _ in range(3):
    try: secalloc.shelter(fill)
    except (MemoryError, SystemError, secalloc.ProtectionError) as error: errors.append(1)
    except sqlite3.Error: errors.append(1)
print(json.dumps(errors))
"""
    assert child(RUN, code) == [1, 1, 1]
