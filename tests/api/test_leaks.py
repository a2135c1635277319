"""Nothing stays behind: mappings, descriptors and locked memory, call by call."""

import gc
import os
import sys
from contextlib import suppress

from support import check, linux_only, needs_lockable

import secalloc
from secalloc import residue

PUBLIC = {
    "lock_on": """
try: secalloc.lock_on("lunch")
except ValueError: pass""",
    "AdoptError": "",
    "Arena": "Arena(100).close(); Arena(b'x' * 300_000).close(); Arena(5, align=64)",
    "Arena.align": "[Arena(1, align=1 << n).close() for n in range(13)]",
    "Arena.address": "a.address",
    "Arena.check": "a.check()",
    "Arena.clear": "b = secret(); b.clear()",
    "Arena.close": "b = secret(); v = memoryview(b); b.close(); v.release()",
    "Arena.closed": "a.closed",
    "Arena.count": "a.count(SECRET[5:9]); large.count(5, 3)",
    "Arena.expire": "b = secret(); b.expire(3600, idle=True); b.expire(None)",
    "Arena.encrypted": "b = secret(); b.seal(encrypt=True); b.encrypted",
    "Arena.endswith": "a.endswith(SECRET[-5:]); a.endswith((b'x', a[3:]))",
    "Arena.find": "a.find(SECRET[5:9]); a.find(a[7:20], 3); large.find(b'none')",
    "Arena.index": """
a.index(SECRET[7:])
try: a.index(b"none")
except ValueError: pass""",
    "Arena.lstrip": "a.lstrip(SECRET[:2]); a[3:].lstrip()",
    "Arena.name": """
b = Arena(5, name="called"); b.name; b.name = "x" * 63; b.name = None; b.name = "kept"
try: b.name = "x" * 64
except ValueError: pass
try: Arena(5, name=5)
except TypeError: pass""",
    "Arena.open": """
with a.open("w") as v: v[:] = SECRET
try:
    with a.open("w") as v: raise KeyError
except KeyError: pass
a[:] = SECRET""",
    "Arena.partition": "a.partition(SECRET[4:6]); a.partition(b'none')",
    "Arena.removeprefix": "a.removeprefix(SECRET[:5]); a.removeprefix(a)",
    "Arena.removesuffix": "a.removesuffix(SECRET[-5:])",
    "Arena.rfind": "a.rfind(SECRET[5:9]); large.rfind(a)",
    "Arena.rindex": "a.rindex(SECRET[7:])",
    "Arena.rpartition": "a.rpartition(SECRET[4:6])",
    "Arena.rsplit": "a.rsplit(SECRET[4:6], 2); a.rsplit()",
    "Arena.rstrip": "a.rstrip(SECRET[-2:]); a.rstrip()",
    "Arena.split": """
a.split(SECRET[4:6]); large.split(SECRET[4:6]); a.split()
try: a.split(b"")
except ValueError: pass""",
    "Arena.startswith": "a.startswith(SECRET[:4]); large.startswith(a, 3)",
    "Arena.strip": "a.strip(SECRET[:3]); a.strip()",
    "Arena.reveal": """
a[:0].reveal(); a[:0].reveal("ascii")
def shown():
    a.reveal(); a.reveal("latin-1")
    for bad in ("ascii", "no such"):
        try: a.reveal(bad)
        except (ValueError, LookupError): pass
try: secalloc.shelter(shown)
except NotImplementedError: pass""",
    "Arena.pool": "a.pool; secalloc.Pool().alloc(1).pool",
    "Arena.protection": "a.protection",
    "Arena.replace": """
b = secret(); b.replace(bytes(len(b))); b.clear(); b.replace(bytes(len(b)))
with memoryview(b):
    try: b.replace(bytes(len(b)))
    except BufferError: pass
try: b.replace(b"")
except ValueError: pass""",
    "Arena.rotate": """
a.rotate(); large.rotate()
with memoryview(a):
    try: a.rotate()
    except BufferError: pass""",
    "Arena.seal": """
b = secret(); b.seal(); b.rotate(); b.check(); repr(b); v = b[2:]
for mode in ("r", "rw", "w"):
    with b.open(mode) as w: m = memoryview(w); m.release(); bytes(w[:0])
try: bytes(v)
except (secalloc.SealedError, secalloc.WipedError): pass
b.close()""",
    "Arena.sealed": "a.sealed",
    "Arena.size": "a.size",
    "Arena.wiped": "a.wiped",
    "Pool": "secalloc.Pool(); secalloc.Pool().alloc(1); repr(pool)",
    "Pool.alloc": """
for n in (0, 1, 500, 3000, 200_000): pool.alloc(n); pool.alloc(bytes(n)).close()
kept = [pool.alloc(SECRET) for _ in range(500)]; kept[7].rotate(); kept[9].clear()
for bad in (2**47, 2**62, -1, "x", None, 1.5, True):
    try: pool.alloc(bad)
    except (MemoryError, ValueError, TypeError, OverflowError): pass""",
    "Pool.close": """
with secalloc.Pool() as p: b = p.alloc(SECRET); v = memoryview(b)
v.release()
try: p.alloc(1)
except ValueError: pass""",
    "Pool.closed": "pool.closed",
    "Pool.open": """
for mode in ("r", "rw", "w"):
    with pool.open(mode): pool.sealed""",
    "Pool.seal": """
with secalloc.Pool() as p:
    b = p.alloc(SECRET); p.seal(); b.rotate(); b.close()
    with p.open("rw"): p.random(3000)
    try: p.alloc(1)
    except secalloc.SealedError: pass""",
    "Pool.sealed": "pool.sealed",
    "Pool.random": "pool.random(50); pool.random(500_000)",
    "Pool.take": "pool.take(bytearray(100)); pool.take(secret())",
    "ArenaView": "bytes(a[1:9][2:]); memoryview(a[3:]).release()",
    "items": "a[0] = a[1]; a[2:5] = a[4:7]; a[0:3] = b'abc'; a[:] = SECRET",
    "comparison": "a == SECRET; a < large; a != large[5:]; a == None",
    "sum": "a + b'x'; b'x' + a; a + large",
    "buffer": "memoryview(a).release(); bytes(large); bytes(a)",
    "Protection": "secalloc.Protection.LOCK in a.protection",
    "ClosedError": """
b = secret(); b.close()
try: b[0]
except secalloc.ClosedError: pass""",
    "Error": "",
    "ForkedError": "os.waitpid(os.fork() or os._exit(bool(a.closed) - 1), 0)",
    "LockdownChannel": "secalloc.LockdownChannel().close(); repr(channel)",
    "LockdownChannel.child": "channel.child().release()\nwhile channel.wait(0): pass",
    "LockdownChannel.child.secrets": """
with channel.child(secrets={"a": a}) as c: pass
del c
while channel.wait(0): pass
for bad in ({"x": b"y"}, {1: a}, {"x" * 256: a}):
    try: channel.child(secrets=bad)
    except (TypeError, ValueError): pass
for _ in range(2000):
    if not threading.active_count() > 1 and not any(
        os.path.exists(f"/proc/self/task/{t}") for t in os.listdir("/proc/self/task")
        if int(t) != os.getpid()): break
    time.sleep(0.001)""",
    "LockdownChannel.close": """
with secalloc.LockdownChannel() as c: c.child(); d = c.child(); e = c.popen_args()
c.close()""",
    "LockdownChannel.closed": "channel.closed",
    "LockdownChannel.fileno": "channel.fileno()",
    "LockdownChannel.offer": """
with secalloc.LockdownChannel() as c:
    d = c.offer({"a": a}, name="workers")
    d.expect(1); d.give("b", a); d.holders; repr(d)
del c, d
for _ in range(2000):
    if not any(os.path.exists(f"/proc/self/task/{t}") for t in os.listdir("/proc/self/task")
        if int(t) != os.getpid()): break
    time.sleep(0.001)""",
    "LockdownChannel.on_event": """
with secalloc.LockdownChannel() as c: t = c.on_event(print)
t.join()""",
    "LockdownChannel.popen_args": """
channel.popen_args(name="x")
while channel.wait(0): pass""",
    "LockdownChannel.wait": """
with channel.child() as c: os.write(c.fd, b"LF?")
for event in channel:
    if event.kind == "GARBAGE": break""",
    "LockdownChild": "channel.child()\nwhile channel.wait(0): pass",
    "LockdownEvent": "",
    "LockdownKind": "",
    "SealedError": "",
    "WipedError": """
b = secret(); b.clear()
try: bytes(b)
except secalloc.WipedError: pass""",
    "ProtectionError": "",
    "ProtectionWarning": "",
    "failures": """
for bad in (2**47, 2**62, -1, "x", None, 1.5, True):
    try: Arena(bad)
    except (MemoryError, ValueError, TypeError, OverflowError): pass
try: secalloc.concat(a, "x")
except TypeError: pass
try: Arena(1, align=3)
except ValueError: pass""",
    "adopt": """
try: secalloc.adopt("x")
except secalloc.AdoptError: pass""",
    "on_offer": """
try: secalloc.on_offer(print)
except secalloc.AdoptError: pass""",
    "arm": "secalloc.arm(); secalloc.arm(signals=[11]); secalloc.arm()",
    "credential": """
with tempfile.TemporaryDirectory() as d:
    os.environ["CREDENTIALS_DIRECTORY"] = d
    with open("/proc/self/exe", "rb") as e, open(d + "/x", "wb") as f: f.write(e.read(50) + b"\\n")
    secalloc.credential("x", name="x").close(); secalloc.credential("none", required=False)
    for bad in ("none", "..", "/"):
        try: secalloc.credential(bad)
        except (OSError, ValueError): pass
    try: secalloc.credential("x", max_size=5)
    except ValueError: pass""",
    "write": """
with tempfile.TemporaryDirectory() as d:
    secalloc.write(d + "/x", a); secalloc.write(d + "/x", a[5:9], mode=0o644)
    for bad in (d, d + "/none/x"):
        try: secalloc.write(bad, a)
        except OSError: pass
    try: secalloc.write(d + "/x", a, exclusive=True)
    except FileExistsError: pass""",
    "disarm": "secalloc.disarm(); secalloc.disarm(); secalloc.arm()",
    "as_path": """
for seekable in (False, True):
    for given in (a, large):
        with secalloc.as_path(given, seekable=seekable) as path: os.read(path.fds[0], 10)
b = secret(); b.clear()
try: secalloc.as_path(b, seekable=True).__enter__()
except secalloc.WipedError: pass
secalloc.as_path(a, seekable=True).__enter__(); secalloc.as_path(large).__enter__()""",
    "pipe": """
for given in (a, a[3:], large):
    with secalloc.pipe(given) as fd: os.read(fd, 10)
try: secalloc.pipe(b"x")
except TypeError: pass
secalloc.pipe(large).__enter__()""",
    "b64decode": """
secalloc.b64decode("QUJD"); secalloc.b64decode(b"QUJD", urlsafe=True)
for bad in ("QUI", "QU D", b"=QQQ"):
    try: secalloc.b64decode(bad)
    except ValueError: pass""",
    "b64encode": "secalloc.b64encode(a); secalloc.b64encode(b'x', urlsafe=True)",
    "encode": """
secalloc.encode("x\u00e4" * 100)
try: secalloc.encode(chr(0xD800))
except ValueError: pass""",
    "fromhex": """
secalloc.fromhex("00 ff"); secalloc.fromhex(b"ff")
for bad in ("0", "0g", bytes([255])):
    try: secalloc.fromhex(bad)
    except ValueError: pass""",
    "getenv": """
os.environ["SECALLOC_LEAK"] = "value"
secalloc.getenv("SECALLOC_LEAK", consume=False); secalloc.getenv("SECALLOC_LEAK")
secalloc.getenv("SECALLOC_LEAK")""",
    "getpass": "assert secalloc.getpass('?').size > 10",
    "read": """
secalloc.read("/dev/null"); secalloc.read("/proc/self/maps"); secalloc.read("/etc/passwd", 5)
for bad in ("/", "/missing"):
    try: secalloc.read(bad)
    except OSError: pass
try: secalloc.read("/dev/null", 5)
except EOFError: pass
secalloc.read("/etc/passwd", strip=True, max_size=1 << 20)
try: secalloc.read("/etc/passwd", max_size=5)
except ValueError: pass""",
    "harden": "secalloc.harden()",
    "Hardening": "secalloc.harden()",
    "residue.Copy": "",
    "residue.MOST": "",
    "residue.find": """
secalloc.residue.find(a[:16]); secalloc.residue.find(large[:5000], partial=False)
for bad in (a[:7], b"x" * 32, 5):
    try: secalloc.residue.find(bad)
    except (TypeError, ValueError): pass
def stop(done, total): raise KeyError
try: secalloc.residue.find(a, progress=stop)
except KeyError: pass""",
    "hexlify": "secalloc.hexlify(a); secalloc.hexlify(large)",
    "clear": "secalloc.clear(bytearray(100)); b = secret(); secalloc.clear(b)",
    "compare_digest": "secalloc.compare_digest(a, SECRET); secalloc.compare_digest(b'a', b'b')",
    "configure": """
secalloc.configure(secretmem=secalloc.configure(secretmem=False))""",
    "trim": "secalloc.trim()",
    "Sheltered": "secalloc.Sheltered(1, 2)",
    "shelter": """
try:
    secalloc.shelter(lambda: [os.urandom(n) for n in (3, 300, 3000, 300_000)])
    try: secalloc.shelter(lambda: 1 // 0)
    except ZeroDivisionError: pass
    try: secalloc.shelter(5)
    except TypeError: pass
except NotImplementedError: pass""",
    "sheltered": """
try: secalloc.sheltered(lambda: os.urandom(500))(); secalloc.sheltered(fork=True)(int)()
except NotImplementedError: pass""",
    "capture": """
try: secalloc.capture(os.urandom, 500); secalloc.capture(str, 500)
except NotImplementedError: pass""",
    "capturing": """
try: secalloc.capturing(os.urandom)(500)
except NotImplementedError: pass""",
    "is_sheltered": "secalloc.is_sheltered(b'x'); secalloc.is_sheltered(5)",
    "require": """
secalloc.require(secalloc.require(secalloc.Protection.GUARD))
secalloc.configure(secretmem=False)
try: Arena(100, require=secalloc.Protection.SECRETMEM)
except secalloc.ProtectionError: pass
secalloc.configure(secretmem=True)""",
    "concat": "secalloc.concat(a, large, b'x'); secalloc.concat()",
    "is_secure": "secalloc.is_secure(a[3:]); secalloc.is_secure(b'x')",
    "lockdown": "secalloc.lockdown(); a[:] = SECRET; large[:] = bytes(large.size)",
    "random": "secalloc.random(50); secalloc.random(500_000)",
    "rekey": "secalloc.rekey()",
    "rotate": "secalloc.rotate(a)",
    "set_lockdown_fd": """
with tempfile.TemporaryFile() as f: secalloc.set_lockdown_fd(secalloc.set_lockdown_fd(f))
try: secalloc.set_lockdown_fd(999)
except OSError: pass
secalloc.set_lockdown_fd(None)""",
    "status": "secalloc.status()",
    "Status": "secalloc.status()",
    "take": "secalloc.take(bytearray(100)); secalloc.take(secret())",
}


