"""The docstrings of secalloc/_core.pyi are the extension's own: editors show those of stubs alone.

    python tests/checks/stubs.py [--write]

Says which are not; with --write it puts them there. Run where the built package is installed.
"""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secalloc import _core

STUB = Path(__file__).resolve().parents[2] / "secalloc" / "_core.pyi"
ALIKE = {"_Secret": "Arena"}
"""What is described for several types at once: whose docstrings are taken."""
DESCRIBED = ast.FunctionDef | ast.ClassDef


def object_of(path: list[str]) -> Any:
    """What a path of names in the stub describes; None: nothing of the extension's."""
    thing: Any = _core
    for name in path:
        thing = getattr(thing, ALIKE.get(name, name), None)
    return thing


def described(
    body: list[ast.stmt], path: list[str] | None = None
) -> Iterator[tuple[DESCRIBED, str]]:
    """What the stub has of public names, each with the docstring of what it stands for."""
    for node in body:
        if not isinstance(node, DESCRIBED):
            continue
        names = [*(path or []), node.name]
        private = node.name.startswith("_") and node.name not in ALIKE
        setter = isinstance(node, ast.FunctionDef) and any(
            isinstance(each, ast.Attribute) for each in node.decorator_list
        )
        doc = None if node.name in ALIKE else inspect.getdoc(object_of(names))
        if not private and not setter and doc:
            yield node, doc
        if isinstance(node, ast.ClassDef):
            yield from described(node.body, names)


def stale() -> list[str]:
    """Where the stub says something else than the extension."""
    tree = ast.parse(STUB.read_text())
    return [
        f"{node.lineno}: {node.name}"
        for node, doc in described(tree.body)
        if ast.get_docstring(node) != doc
    ]


def lines_of(doc: str, indent: str) -> list[str]:
    quoted = doc.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    one, *more = quoted.split("\n")
    text = [f'{indent}"""{one}', *(indent + line if line else "" for line in more)]
    return [*text[:-1], text[-1] + '"""'] if not more else [*text, f'{indent}"""']


def rewritten() -> str:
    """The stub with the extension's docstrings."""
    text = STUB.read_text()
    lines = text.split("\n")
    found = sorted(described(ast.parse(text).body), key=lambda each: each[0].lineno, reverse=True)
    for node, doc in found:
        first = node.body[0]
        fresh = lines_of(doc, " " * (node.col_offset + 4))
        if isinstance(first, ast.Expr):  # its docstring of before, or dots
            head = lines[first.lineno - 1][: first.col_offset].rstrip()
            lines[first.lineno - 1 : first.end_lineno] = [*([head] if head else []), *fresh]
        else:
            decorators = first.decorator_list if isinstance(first, DESCRIBED) else []
            above = min([first.lineno, *(each.lineno for each in decorators)]) - 1
            lines[above:above] = fresh
    return "\n".join(lines)


def main() -> int:
    if "--write" in sys.argv[1:]:
        STUB.write_text(rewritten())
    wrong = stale()
    for each in wrong:
        print(f"{STUB.name}:{each}: another docstring than the extension's; make stubs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
