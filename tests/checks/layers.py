"""Layers point down only: told by what files include and import, and by what objects link to.

    python tests/checks/layers.py DIRECTORY OBJECT...

DIRECTORY/core/vault/slot.o is the object of csrc/core/vault/slot.c. A file's room is the folder
that it lies in. First of all the check is tried on a small tree of its own, where one thing
after the other is planted that it must find.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from layers_planted import PLANTED, SOUND

TREE = Path(__file__).resolve().parents[2]

# The lowest first. Rooms of one layer stand side by side: no arrow leads from one to another.
CORE = (
    ("face",),  # secalloc.h, which says what all of them do
    ("base",),
    ("os",),
    ("vault",),
    ("fatal", "slab"),
    ("arena",),
    ("pool",),
    ("process", "residue", "transfer", "outlet", "shelter"),
)
GLUE = (("objects",), ("functions", "types"), ("module.c",))
PACKAGE = (
    ("_values", "_original"),
    ("_core",),
    ("_kind",),
    ("_file",),
    (
        "_channel",
        "_expiry",
        "_pydantic",
        "_shelter",
        "_terminal",
        "desktop",
        "outlets",
        "residue",
        "sources",
    ),
    ("channel",),
    ("__init__",),
    ("_commands",),
    ("map",),
    ("__main__",),
)
FOR_GLUE = {"face", "base"}
"""The rooms of the core whose headers the glue includes."""
FOR_RUN = {"csrc/core/face/lend.h"}
"""What the library of `run` includes that is not its own: what both agree on."""
OF_ONE_SYSTEM = ("csrc/core/os/linux/", "csrc/core/os/macos/")
"""Where sources lie that are not compiled everywhere."""
ALIKE = {
    *("errno.h", "limits.h", "stdalign.h", "stdatomic.h", "stdbool.h", "stddef.h", "stdint.h"),
    *("stdio.h", "stdlib.h", "string.h", "poll.h", "pthread.h", "signal.h", "sys/stat.h"),
    *("termios.h", "time.h", "unistd.h", "cpuid.h"),
}
"""Headers that the core may include outside of os/: those of C and of POSIX, and a compiler's."""

LATE = {
    (
        "__init__",
        "map",
    ): "it is an attribute of the face, imported at the first arena at the latest",
}
"""What the package imports upward, and late only: in a function, or by the table _LAZY."""


class Arrow(NamedTuple):
    """One file uses another."""

    user: str
    used: str
    what: str
    late: bool = False


def rank_of(layers: Iterable[Iterable[str]]) -> dict[str, int]:
    """How high each room is."""
    return {room: height for height, rooms in enumerate(layers) for room in rooms}


def upward(arrows: Iterable[Arrow], rooms: Mapping[str, str], rank: Mapping[str, int]) -> list[str]:
    """Complaints of arrows that do not point down."""
    return [
        f"upward: {user} uses {used} ({what})"
        for user, used, what, _late in arrows
        if rooms[user] != rooms[used] and rank[rooms[used]] >= rank[rooms[user]]
    ]