NOTHING_TO_CALL = {
    "AdoptError", "Error", "LockdownEvent", "LockdownKind", "ProtectionError", "ProtectionWarning",
    "SealedError", "residue.Copy", "residue.MOST",
}  # fmt: skip
"""What others raise or answer with."""

REVEALS = {"buffer"}
"""What copies on purpose, by bytes() of the whole."""

# A process that sits at a terminal of this one, and answers what asks there with "?".
TYPIST = """
import fcntl, termios
master, slave = os.openpty()
if os.fork() == 0:
    os.close(slave)
    while True:
        try:
            asked = os.read(master, 4096)
        except OSError:  # the other end is closed
            os._exit(0)
        for _ in range(asked.count(b"?")):
            os.write(master, typed() + b"\\n")
os.close(master)
os.setsid()
fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
"""


def test_every_public_name_has_its_leak_test() -> None:
    types = (secalloc.Arena, secalloc.LockdownChannel, secalloc.Pool)
    members = {f"{t.__name__}.{name}" for t in types for name in vars(t) if name[0] != "_"}
    names = set(secalloc.__all__) | members | {"getpass", "random"}
    names |= {f"residue.{name}" for name in residue.__all__}
    assert sorted(names - set(PUBLIC)) == []
    silent = {name for name in names if not PUBLIC[name]}
    assert silent <= NOTHING_TO_CALL


