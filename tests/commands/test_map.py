"""The census of live arenas, and the picture that is drawn of it."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from crash import SECRET
from support import check, linux_only
from test_doctor import coloured

import secalloc
import secalloc.map
from secalloc import Arena, Pool, Protection
from secalloc.map import Pages, census, draw

COMMAND = [sys.executable, "-P", "-m", "secalloc", "map"]


def entry_of(arena: Arena) -> Pages:
    """The one entry of an arena on pages of its own."""
    (found,) = [entry for entry in census() if entry.address == arena.address]
    return found


@pytest.mark.parametrize("align", [1, 64])
@pytest.mark.parametrize("size", [0, 1, 100, 4096, 5000, 300_000])
def test_an_arena_is_told_as_it_is(size: int, align: int) -> None:
    arena = Arena(size, align=align)
    for _ in range(2):  # where it was made, and where it moved to
        found = entry_of(arena)
        assert (found.size, found.arenas, found.exports) == (size, 1, 0)
        assert found.protection == arena.protection
        assert (found.pooled, found.wiped, found.sealed) == (False, False, False)
        assert found.pages <= found.address
        assert found.pages + found.data - found.address - size < align
        assert found.data % os.sysconf("SC_PAGESIZE") == 0
        arena.rotate()
    where = arena.address
    arena.close()
    assert [entry for entry in census() if entry.address == where] == []


def test_each_state() -> None:
    arena = Arena(SECRET)
    assert entry_of(arena).state == "usable"
    with memoryview(arena), memoryview(arena[3:]):
        assert entry_of(arena).exports == 2
    with arena.open("r"):
        assert entry_of(arena).state == "read-only"
    arena.seal()
    assert (entry_of(arena).state, entry_of(arena).sealed) == ("sealed", True)
    with arena.open("rw"):
        assert (entry_of(arena).state, entry_of(arena).sealed) == ("usable", True)
    arena.clear()
    assert entry_of(arena).wiped
    with arena.open("w") as view:
        assert entry_of(arena).wiped
        view[:] = SECRET
    assert entry_of(arena).state == "sealed"
    with arena.open("r"):
        assert entry_of(arena).state == "read-only"
    secalloc.lockdown()
    assert entry_of(arena).state == "wiped"


def test_a_pool_is_told_by_its_pages() -> None:
    before = [entry for entry in census() if entry.pooled]
    with Pool() as pool:
        tokens = [pool.random(32) for _ in range(40)]
        lone = pool.alloc(9000)
        new = [e for e in census() if e.pooled and e not in before]
        assert sum(e.arenas for e in new) == len(tokens) + 1
        assert sum(e.size for e in new) == 32 * len(tokens) + lone.size
        assert {e.state for e in new} == {"usable"}
        for token in tokens[:10]:
            token.close()
        assert sum(e.arenas for e in census() if e.pooled) - sum(e.arenas for e in before) == 31
        pool.seal()
        assert {e.state for e in census() if e.pooled and e not in before} == {"sealed"}
        with pool.open("r"):
            assert {e.state for e in census() if e.pooled and e not in before} == {"read-only"}
    assert sum(e.arenas for e in census() if e.pooled) == sum(e.arenas for e in before)


def test_names_in_a_pool() -> None:
    with Pool() as pool:
        nameless = [pool.random(32) for _ in range(3)]
        assert [e.names for e in census() if e.pooled and e.names] == []
        tokens = [pool.alloc(32, name=f"token {i}") for i in range(12)]
        lone = pool.alloc(9000, name="a key")
        found = {e.arenas: e for e in census() if e.names}
        assert found[1].names == ("a key",)
        (other,) = (e for count, e in found.items() if count > 1)
        assert sorted(other.names) == sorted(str(token.name) for token in tokens)
        assert other.name is None
        for width in (40, 100):
            told = picture(width=width)
            assert max(map(len, told.splitlines())) <= width
            assert "'a key'" in told
            words = " ".join(told.split())
            assert [f"{name!r}" in words for name in other.names] == [True] * 8 + [False] * 4
            assert "and 4 more" in words
            words = " ".join(picture(width=width, verbose=True).split())
            assert all(f"{name!r}" in words for name in other.names)
        assert len(nameless) == 3
        lone.name = None
        tokens[3].close()
        assert sum(len(e.names) for e in census()) == 11


def test_it_counts_as_the_status_does() -> None:
    kept = [Arena(n) for n in (1, 5000, 200_000)]
    assert sum(entry.arenas for entry in census()) == secalloc.status().arenas
    assert sum(entry.size for entry in census()) == secalloc.status().bytes
    del kept


@linux_only
def test_a_child_has_its_own() -> None:
    check("""
        import secalloc.map
        assert secalloc.map.census() == []  # nothing was ever made
        a, large, pool = Arena(1), Arena(300_000), secalloc.Pool()
        p = pool.random(9)
        def child():
            assert secalloc.map.census() == []
            b, c = Arena(7), Arena(200_000)
            assert sorted(e.size for e in secalloc.map.census() if e.arenas) == [7, 200_000]
        assert child_of(child) == 0
        assert child_of(child, fork=raw_fork) == 0
        assert sorted(e.size for e in secalloc.map.census() if e.arenas) == [1, 9, 300_000]
    """)


def test_while_others_make_and_close() -> None:
    """Under ThreadSanitizer in tests/core; here what is told is of arenas that were there."""
    check("""
        import secalloc.map
        end = time.monotonic() + 1
        fixed = [Arena(77) for _ in range(20)]
        def churn():
            while time.monotonic() < end:
                for n in (10, 5000, 100_000):
                    b = Arena(n, align=16); b.rotate(); b.seal(); b.close()
                with secalloc.Pool() as pool: pool.random(30)
        threads = [threading.Thread(target=churn) for _ in range(3)]
        for t in threads: t.start()
        while time.monotonic() < end:
            seen = secalloc.map.census()
            assert sum(e.size == 77 for e in seen) == 20
            assert {e.size for e in seen if e.arenas} <= {77, 10, 5000, 100_000, 30}
        for t in threads: t.join()
    """)


# ---- the picture -----------------------------------------------------------------------------


def picture(**options: Any) -> str:
    file = io.StringIO()
    draw(file, **options)
    return file.getvalue()


def drawn(text: str, address: int) -> list[str]:
    """The lines of one entry: words, protections, the bar."""
    lines = text.splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.startswith(f"0x{address:x} ")]
    return lines[at : lines.index("", at)]


def test_the_picture_shows_guards_states_and_protections() -> None:
    usable, sealed, wiped, aligned = Arena(2048), Arena(100), Arena(4096), Arena(1, align=64)
    sealed.seal()
    wiped.clear()
    with memoryview(usable):
        text = picture(width=80, most=10_000, verbose=True)
    words, granted, bar = drawn(text, usable.address)
    assert words.endswith("usable  2 KiB in 4 KiB, 1 buffer lent")
    assert granted.split() == [p.name for p in Protection if p in usable.protection]
    assert bar == "  XX" + "." * 34 + "#" * 34 + "XX"
    assert drawn(text, sealed.address)[2] == "  XX" + "." * 66 + "ss" + "XX"
    assert drawn(text, wiped.address)[2] == "  XX" + "~" * 68 + "XX"
    assert drawn(text, aligned.address)[2] == "  XX" + "." * 66 + "#." + "XX"
    assert "X guard   . slack" in text


@pytest.mark.parametrize("verbose", [False, True])
@pytest.mark.parametrize("width", [0, 24, 37, 40, 80, 200])
def test_no_line_is_wider(width: int, verbose: bool) -> None:
    kept = [Arena(3, align=4096, name="a long name of an arena"), Arena(0), Arena(5001)]
    kept.append(Pool().random(7))
    lines = picture(width=width, verbose=verbose).splitlines()
    assert max(map(len, lines)) <= max(width, 24)
    del kept


@pytest.mark.thread_unsafe(reason="puts another census in the module")
@pytest.mark.parametrize("width", [40, 80, 200])
def test_an_arena_with_all_protections_is_a_line(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lacks some is told in full behind them; with verbose all are."""
    usable = Arena(2048)
    usable.seal()
    entry = entry_of(usable)
    granted = [p for p in Protection if p in entry.protection]
    monkeypatch.setattr(secalloc.map, "_ALL", granted)
    lacking = entry._replace(protection=Protection.GUARD | Protection.NOFORK, pages=entry.pages)
    monkeypatch.setattr(secalloc.map, "census", lambda: [lacking, entry, entry])
    head, lines, told, _ = picture(width=width).split("\n\n")
    assert " ".join(head.split()).endswith(f"each with {' '.join(str(p.name) for p in granted)}:")
    bar = min(max(width // 5, 8), 72)
    half = (bar - 4) // 2
    assert [line[:bar] for line in lines.splitlines()] == 2 * [
        "XX" + "." * half + "s" * half + "XX"
    ]
    assert all("sealed  2 KiB in 4 KiB" in line for line in lines.splitlines())
    assert (hex(usable.address) in lines) is (width > 40)
    assert "without" in told
    assert "LOCK" in told.partition("without")[2]
    assert picture(width=width, verbose=True).count("\n  GUARD ") == 3


def test_a_terminal_of_unicode_gets_better_signs(tmp_path: Path) -> None:
    kept = Arena(2048)
    with open(tmp_path / "drawn", "w+", encoding="utf-8") as file:
        draw(file)
        file.seek(0)
        assert "▚▚" in file.read()
    with open(tmp_path / "drawn", "w+", encoding="latin-1") as file:
        draw(file)
        file.seek(0)
        assert "XX" in file.read()
    del kept


def test_many_are_counted() -> None:
    kept = [Arena(1) for _ in range(50)]
    live = sum(1 for entry in census() if entry.state != "kept")
    text = picture(most=7, width=80)
    assert f"and {live - 7} more" in text
    assert text.count(" in 4 KiB") == 7
    assert picture(most=0).count("GUARD") == 0
    del kept
    with pytest.raises(ValueError, match="negative"):
        draw(most=-1)


def test_what_is_missing_is_named() -> None:
    check("""
        import secalloc.map
        warnings.simplefilter("ignore")
        secalloc.configure(secretmem=False)
        a = Arena(1)
        secalloc.map.draw()
        print("granted", *[p.name for p in a.protection])
    """)
    out = check("import secalloc.map; secalloc.configure(secretmem=False); a = Arena(1)\n"
                "secalloc.map.draw()")  # fmt: skip
    assert "  without " in out
    assert "SECRETMEM" in out.partition("without ")[2]


def test_nothing_of_the_content_is_drawn_or_read() -> None:
    """A sealed arena stays so, and no page of it is touched: it would fault."""
    arena = Arena(b"hunter2 hunter2")
    arena.seal()
    text = picture()
    assert "hunter2" not in text
    assert arena.sealed


# ---- the command -------------------------------------------------------------------------------


def command(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    options = {"cwd": "/", **options}
    return subprocess.run(  # noqa: S603
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=300, **options
    )


def test_the_example() -> None:
    end = command(env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert (end.returncode, end.stderr) == (0, "")
    for state in ("usable", "sealed", "wiped", "read-only"):
        assert f"  {state}  " in end.stdout
    # On one page, or on two: a thread is told by where its stack lies, to 64 KiB.
    assert sum(map(int, re.findall(r"a pool's: (\d+) arenas?", end.stdout))) == 40
    assert max(map(len, end.stdout.splitlines())) <= 80


@linux_only
def test_the_example_has_colour_on_a_terminal_alone() -> None:
    assert coloured(COMMAND, {})
    assert not coloured(COMMAND, {"NO_COLOR": "1"})


def test_the_example_in_full() -> None:
    env = {**os.environ, "COLUMNS": "40"}
    short, full = command(env=env), command("-v", env=env)
    assert max(map(len, (short.stdout + full.stdout).splitlines())) <= 40
    assert full.stdout.count("\n  GUARD ") in (7, 8)  # a pool may have two pages
    if all(p in Arena(1).protection for p in secalloc.map._ALL):
        assert "\n  GUARD " not in short.stdout


SCRIPT = """
import sys, secalloc
kept = secalloc.Arena(4321)
gone = secalloc.Arena(1234); gone.close()
print(sys.argv, __name__, __file__ == sys.argv[0])
"""


@pytest.mark.parametrize(("end_of_it", "status"), [("", 0), ("sys.exit(3)", 3), ("1 / 0", 1)])
def test_a_script(end_of_it: str, status: int, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + end_of_it)
    end = command(str(script), "-v", "x")  # which is the script's
    assert end.returncode == status
    assert end.stdout == f"{[str(script), '-v', 'x']} __main__ True\n"
    assert "1 arena, 4.22 KiB" in end.stderr
    assert ("ZeroDivisionError" in end.stderr) is (status == 1)


ERRORS = """
import sys, secalloc
kept = secalloc.Arena(4321)
def fails():
    {}
fails()
"""


@pytest.mark.parametrize(
    ("line", "last", "status"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", 1),
        ("compile('1 +', 'text', 'exec')", "SyntaxError: invalid syntax", 1),
        ("sys.exit('a word')", "a word", 1),
        ("sys.excepthook = lambda *a: print('its own', file=sys.stderr); 1 / 0", "its own", 1),
    ],
)
def test_what_a_script_dies_of_comes_first(
    line: str, last: str, status: int, tmp_path: Path
) -> None:
    """As the plain interpreter tells it, and once; then the picture."""
    script = tmp_path / "script.py"
    script.write_text(ERRORS.format(line))
    end = command(str(script))
    said, _, picture = end.stderr.partition("\n1 arena, 4.22 KiB; ")
    plain = subprocess.run(  # noqa: S603
        [sys.executable, str(script)], capture_output=True, text=True, check=False, cwd="/"
    )
    assert (end.returncode, plain.returncode) == (status, status)
    assert said.strip() == plain.stderr.strip()
    assert said.strip().endswith(last)
    assert "Traceback" not in picture
    assert "usable" in picture


def test_a_script_that_is_interrupted_ends_as_the_interpreter_does(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise KeyboardInterrupt")
    end = command(str(script))
    assert end.returncode == -signal.SIGINT
    assert end.stderr.count("Traceback") == 1


def test_bad_usage(tmp_path: Path) -> None:
    missing = command(str(tmp_path / "missing.py"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "missing.py" in missing.stderr
    assert "Traceback" not in missing.stderr
    (tmp_path / "bad.py").write_text("1 +")
    assert command(str(tmp_path / "bad.py")).returncode == 2
    (tmp_path / "own.py").write_text("open('/missing')")
    own = command(str(tmp_path / "own.py"))
    assert own.returncode == 1
    assert "Traceback" in own.stderr
    assert command("--loud").returncode == 2