def circles(arrows: Iterable[Arrow], kind: str) -> list[str]:
    """Complaints of files that reach themselves: Tarjan's components of more than one."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows:
        if arrow.user != arrow.used:
            graph.setdefault(arrow.user, set()).add(arrow.used)
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[str] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for used in sorted(graph.get(node, ())):
            if used not in index:
                visit(used)
            if used in stack:
                low[node] = min(low[node], low[used])
        if low[node] == index[node]:
            start = stack.index(node)
            members = sorted(stack[start:])
            del stack[start:]
            if len(members) > 1:
                found.append(f"circle of {kind}: {', '.join(members)}")

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


# ---- C ------------------------------------------------------------------------------------


def room_of_c(path: Path, root: Path) -> str:
    """The folder right below csrc/core or csrc/py; "": none."""
    parts = path.relative_to(root).parts
    if len(parts) > 1:
        return parts[0]
    if parts[0] == "secalloc.h":
        return "face"
    return "module.c" if parts[0] == "module.c" else ""


def includes(files: Iterable[Path], tree: Path) -> Iterator[Arrow | str]:
    """What each includes; a complaint where there is no such file."""
    places = (tree / "csrc/core", tree / "csrc/py")
    for file in files:
        for name in re.findall(r'^\s*#\s*include "([^"]+)"', file.read_text(), re.MULTILINE):
            for place in (file.parent, *places):
                if (place / name).exists():
                    used = (place / name).resolve().relative_to(tree)
                    yield Arrow(str(file.relative_to(tree)), str(used), "include")
                    break
            else:
                yield f"{file.relative_to(tree)} includes {name}, which is not there"


def systems(files: Iterable[Path], tree: Path, rooms: Mapping[str, str]) -> Iterator[str]:
    """Complaints of the core's files that include a header of Python's, or outside of os/ one
    that differs from system to system."""
    for file in files:
        name = str(file.relative_to(tree))
        for header in re.findall(r"^\s*#\s*include <([^>]+)>", file.read_text(), re.MULTILINE):
            if header == "Python.h" or (rooms[name] != "os" and header not in ALIKE):
                yield f"not for the core: {name} includes <{header}>"


def symbols(objects: Mapping[str, Path]) -> Iterator[Arrow]:
    """What each object wants, and another of them defines."""
    defined: dict[str, str] = {}
    wanted: dict[str, set[str]] = {}
    sources = {str(file): source for source, file in objects.items()}
    command = ["nm", "-A", *sources]  # one for all, as it takes long to begin
    told = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    for line in told.stdout.splitlines():
        source = sources[line.partition(":")[0]]
        kind, name = line.split()[-2:]
        if kind == "U":
            wanted.setdefault(source, set()).add(name)
        elif kind.isupper():
            defined[name] = source
    for source, names in wanted.items():
        for name in sorted(names & defined.keys()):
            if defined[name] != source:
                yield Arrow(source, defined[name], name)


def check_c(tree: Path, objects: Mapping[str, Path]) -> list[str]:
    """Complaints of csrc."""
    bad: list[str] = []
    for part, layers in (("core", CORE), ("py", GLUE)):
        root, rank = tree / "csrc" / part, rank_of(layers)
        files = sorted(root.rglob("*.[ch]"))
        rooms = {str(file.relative_to(tree)): room_of_c(file, root) for file in files}
        bad += [f"in no room: {name}" for name, room in rooms.items() if room not in rank]
        if any(room not in rank for room in rooms.values()):
            continue
        here = {name: file for name, file in objects.items() if name in rooms}
        for name in rooms.keys() - here.keys():
            if name.endswith(".c") and not name.startswith(OF_ONE_SYSTEM):
                bad.append(f"no object was given: {name}")
        linked = list(symbols(here))
        found = list(includes(files, tree))
        bad += [one for one in found if isinstance(one, str)]
        included = [one for one in found if isinstance(one, Arrow)]
        inside = [one for one in included if one.used in rooms]
        bad += upward([*linked, *inside], rooms, rank)
        bad += circles(linked, "objects") + circles(inside, "includes")
        for one in included:
            if one.used not in rooms:
                core = tree / "csrc/core"
                room = (
                    room_of_c(tree / one.used, core)
                    if one.used.startswith("csrc/core/")
                    else "glue"
                )
                if part == "core" or room not in FOR_GLUE:
                    bad.append(f"not its own to include: {one.user} includes {one.used}")
        if part == "core":
            bad += systems(files, tree, rooms)
    run = tree / "csrc/run"  # a library of its own
    for found_here in includes(sorted(run.rglob("*.[ch]")), tree):
        if isinstance(found_here, str):
            bad.append(found_here)
        elif not found_here.used.startswith("csrc/run/") and found_here.used not in FOR_RUN:
            bad.append(f"not its own to include: {found_here.user} includes {found_here.used}")
    return bad


# ---- Python -------------------------------------------------------------------------------


def modules_of(tree: Path) -> dict[str, Path]:
    """Each module of the package by its name, without "secalloc."."""
    package = tree / "secalloc"
    found: dict[str, Path] = {}
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.pyi")]):
        parts = file.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = file
    return found


def names_in(node: ast.AST) -> list[str]:
    """What a statement imports, as dotted names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
        lazy = any(isinstance(one, ast.Name) and one.id == "_LAZY" for one in node.targets)
        keys = [ast.literal_eval(key) for key in node.value.keys if key] if lazy else []
        return [f"secalloc.{key!s}" for key in keys]
    return []


