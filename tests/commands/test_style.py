"""All commands look alike: on terminals of several widths, on a dumb one, and without one."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support import needs_lockable
from test_doctor import typed

COMMANDS = ("doctor", "map", "residue", "demo")
SEEN = {"doctor": "GUARD", "map": "sealed", "residue": "'key'", "demo": "SIGSEGV"}
HELPS = ("", *COMMANDS, "run")
PLACES: dict[str, tuple[int, dict[str, str]]] = {
    "40 columns": (40, {}),
    "80 columns": (80, {}),
    "200 columns": (200, {}),
    "a dumb terminal": (80, {"TERM": "dumb"}),
    "NO_COLOR": (80, {"NO_COLOR": "1"}),
    "FORCE_COLOR on a dumb terminal": (80, {"TERM": "dumb", "FORCE_COLOR": "1"}),
    "NO_COLOR and FORCE_COLOR": (80, {"NO_COLOR": "1", "FORCE_COLOR": "1"}),
}
COLOURED = {"40 columns", "80 columns", "200 columns", "FORCE_COLOR on a dumb terminal"}

LINES = [*COMMANDS, "demo --json", *(f"{name} --help" for name in HELPS)]

# One process for all: the width and the environment are what a command asks of anew each time.
# What takes long, a child's death among it, is done once.
ALL = """
    import functools, os, sys, termios
    from secalloc.__main__ import main
    from secalloc._commands import demo, doctor, residue
    demo._look = functools.cache(demo._look)
    doctor.examine = functools.cache(doctor.examine)
    first = []
    search = residue.find
    residue.find = lambda view: first or first.extend(search(view)) or first
    for name, (width, env) in places.items():
        if sys.stdout.isatty():
            termios.tcsetwinsize(1, (24, width))
        was = dict(os.environ)
        os.environ.update(env)
        for line in lines:
            print(f"=== {name}: {line}", flush=True)
            print(f"--- {main(line.split())}", flush=True)
        os.environ.clear()
        os.environ.update(was)
