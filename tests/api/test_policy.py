"""What a program requires of its arenas, and what it is told when that is not to be had."""

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crash import SECRET
from support import check, linux_only, needs_lockable

import secalloc
from secalloc import Arena, Pool, Protection, ProtectionError

ALWAYS = Protection.GUARD | Protection.NOFORK


@pytest.fixture(autouse=True)
def default_policy() -> Iterator[None]:
    yield
    secalloc.configure(secretmem=True)
    secalloc.require(Protection(0))


def test_configure_returns_the_previous_setting() -> None:
    assert secalloc.configure(secretmem=False) is True
    assert secalloc.configure(secretmem=False) is False
    assert secalloc.configure(secretmem=True) is False


def test_require_returns_the_previous_requirement() -> None:
    assert secalloc.require(ALWAYS) == Protection(0)
    before = secalloc.require(Protection(0))
    assert before == ALWAYS
    assert isinstance(before, Protection)


@linux_only
@needs_lockable(1 << 20)
def test_without_secretmem() -> None:
    """Parked pages of the other kind are not handed out, whichever way it goes."""
    there = Protection.SECRETMEM in Arena(1).protection
    kept = Arena(SECRET)
    for use in (False, True, False):
        for _ in range(20):
            Arena(1).close()
        secalloc.configure(secretmem=use)
        for _ in range(50):
            with Arena(SECRET) as arena, Arena(300_000) as large, Pool() as pool:
                for each in (arena, large, pool.alloc(1)):
                    assert (Protection.SECRETMEM in each.protection) is (use and there)
                assert arena == SECRET
        assert secalloc.status().backend == ("secretmem" if use and there else "anonymous")
    assert (Protection.SECRETMEM in kept.protection) is there
    assert kept == SECRET


@linux_only
@pytest.mark.parametrize("size", [32, 300_000])
def test_an_arena_keeps_the_secretmem_that_it_has(make: Callable[..., Arena], size: int) -> None:
    """Moved or replaced after the setting changed: that is for arenas made from then on."""
    arena = make(size)
    before = arena.protection
    secalloc.configure(secretmem=False)
    arena.rotate()
    assert arena.protection == before
    arena.replace(bytes(size))
    assert arena.protection == before


@linux_only
def test_a_requirement_that_is_configured_away() -> None:
    secalloc.configure(secretmem=False)
    before = secalloc.status()
    with pytest.raises(ProtectionError, match=r"SECRETMEM.*configure") as caught:
        Arena(SECRET, require=Protection.SECRETMEM)
    assert caught.value.errno == errno.ENOTSUP
    secalloc.require(Protection.SECRETMEM)
    makers: tuple[Callable[[], object], ...] = (
        lambda: Arena(4),
        lambda: Arena(300_000),
        lambda: Pool().alloc(4),
        lambda: secalloc.concat(b"a", b"b"),
        lambda: secalloc.random(4),
        lambda: secalloc.take(bytearray(4)),
    )
    for make in makers:
        with pytest.raises(ProtectionError):
            make()
    assert secalloc.status()[:2] == before[:2]
    source = bytearray(b"still here")
    with pytest.raises(ProtectionError):
        secalloc.take(source)
    assert source == b"still here"


def test_what_always_holds_may_be_required() -> None:
    assert ALWAYS in Arena(1, require=ALWAYS).protection
    assert Arena(1, require=None)
    assert Arena(1, require=Protection(0))


@pytest.mark.parametrize("bad", [True, "LOCK", 1.0, [Protection.LOCK], None])
def test_bad_requirements_are_type_errors(bad: Any) -> None:
    with pytest.raises(TypeError):
        secalloc.require(bad)
    if bad is not None:
        with pytest.raises(TypeError):
            Arena(1, require=bad)


@pytest.mark.parametrize("bad", [-1, 32, 1 << 70])
def test_unknown_flags_are_value_errors(bad: Any) -> None:
    for call in (secalloc.require, lambda flags: Arena(1, require=flags)):
        with pytest.raises(ValueError, match="Protection"):
            call(bad)
    assert secalloc.require(Protection(0)) == Protection(0)