@linux_only
@needs_lockable(8 << 20)
def test_nothing_stays_behind() -> None:
    """Each call some times to warm up, then many times: all must be as it was."""
    check(f"""
        import gc
        typed = lambda: b"what a person types"
        exec({TYPIST!r})
        calls = {{name: compile(code, name, "exec") for name, code in {PUBLIC!r}.items()}}
        a, large, pool = secret(), secret(300_000), secalloc.Pool()
        channel = secalloc.LockdownChannel()
        secalloc.set_lockdown_fd(None)
        def look():
            gc.collect()
            status = secalloc.status()
            return (our_maps(), locked_kib(), status.locked_bytes, status.arenas, status.bytes,
                    sorted(os.listdir("/proc/self/fd")))
        names = dict(globals())
        bad = []
        for name, code in calls.items():
            def times(n):
                scope = dict(names)
                for _ in range(n):
                    exec(code, scope)
                del scope
            times(20)
            before = look()
            times(60)
            after = look()
            if after != before:
                bad.append((name, before, after))
        assert not bad, bad
    """)


@linux_only
@needs_lockable(8 << 20)
def test_no_copy_stays_behind() -> None:
    """The rows again, upon a secret that nobody knows: only the calls that reveal do."""
    out = check(f"""
        masked = bytes.fromhex({os.urandom(96).hex()!r})
        typed = lambda: bytes(byte ^ 0x5A for byte in masked).hex().encode()
        exec({TYPIST!r})
        secalloc.set_lockdown_fd(None)
        def fresh():
            arena = Arena(len(masked))
            for i, byte in enumerate(masked):
                arena[i] = byte ^ 0x5A
            return arena
        def secret(size=96):
            return Arena(secalloc.concat(*[SECRET] * (size // 96 + 1))[:size])
        SECRET = fresh()
        a, large, pool = secret(), secret(300_000), secalloc.Pool()
        channel = secalloc.LockdownChannel()
        known, span = set(), lambda c: range(c.address, c.address + c.length)
        for name, code in {PUBLIC!r}.items():
            scope = {{**globals(), "known": None}}
            for _ in range(3):
                try:
                    exec(code, scope)
                except secalloc.WipedError:  # by the row itself: lockdown
                    SECRET = scope["SECRET"] = fresh()
                    a[:] = SECRET
            del scope
            with fresh() as key:
                # what an earlier row left may be overwritten in part by now
                new = [c for c in secalloc.residue.find(key) if known.isdisjoint(span(c))]
            known.update(*map(span, new))
            if new:
                print(name, *new, sep="; ")
    """)
    lines = out.splitlines()
    assert {line.partition(";")[0] for line in lines} == REVEALS, out


