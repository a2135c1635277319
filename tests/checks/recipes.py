"""Recipes of the documents by mypy --strict and pyright, as a reader's editor shows them.

    python tests/checks/recipes.py DIRECTORY

Each Python block becomes a module in DIRECTORY, on the lines that it has on its page, so that what
is found has the page's lines. A page with files of its own (`# name.py`) has a folder for them,
where they import each other. Beside the pages goes a planted one: the lines that are wrong in it,
and no others, must be found by both.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

TREE = Path(__file__).resolve().parents[2]
PAGES = [
    *(TREE / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((TREE / "docs").rglob("*.md")),
]
WHOLE = {"tutorial.md"}
"""Of which each block goes on where the one before ended, as test_docs.py runs it."""
GIVEN = {"URL": "str", "HOST": "str", "PORT": "int", "CA": "str"}
"""What the reader has, and a test gives."""

PLANTED = """\
```python
import hmac
import secalloc

key = secalloc.random(32)
hmac.digest(key, b"message", "sha256")
hmac.new(key, b"message", "sha256")  # wrong
with secalloc.LockdownChannel() as channel:
    print(channel.wait(1).kind)  # wrong
secalloc.Arena("correct horse")  # wrong


def digest(key):  # wrong: mypy
    return hmac.digest(key, b"message", "sha256")


def length(name: str) -> int:
    return secalloc.credential(name)  # wrong
```

```python
# kept.py
import secalloc

key = secalloc.random(32)
```

```python
# uses.py
import kept

print(kept.key.decode())  # wrong
```
"""


class Module(NamedTuple):
    """What one or more blocks of a page become."""

    page: str
    name: str
    text: str


class Fault(NamedTuple):
    """What a checker found."""

    checker: str
    page: str
    line: int
    what: str


def modules_of(page: str, text: str) -> Iterator[Module]:
    """The blocks of a page, each with as many empty lines before it as the page has lines."""
    whole = ""
    for block in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        code, above = block[1], text[: block.start(1)].count("\n")
        if page in WHOLE:
            whole += "\n" * (above - whole.count("\n")) + code
            continue
        named = re.match(r"# ([\w.]+)\.py\n", code)
        name = named[1] if named else f"{page.removesuffix('.md')}_{above + 1}"
        used = [each for each in GIVEN if re.search(rf"\b{each}\b", code)]
        given = "; ".join(f"{each} = {GIVEN[each]}()" for each in used)
        yield Module(page, re.sub(r"\W", "_", name), given + "\n" * above + code)
    if whole:
        yield Module(page, page.removesuffix(".md"), whole)


def rounds(modules: Iterable[Module]) -> Iterator[list[Module]]:
    """Pages that share no module's name: mypy takes a name once in a run."""
    pages: dict[str, list[Module]] = {}
    for module in modules:
        pages.setdefault(module.page, []).append(module)
    taken: list[list[Module]] = []
    for page in pages.values():
        names = {module.name for module in page}
        fits = (one for one in taken if not names & {module.name for module in one})
        into = next(fits, None)
        if into is None:
            taken.append(into := [])
        into += page
    yield from taken


def path_of(module: Module, directory: Path) -> Path:
    return directory / module.page.removesuffix(".md") / f"{module.name}.py"


def by_mypy(modules: list[Module], directory: Path) -> Iterator[Fault]:
    for some in rounds(modules):
        paths = [path_of(module, directory) for module in some]
        command = [sys.executable, "-P", "-m", "mypy", "--strict", "--no-error-summary"]
        command += ["--config-file=", "--no-color-output", "--cache-dir", str(directory / "mypy")]
        done = subprocess.run(  # noqa: S603
            [*command, *map(str, paths)], cwd=directory, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            sys.exit(f"recipes: mypy: {done.stdout}{done.stderr}")
        pages = {
            str(path.relative_to(directory)): m.page for path, m in zip(paths, some, strict=True)
        }
        for path, line, kind, what in re.findall(
            r"^(\S+?):(\d+): (error|note): (.*)$", done.stdout, re.M
        ):
            if kind == "error":
                yield Fault("mypy", pages[path], int(line), what)


def by_pyright(modules: list[Module], directory: Path) -> Iterator[Fault]:
    pages = {str(path_of(module, directory)): module.page for module in modules}
    (directory / "pyrightconfig.json").write_text('{"exclude": ["mypy"]}')
    command = [sys.executable, "-P", "-m", "pyright", "--outputjson"]
    done = subprocess.run(  # noqa: S603
        [*command, "--pythonpath", sys.executable, "-p", str(directory)],
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 1):
        sys.exit(f"recipes: pyright: {done.stdout}{done.stderr}")
    told = json.loads(done.stdout)
    if told["summary"]["filesAnalyzed"] != len(modules):
        sys.exit(f"recipes: pyright looked at {told['summary']['filesAnalyzed']} modules")
    for each in told["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        what = f"{each['message']} ({each.get('rule', each['severity'])})"
        yield Fault("pyright", pages[each["file"]], line, what.replace("\n", " "))


def not_found_out(checker: str, faults: list[Fault]) -> list[str]:
    """The control: lines of the planted page about which the checker says something else."""
    lines = enumerate(PLANTED.splitlines(), 1)
    marked = {(n, line) for n, line in lines if "# wrong" in line}
    wrong = {n for n, line in marked if line.endswith(("# wrong", f": {checker}"))}
    found = {fault.line for fault in faults if fault.page == "planted.md"}
    return [f"recipes: {checker}, planted line {n}: not as it should be" for n in wrong ^ found]


def main() -> int:
    """Print each fault; 1 where there is one."""
    directory = Path(sys.argv[1]).resolve()
    texts = {path.name: path.read_text() for path in PAGES} | {"planted.md": PLANTED}
    modules = [module for page, text in texts.items() for module in modules_of(page, text)]
    for page in texts:
        shutil.rmtree(directory / page.removesuffix(".md"), ignore_errors=True)
    for module in modules:
        path = path_of(module, directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(module.text)
    faults = []
    for checker, check in (("mypy", by_mypy), ("pyright", by_pyright)):
        found = list(check(modules, directory))
        if wrong := not_found_out(checker, found):
            sys.exit("\n".join(wrong))
        faults += [fault for fault in found if fault.page != "planted.md"]
    blocks = sum(path.read_text().count("\n```python\n") for path in PAGES)
    for fault in sorted(faults, key=lambda each: (each.page, each.line)):
        print(f"{fault.page}:{fault.line}: {fault.checker}: {fault.what}")
    print(f"{'' if faults else 'ok: '}{blocks} Python blocks, {len(faults)} faults")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