def is_for_types(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def imports_of(node: ast.AST, late: bool) -> Iterator[tuple[str, bool]]:
    """The names that are imported below, and whether it is later than the module itself."""
    for child in ast.iter_child_nodes(node):
        yield from ((name, late or isinstance(child, ast.Assign)) for name in names_in(child))
        deferred = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports_of(child, late or deferred or is_for_types(child))


def module_named(dotted: str, modules: Mapping[str, Path]) -> str | None:
    """The module that such an import names; None: none of the package's."""
    parts = dotted.split(".")
    if parts[0] != "secalloc":
        return None
    for end in range(len(parts), 1, -1):
        if ".".join(parts[1:end]) in modules:
            return ".".join(parts[1:end])
    return "__init__"


def check_package(tree: Path) -> list[str]:
    """Complaints of secalloc/."""
    modules, rank = modules_of(tree), rank_of(PACKAGE)
    rooms = {name: name.partition(".")[0] for name in modules}
    bad = [f"in no room: secalloc/{name}" for name, room in rooms.items() if room not in rank]
    if bad:
        return bad
    arrows: list[Arrow] = []
    for name, file in modules.items():
        for dotted, late in imports_of(ast.parse(file.read_text()), False):
            used = module_named(dotted, modules)
            if used is not None and used != name:
                arrows.append(Arrow(name, used, "imported late" if late else "imported", late))
    excused = [arrow for arrow in arrows if arrow.late and (arrow.user, arrow.used) in LATE]
    done = {(arrow.user, arrow.used) for arrow in excused}
    bad += [f"excused, and not done any more: {one}" for one in LATE if one not in done]
    rest = [arrow for arrow in arrows if arrow not in excused]
    return bad + upward(rest, rooms, rank) + circles(rest, "imports")


# ---- controls -----------------------------------------------------------------------------


def compiled(tree: Path) -> dict[str, Path]:
    """The objects of a small tree."""
    objects: dict[str, Path] = {}
    for source in sorted(set(tree.glob("csrc/**/*.c")) - set(tree.glob("csrc/**/left_out.c"))):
        target = source.with_suffix(".o")
        command = [os.environ.get("CC", "cc"), "-Icsrc/core", "-Icsrc/py", "-w", "-c"]
        subprocess.run([*command, source, "-o", target], cwd=tree, check=True)  # noqa: S603
        objects[str(source.relative_to(tree))] = target
    return objects


def complaints_of(files: Mapping[str, str]) -> list[str]:
    """What is said of a small tree."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch).resolve()
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        return check_c(tree, compiled(tree)) + check_package(tree)


def try_controls() -> None:
    """Ends the process unless the check finds what it must, and nothing where nothing is."""
    said = complaints_of(SOUND)
    if said:
        sys.exit(f"the check complains of a sound tree: {said}")
    for name, text, expected in PLANTED:
        planted = "" if text == "_LAZY = {}" else SOUND.get(name, "")
        said = complaints_of({**SOUND, name: f"{planted}{text}\n"})
        if not any(one.startswith(expected) for one in said):
            sys.exit(f"planted in {name}, and not found: {text!r}; said was {said}")
    print(f"ok: layers, {len(PLANTED)} controls")


def main() -> int:
    """1: there are complaints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("objects", type=Path, nargs="+")
    given = parser.parse_args()
    try_controls()
    objects = {
        str(Path("csrc") / file.relative_to(given.directory).with_suffix(".c")): file
        for file in given.objects
    }
    bad = check_c(TREE, objects) + check_package(TREE)
    for complaint in sorted(set(bad)):
        print(complaint)
    print(f"{'red' if bad else 'ok'}: layers, {len(objects)} objects, {len(set(bad))} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
