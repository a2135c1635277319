"""Builds the site of one version: `make docs`. Every public name of the package must be on it."""

import ast
import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import secalloc
from secalloc import _core, _values, channel
from secalloc._channel import child, events

project = "secalloc"
release = version = secalloc.__version__
copyright = "the secalloc authors"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
html_static_path, html_css_files = ["static"], ["site.css"]
html_title = "secalloc"
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "versions.html",  # docs/versions.py writes the list of versions there
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}
html_show_copyright = False
html_show_sphinx = False
myst_heading_anchors = 3

default_role = "code"
smartquotes = False
nitpicky = True
# What is on other projects' sites, or of no interest.
nitpick_ignore_regex = [
    ("py:.*", r"secalloc\.(?:\w+\.)*_.*|(?!secalloc|Arena|Pool|Protection|Status|Lockdown).*")
]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
python_maximum_signature_line_length = 100

# Where the comments on their fields are found.
for _module in (_values, child, events, channel):
    for _value in vars(_module).values():
        if isinstance(_value, type) and f"class {_value.__name__}(" in inspect.getsource(_module):
            _value.__module__ = _module.__name__


# ---- types of what is written in C, from its stub ------------------------------------------


def _signatures() -> dict[str, tuple[str, str]]:
    """Arguments and result of each function in the stub, by its dotted name."""
    found: dict[str, tuple[str, str]] = {}

    def visit(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                arguments = node.args
                for group in (arguments.posonlyargs, arguments.args):
                    if prefix.count(".") > 1 and group and group[0].arg in ("self", "cls"):
                        del group[0]
                        break
                returns = ast.unparse(node.returns) if node.returns else ""
                returns = returns.replace("_OpenBlock", "AbstractContextManager")
                returns = returns.replace("_Event", "LockdownEvent")
                found[prefix + node.name] = f"({ast.unparse(arguments)})", returns

    stub = Path(str(_core.__file__)).with_name("_core.pyi")
    visit(ast.parse(stub.read_text()).body, "secalloc.")
    return found


_STUB = _signatures()


def _typed(app: Sphinx, what: str, name: str, value: object, *_: object) -> tuple[str, str] | None:
    if name == "secalloc.LockdownChild":
        return "", ""  # made by its channel
    if what == "class":
        made = _STUB.get(f"{name}.__new__")
        return made and (made[0], "")
    if what not in ("function", "method"):
        return None
    inherited = f"secalloc.{getattr(value, '__qualname__', '')}"
    return _STUB.get(name) or _STUB.get(inherited)


def _property(app: Sphinx, what: str, name: str, *rest: Any) -> None:
    """Says of what type it is."""
    if what in ("attribute", "property") and name in _STUB:
        rest[-1][:] = [*rest[-1], f":type: {_STUB[name][1]}", ""]


# ---- nothing public is left out -------------------------------------------------------------


def _public() -> Iterator[tuple[str, object]]:
    """Every public name, dotted, with what it stands for."""
    names = {"random", "getpass", *secalloc.__all__}
    ours = {name: getattr(secalloc, name) for name in names}
    for found in pkgutil.iter_modules(secalloc.__path__, "secalloc."):
        if not found.name.rpartition(".")[2].startswith("_"):
            module = import_module(found.name)
            for name in getattr(module, "__all__", ()):
                if getattr(module, name) not in ours.values():
                    yield f"{found.name}.{name}", getattr(module, name)
    for name, value in ours.items():
        yield f"secalloc.{name}", value
        if isinstance(value, type):
            for member in vars(value):
                if not member.startswith("_"):
                    yield f"secalloc.{name}.{member}", getattr(value, member)


def _complete(app: Sphinx, env: Any) -> None:
    there = env.domains.python_domain.objects
    for name, value in _public():
        if name not in there:
            logging.getLogger(__name__).warning("%s is on no page", name)
        if (callable(value) or inspect.isdatadescriptor(value)) and not value.__doc__:
            logging.getLogger(__name__).warning("%s has no docstring", name)


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("autodoc-process-signature", _typed)
    app.connect("autodoc-process-docstring", _property)
    app.connect("env-check-consistency", _complete)