@pytest.mark.parametrize("bad", [None, 1, "no"])
def test_secretmem_is_a_bool(bad: Any) -> None:
    configure: Any = secalloc.configure
    with pytest.raises(TypeError):
        configure(secretmem=bad)
    with pytest.raises(TypeError):
        configure(bad)
    with pytest.raises(TypeError):
        configure()


LIMITED = """
    limit(resource.RLIMIT_MEMLOCK, 0)
    become_nobody()
"""


@linux_only
def test_a_lock_that_is_refused() -> None:
    """The errno, the limit and what raises it; nothing left mapped; then one warning."""
    out = check(
        LIMITED
        + """
    Arena_maps = lambda: sum("secretmem" in m for m in open("/proc/self/maps"))
    for _ in range(3):
        try:
            Arena(SECRET, require=Protection.LOCK)
        except secalloc.ProtectionError as error:
            print(error.errno in (errno.ENOMEM, errno.EAGAIN, errno.EPERM), error)
    print(secalloc.status().arenas, secalloc.status().locked_bytes, Arena_maps())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Arena(1), Arena(2)
    print(len(caught), caught[0].category.__name__, caught[0].message)
    warnings.simplefilter("error")
    secalloc.require(Protection.GUARD)
    print(Protection.LOCK in Arena(3).protection)
    """
    )
    lines = out.splitlines()
    for line in lines[:3]:
        assert line.startswith("True")
        assert "LOCK is required" in line
        assert "RLIMIT_MEMLOCK is 0" in line
        assert "ulimit -l" in line
    assert lines[3] == "0 0 0"
    assert lines[4].startswith("1 ProtectionWarning")
    assert "RLIMIT_MEMLOCK is 0" in lines[4]
    assert lines[5] == "False"


@linux_only
def test_no_warning_of_an_arena_that_was_refused() -> None:
    """A correct program, which asks again when there is room, runs under -W error."""
    check("""
    from secalloc import Pool
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    limit(resource.RLIMIT_MEMLOCK, hard if 0 <= hard < 16 * PAGE else 16 * PAGE)
    become_nobody()
    warnings.simplefilter("ignore")
    first, second = Arena(1), Arena(1)
    if Protection.LOCK not in first.protection or second.protection != first.protection:
        sys.exit()  # the limit is not what refuses here, or other processes of the user are at it
    second.close()
    warnings.simplefilter("error")
    refused = 0
    for attempt in (
        lambda: Arena(40 * PAGE, require=Protection.LOCK),
        lambda: Arena(40 * PAGE, require=Protection.LOCK | Protection.SECRETMEM),
        lambda: (secalloc.require(Protection.LOCK), Pool().alloc(40 * PAGE)),
        lambda: secalloc.concat(first, bytes(40 * PAGE)),
    ):
        try:
            attempt()
        except secalloc.ProtectionError:
            refused += 1
    assert refused == 4, refused
    secalloc.require(Protection(0))
    full = Arena(1)
    assert full.protection == first.protection
    warnings.simplefilter("always")
    with warnings.catch_warnings(record=True) as caught:
        Arena(40 * PAGE)
    assert len(caught) == 1, caught  # and of one that is had, it is told
    """)


@linux_only
def test_a_kernel_without_secretmem() -> None:
    out = check("""
    warnings.simplefilter("ignore")
    deny("memfd_secret", errno.ENOSYS)
    try:
        Arena(1, require=Protection.SECRETMEM | Protection.LOCK)
    except secalloc.ProtectionError as error:
        print(error.errno == errno.ENOSYS, error)
    print(Arena(1, require=Protection.LOCK).protection)
    """)
    first = out.splitlines()[0]
    assert first.startswith("True")
    assert "memfd_secret" in first
    assert "Linux 6.5" in first