"""


def program(places: list[str], lines: list[str]) -> list[str]:
    """All of these lines in all of these places."""
    given = f"places = { ({name: PLACES[name] for name in places})!r}; lines = {lines!r}"
    return [sys.executable, "-P", "-c", f"{given}\n{textwrap.dedent(ALL)}"]


def parts(out: str) -> dict[tuple[str, str], tuple[str, int]]:
    """What each command said in each place, with its exit status."""
    found = re.findall(r"^=== (.*): (.*)\n((?:.*\n)*?)--- (\d+)$", out.replace("\r", ""), re.M)
    return {(where, line): (text, int(status)) for where, line, text, status in found}


@pytest.fixture(scope="module")
def said() -> dict[tuple[str, str], tuple[str, int]]:
    """What is said on a terminal."""
    without = {"COLUMNS": "60", "NO_COLOR": "", "FORCE_COLOR": "", "PYTHONIOENCODING": "utf-8"}
    out = typed(program([*PLACES], LINES), without)
    return parts(out.decode())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("where", PLACES)
def test_on_a_terminal(
    command: str, where: str, said: dict[tuple[str, str], tuple[str, int]]
) -> None:
    text, status = said[where, command]
    assert status == 0 or command == "doctor"
    assert SEEN[command] in text or (command == "demo" and sys.platform == "darwin")
    assert ("\033[" in text) is (where in COLOURED and command != "demo")
    widths = [len(line) for line in re.sub("\033\\[[0-9]*m", "", text).splitlines()]
    assert max(widths) <= PLACES[where][0]
    if where == "200 columns":
        assert max(widths) > 80 or command in ("residue", "demo"), "the room is used"


@pytest.mark.parametrize("command", HELPS)
@pytest.mark.parametrize("where", ["40 columns", "80 columns", "200 columns"])
def test_help(command: str, where: str, said: dict[tuple[str, str], tuple[str, int]]) -> None:
    """In one style: usage, what it does, options, exit status."""
    text, status = said[where, f"{command} --help"]
    text = re.sub("\033\\[[0-9;]*m", "", text)
    assert status == 0
    assert max(len(line) for line in text.splitlines()) <= PLACES[where][0]
    flat = " ".join(text.split())
    assert flat.startswith("usage: python")
    assert "Exit status" in flat
    if command:
        assert re.search(r"\n\n[A-Z][^.]*\.\n\n[A-Z]", text), "a line, and then more"
    if command in COMMANDS:
        assert "--json print JSON, for programs" in flat
    elif not command:
        listed = re.findall(r"^    ([a-z]+)  ", text, re.M)
        assert sorted(listed) == sorted(HELPS[1:])
        assert not re.findall(r"^    [a-z]+ +[A-Z]", text, re.M), "each begins with a small letter"


@needs_lockable(1 << 20)
def test_without_a_terminal() -> None:
    """Nor standard input: 80 columns, and no colour that nobody asked for."""
    env = {n: t for n, t in os.environ.items() if n not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    places = ["80 columns", "FORCE_COLOR on a dumb terminal"]
    end = subprocess.run(  # noqa: S603
        program(places, ["doctor", "map", "residue", "--help"]),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env={**env, "TERM": "xterm"},
        start_new_session=True,
    )
    assert end.stderr == ""
    found = parts(end.stdout)
    assert len(found) == 8
    for (where, line), (text, _) in found.items():
        plain = re.sub("\033\\[[0-9;]*m", "", text)
        assert max(map(len, plain.splitlines())) <= 80, (where, line)
        if line in COMMANDS:
            assert (plain != text) is (where == "FORCE_COLOR on a dumb terminal"), (where, line)


# ---- for programs -----------------------------------------------------------------------------


def answer(*arguments: str, status: int = 0) -> dict[str, object]:
    """The JSON of a command, that is all it prints, or the last line of standard error."""
    end = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "secalloc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "FORCE_COLOR": "1"},
        cwd="/",
    )
    assert end.returncode == status, end
    last = end.stderr.splitlines()[-1] if "/" in arguments[-1] else end.stdout
    told = json.loads(last)
    assert isinstance(told, dict)
    assert next(iter(told)) == "version"
    return told


def test_the_demonstration_for_programs(said: dict[tuple[str, str], tuple[str, int]]) -> None:
    text, status = said["80 columns", "demo --json"]
    told = json.loads(text)
    assert (status, told["well"]) == (0, True)
    assert told["marker"] == "F"
    assert told["same_hash"] is True
    assert "GUARD" in told["granted"]
    core = told["core"]
    if core is None:
        assert told["why_no_core"]
    else:
        assert (core["control"], core["key"]) == (True, False)


def test_a_picture_for_programs(tmp_path: Path) -> None:
    told = answer("map", "--json")
    pages = told["pages"]
    assert isinstance(pages, list)
    assert {"usable", "read-only", "sealed", "wiped"} <= {each["state"] for each in pages}
    assert sum(each["arenas"] for each in pages) == told["arenas"]
    script = tmp_path / "script.py"
    script.write_text("import secalloc; kept = secalloc.Arena(4321, name='kept')")
    told = answer("map", "--json", str(script))
    assert told["arenas"] == 1
    assert isinstance(told["pages"], list)
    (kept,) = (each for each in told["pages"] if each["arenas"])
    assert (kept["name"], kept["size"], kept["state"]) == ("kept", 4321, "usable")
    assert "GUARD" in kept["protection"]


LEAVES = """
import sys, threading, secalloc
class Holder:
    def __init__(self):
        self.pool = secalloc.Pool()
        self.token = self.pool.random(20)
def waits(inner):
    local = secalloc.random(24, name="local")
    inner.set()
    threading.Event().wait()
key, sealed = secalloc.random(32, name="key"), secalloc.random(40, name="sealed")
sealed.seal()
short, gone = secalloc.Arena(b"abc", name="short"), secalloc.random(9, name="gone")
gone.clear()
closed = secalloc.random(11)
closed.close()
held = Holder()
started = threading.Event()
threading.Thread(target=waits, args=[started], daemon=True).start()
started.wait()
"""


def test_copies_that_a_script_left(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LEAVES)
    clean = answer("residue", "--json", str(script))
    assert (clean["copies"], clean["others"]) == (0, 0)
    assert isinstance(clean["arenas"], list)
    looked = {each["name"]: each for each in clean["arenas"]}
    assert looked.keys() == {"key", "sealed", "short", "gone", None, "local"}
    assert {name for name, each in looked.items() if each["why_not"]} == {"short", "gone"}
    assert looked["gone"]["why_not"] == "it is wiped"

    script.write_text(f"{LEAVES}text = key.reveal().hex()\nsys.exit(3)")
    told = answer("residue", "--json", str(script), status=3)
    assert told["copies"]
    assert isinstance(told["arenas"], list)
    copies = {each["name"]: each["copies"] for each in told["arenas"] if each["copies"]}
    assert copies.keys() == {"key"}
    assert ("hex", "str") in {(each["form"], each["kind"]) for each in copies["key"]}


def test_the_exit_status_tells_of_copies(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import secalloc\nkey = secalloc.random(32)\nkept = key.reveal()")
    assert answer("residue", "--json", str(script), status=1)["copies"]
    assert answer("residue", "--json")["copies"], "the example finds what it left"