@linux_only
def test_the_look_sees_a_leak() -> None:
    """The control: what is kept on purpose shows in each of the numbers."""
    check("""
        a = Arena(1)
        def look():
            return our_maps(), locked_kib(), secalloc.status().locked_bytes
        before = look()
        kept = [Arena(1) for _ in range(100)]
        after = look()
        locked = secalloc.Protection.LOCK in a.protection & kept[-1].protection
        assert after[0] > before[0] + 90, (before, after)
        if locked:
            assert after[1] >= before[1] + 300, (before, after)
            assert after[2] >= before[2] + 300 * 1024, (before, after)
    """)


@linux_only
def test_large_arenas_go_back_at_once() -> None:
    check("""
        Arena(20 * mmap.PAGESIZE).close()
        before = our_maps(), locked_kib(), secalloc.status().locked_bytes
        a = Arena(2**24); a[5] = 1
        if secalloc.Protection.LOCK in a.protection:
            assert secalloc.status().locked_bytes >= before[2] + 2**24
        a.close()
        assert (our_maps(), locked_kib(), secalloc.status().locked_bytes) == before
    """)


def test_references() -> None:
    """No reference of an argument, a view or an error is kept."""
    source = bytearray(b"x" * 100)
    arena = secalloc.Arena(source)
    parts: tuple[object, ...] = (source, arena)

    def all_calls() -> None:
        secalloc.Arena(source).close()
        view = arena[1:50]
        bytes(view[2:])
        memoryview(view).release()
        arena[:] = source
        arena == source  # noqa: B015
        arena + source
        secalloc.concat(arena, source)
        secalloc.compare_digest(arena, source)
        secalloc.is_secure(arena)
        for bad in ("x", None, 5):
            with suppress(TypeError):
                arena[0:1] = bad  # type: ignore[call-overload]
            with suppress(TypeError):
                secalloc.concat(source, bad)  # type: ignore[arg-type]
        with arena.open("w") as filled:
            filled[:] = source
        hex(secalloc.lockdown())
        arena[:] = source

    all_calls()
    gc.collect()
    before = [sys.getrefcount(part) for part in parts], sys.getrefcount(secalloc.Arena)
    for _ in range(50):
        all_calls()
    gc.collect()
    after = [sys.getrefcount(part) for part in parts], sys.getrefcount(secalloc.Arena)
    assert after == before
