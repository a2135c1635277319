"""Sealed content that is encrypted."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Literal

import pytest
from crash import SECRET, content, secret
from support import check, linux_only, needs_lockable

import secalloc
from secalloc import Arena, Pool, SealedError, WipedError


@pytest.fixture(autouse=True)
def default_policy() -> Iterator[None]:
    yield
    secalloc.configure(secretmem=True, encrypt=False)


def encrypted(source: bytes = SECRET) -> Arena:
    arena = Arena(source)
    arena.seal(encrypt=True)
    return arena


def test_it_is_sealed_and_says_so() -> None:
    arena = secret()
    assert not arena.encrypted
    arena.seal()
    assert arena.sealed
    assert not arena.encrypted
    arena.seal(encrypt=True)
    assert arena.sealed
    assert arena.encrypted
    with pytest.raises(SealedError):
        bytes(arena)
    arena.seal()
    assert arena.encrypted
    arena.check()
    assert "sealed" in repr(arena)
    arena.seal(encrypt=False)
    assert arena.sealed
    assert not arena.encrypted
    with arena.open("r") as view:
        assert view == SECRET
    arena.close()
    assert not arena.encrypted
    assert not Pool().random(5).encrypted


@pytest.mark.parametrize("size", [0, 1, 96, 4096, 4097, 200_000, 1 << 20])
def test_blocks(size: int) -> None:
    arena = encrypted(content(size))
    for _ in range(2):
        with arena.open("r") as view:
            assert not arena.encrypted
            assert view == content(size)
        assert arena.encrypted
    with arena.open("rw") as view:
        with arena.open("r") as inner:
            assert inner == content(size)
        assert not arena.encrypted
        view[:] = bytes(size)
    assert arena.encrypted
    with arena.open("w") as view:
        view[:] = content(size)[::-1]
    assert arena.encrypted
    arena.rotate()
    arena.replace(content(size))
    assert arena.encrypted
    with arena.open("r") as view:
        assert view == content(size)


def test_an_exception_in_a_filling_block_leaves_noise() -> None:
    arena = encrypted()
    with suppress(KeyError), arena.open("w") as view:
        view[:] = SECRET
        raise KeyError
    assert arena.wiped
    assert arena.sealed
    assert not arena.encrypted
    modes: tuple[Literal["r", "rw"], ...] = ("r", "rw")
    for mode in modes:
        with pytest.raises(WipedError), arena.open(mode):
            pass
    arena.replace(SECRET)
    assert arena.encrypted


def test_an_export_keeps_it_plain_until_it_ends() -> None:
    arena = encrypted()
    block = arena.open("r")
    view = block.__enter__()
    held = memoryview(view)
    with pytest.raises(BufferError):
        block.__exit__()
    assert held == SECRET
    assert not arena.encrypted
    held.release()
    assert arena.encrypted


def test_by_default() -> None:
    assert secalloc.configure(encrypt=True) is False
    assert secalloc.configure(encrypt=True) is True
    assert secalloc.configure(secretmem=False, encrypt=True) == (True, True)
    assert secalloc.configure(secretmem=True, encrypt=True) == (False, True)
    arena = secret()
    arena.seal()
    assert arena.encrypted
    plain = secret()
    plain.seal(encrypt=False)
    assert not plain.encrypted
    assert secalloc.configure(secretmem=True) is True


def test_what_cannot_be_encrypted() -> None:
    large = Arena((1 << 20) + 1)
    pool = Pool()
    pooled = pool.alloc(SECRET)
    with pytest.raises(ValueError, match="1 MiB"):
        large.seal(encrypt=True)
    with pytest.raises(ValueError, match="share pages"):
        pool.seal(encrypt=True)
    with pytest.raises(ValueError, match="seal the pool"):
        pooled.seal(encrypt=True)
    secalloc.configure(encrypt=True)
    with pytest.raises(ValueError, match=r"1 MiB.*encrypt=False"):
        large.seal()
    with pytest.raises(ValueError, match=r"share pages.*encrypt=False"):
        pool.seal()
    assert not large.sealed
    assert not pool.sealed
    large.seal(encrypt=False)
    pool.seal(encrypt=False)
    assert large.sealed
    assert pool.sealed
    pool.close()
    with pytest.raises(ValueError, match="closed"):
        pool.seal()


@pytest.mark.parametrize("bad", [1, 0, "yes", b""])
def test_bad_arguments(bad: object) -> None:
    calls: list[Any] = [secret().seal, Pool().seal, secalloc.configure]
    for call in calls:
        with pytest.raises(TypeError, match="encrypt is a bool"):
            call(encrypt=bad)
    configure: Any = secalloc.configure
    with pytest.raises(TypeError, match=r"secretmem=, encrypt="):
        configure()
    with pytest.raises(TypeError, match="secretmem is a bool"):
        configure(secretmem=1, encrypt=True)
    arena = secret()
    arena.seal()
    assert not arena.encrypted  # nothing of that was set


def test_a_lockdown_wipes_it_and_the_keys() -> None:
    arena = encrypted()
    before = secalloc.status().arenas
    assert secalloc.lockdown() == before
    assert arena.wiped
    assert arena.sealed
    assert not arena.encrypted
    with pytest.raises(WipedError), arena.open("r"):
        pass
    with arena.open("w") as view:
        view[:] = SECRET
    assert arena.encrypted
    with pytest.raises(WipedError, match="while the block was open"), arena.open("r"):
        arena.clear()


def test_threads() -> None:
    """Readers find the content, or are told that it was wiped."""
    arena = encrypted(content(3000))
    end = threading.Event()
    wrong: list[object] = []

    def read() -> None:
        while not end.is_set():
            right = True
            try:
                with arena.open("r") as view:
                    right = view == content(3000)
            except WipedError:
                continue
            except Exception as error:
                wrong.append(error)
            if not right:
                wrong.append("noise")

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(150):
        with suppress(BufferError, WipedError):
            if turn % 5 == 0:
                arena.rotate(timeout=5)
            elif turn % 5 == 1:
                arena.seal(encrypt=turn % 2 == 0, timeout=5)
            else:
                secalloc.lockdown()
                arena.replace(content(3000), timeout=5)
    end.set()
    for thread in threads:
        thread.join()
    assert not wrong


@linux_only
def test_what_lies_on_its_pages() -> None:
    """The process's own memory file opens what is inaccessible, but not secretmem."""
    secalloc.configure(secretmem=False)
    for encrypt in (False, True):
        arena = secret()
        arena.seal(encrypt=encrypt)
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(arena.address)
            found = memory.read(len(SECRET))
        alike = sum(map(int.__eq__, found, SECRET))
        assert (alike == len(SECRET)) is not encrypt
        assert encrypt is (alike < len(SECRET) // 4)


@linux_only
def test_where_the_lock_limit_is_spent() -> None:
    """Those that are sealed give their locks to others. What finds none when it opens is told of
    once, and under a requirement it stays sealed."""
    check("""
    limit(resource.RLIMIT_MEMLOCK, 64 << 10)
    become_nobody()
    log = collect_warnings()
    secalloc.configure(secretmem=False, encrypt=True)
    many = [Arena(SECRET, require=Protection.LOCK) for _ in range(1)]
    for _ in range(40):
        many[-1].seal()
        many.append(Arena(SECRET, require=Protection.LOCK))
    assert not log, log[0].message
    assert sum(Protection.LOCK in a.protection for a in many) <= 12
    with many[0].open("r") as view:
        assert view == SECRET and Protection.LOCK in many[0].protection
    many[-1].seal()
    free = Arena(SECRET)
    free.seal()
    others = take_all_locks()
    assert not log
    assert not any(Protection.LOCK in a.protection for a in (*many, free))
    with free.open("r") as view:
        assert view == SECRET and Protection.LOCK not in free.protection
    assert [w.category for w in log] == [ProtectionWarning], log
    assert "mlock" in str(log[0].message) and "65536" in str(log[0].message), log[0].message
    for arena in (many[3], free):
        if arena is free:
            secalloc.require(Protection.LOCK)
        for enter in (arena.open("r"), arena.open("w")):
            try:
                enter.__enter__()
            except secalloc.ProtectionError as error:
                assert error.errno == errno.ENOMEM and "LOCK" in str(error), error
            else:
                raise AssertionError(arena)
        assert arena.encrypted and arena.sealed
    others.clear()
    for arena in (many[3], free):
        with arena.open("r") as view:
            assert view == SECRET and Protection.LOCK in arena.protection
    assert len(log) == 1
    """)


@linux_only
def test_a_seal_that_falls_short_says_so() -> None:
    """It is plaintext again from then on, without the lock that others have got."""
    check("""
    limit(resource.RLIMIT_MEMLOCK, 64 << 10)
    become_nobody()
    secalloc.configure(secretmem=False)
    log = collect_warnings()
    a = Arena(SECRET, name="mine")
    a.seal(encrypt=True)
    others = take_all_locks()
    assert not log, log
    a.seal(encrypt=False)
    assert Protection.LOCK not in a.protection and not a.encrypted
    assert [w.category for w in log] == [ProtectionWarning], log
    assert "LOCK" in str(log[0].message) and "'mine'" in str(log[0].message), log[0].message
    with a.open("r") as view:
        assert view == SECRET
    assert len(log) == 1
    """)


@linux_only
@needs_lockable(1 << 18)
def test_configure_says_what_the_keys_lie_without() -> None:
    """With the warning as an error it changes nothing. The control has secretmem switched off."""
    for error in (False, True):
        check(f"""
        deny("memfd_secret", errno.EPERM)
        log = collect_warnings()
        if {error}:
            warnings.simplefilter("error")
            raises(ProtectionWarning, lambda s: s.configure(encrypt=True), of=secalloc)
        else:
            secalloc.configure(encrypt=True)
            assert [w.category for w in log] == [ProtectionWarning], log
            assert "SECRETMEM" in str(log[0].message), log[0].message
            assert log[0].filename == "<string>", log[0].filename
        a = Arena(SECRET)
        a.seal()
        assert a.encrypted is not {error}
        assert len(log) == {int(not error)}, log
        """)
    check("""
    log = collect_warnings()
    secalloc.configure(secretmem=False, encrypt=True)
    assert not log, log[0].message
    """)


@linux_only
def test_a_warning_that_is_an_error_ends_the_block() -> None:
    check("""
    limit(resource.RLIMIT_MEMLOCK, 64 << 10)
    become_nobody()
    secalloc.configure(secretmem=False)
    a = Arena(SECRET)
    a.seal(encrypt=True)
    others = take_all_locks()
    warnings.simplefilter("error")
    try:
        with a.open("r"):
            pass
    except ProtectionWarning:
        pass
    else:
        raise AssertionError
    assert a.encrypted
    with a.open("r") as view:
        assert view == SECRET
    """)


@linux_only
def test_keys_that_cannot_be_locked() -> None:
    check("""
    limit(resource.RLIMIT_MEMLOCK, 8 << 10)
    become_nobody()
    warnings.simplefilter("ignore")
    secalloc.configure(secretmem=False)
    a = secret()
    for call in (lambda a: secalloc.configure(encrypt=True), lambda a: a.seal(encrypt=True)):
        raises(secalloc.ProtectionError, call, of=a)
    assert secalloc.configure(encrypt=False) is False
    assert a == SECRET and not a.sealed
    """)
