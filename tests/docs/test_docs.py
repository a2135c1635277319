"""What the documents claim: their examples run, the table of states is the tested one."""

import fcntl
import importlib
import importlib.util
import os
import pkgutil
import pty
import re
import shutil
import socket
import ssl
import subprocess
import sys
import termios
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from states import markdown
from support import crypto

import secalloc

NOT_IN_ALL = ["getpass", "random"]
ROOT = Path(__file__).parents[2]


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WHOLE = {"tutorial.md"}
"""Of which each block goes on where the one before ended."""


def programs() -> Iterator[Any]:
    """The Python blocks of the documents, each with the heading that it stands under."""
    for path in DOCUMENTS:
        found: dict[str, str] = {}
        heading = ""
        for line, code in re.findall(
            r"^#+ ([^\n]*)$|^```python\n(.*?)^```$", path.read_text(), re.M | re.S
        ):
            if line:
                heading = line
                continue
            if re.match(r"# \w+\.py\n", code):
                continue  # a file among others: test_plugin.py runs them
            name = path.name if path.name in WHOLE else f"{path.name}: {heading}"
            if path.name in WHOLE:
                found[name] = found.get(name, "") + code
            else:
                found[name if name not in found else f"{name} {len(found)}"] = code
        for name, code in found.items():
            yield pytest.param(code, id=name)


PROGRAMS = list(programs())


def start(code: str, directory: Path, **options: Any) -> "subprocess.Popen[str]":
    """A program of its own, with nothing imported."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", "-c", code],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finish(child: "subprocess.Popen[str]") -> None:
    out, _ = child.communicate(timeout=300)
    assert child.returncode == 0, out


@pytest.mark.parametrize("code", PROGRAMS)
def test_an_example_runs(code: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if "cryptography" in code:
        crypto("exceptions")
    if "getpass(" in code:
        with_a_person(code, tmp_path)
    elif "HOST, PORT" in code:
        with_a_server(code, tmp_path, request.getfixturevalue("certificate"))
    else:
        finish(start(code, tmp_path))


def with_a_person(code: str, directory: Path) -> None:
    """Who types a passphrase on a terminal, without echo."""
    ours, theirs = pty.openpty()

    def lead() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    child = start(code, directory, preexec_fn=lead, stdin=theirs, pass_fds=[theirs])
    os.close(theirs)
    seen = b""
    while b"Passphrase: " not in seen:
        seen += os.read(ours, 100)
    os.write(ours, b"correct horse\n")
    finish(child)
    with suppress(OSError):  # at its end
        seen += os.read(ours, 100)
    os.close(ours)
    assert b"horse" not in seen


def with_a_server(code: str, directory: Path, certificate: Path) -> None:
    """Which gives a key, at first all of it, then too little."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("localhost", 0))

    def serve() -> None:
        for key in (bytes(range(32)), bytes(range(31))):
            with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                assert connection.recv(4) == b"key\n"
                connection.sendall(key[:10])
                connection.sendall(key[10:])
                with suppress(OSError):  # it was content with the key
                    connection.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    given = f"HOST, PORT, CA = 'localhost', {listener.getsockname()[1]}, {str(certificate)!r}\n"
    finish(start(f"{given}{code}\nassert key == bytes(range(32))", directory))
    short = textwrap.indent(code, "    ")
    finish(
        start(
            f"{given}try:\n{short}\nexcept EOFError:\n    assert key.wiped\nelse:\n    raise",
            directory,
        )
    )
    thread.join(30)
    listener.close()


def test_there_are_examples() -> None:
    names = [str(program.id).partition(":")[0] for program in PROGRAMS]
    assert names.count("README.md") >= 2
    assert names.count("channels.md") == 3
    assert names.count("howto.md") >= 7


def sources(folder: str, *endings: str) -> str:
    """All files of a folder that end so."""
    paths = sorted(p for p in (ROOT / folder).rglob("*") if p.suffix in endings)
    return "\n".join(path.read_text() for path in paths)


def test_the_tests_that_documents_name_exist() -> None:
    for path in DOCUMENTS:
        for module, name in re.findall(r"`(test_\w+\.(?:py|c))::(\w+)`", path.read_text()):
            (file,) = (ROOT / "tests").rglob(module)
            start = rf"^TEST\({name}\)" if file.suffix == ".c" else rf"^def {name}\("
            assert re.search(start, file.read_text(), re.M), f"{path.name}: {module}::{name}"


@pytest.mark.parametrize("page", ["invariants.md", "debugging.md"])
def test_the_functions_that_a_page_names_exist(page: str) -> None:
    ours = sources("csrc", ".c", ".h") + sources("secalloc", ".py")
    named = re.findall(r"`(\w+)\(\)`", (ROOT / "docs" / page).read_text())
    assert named
    for name in named:
        assert re.search(rf"^(?:def |[a-zA-Z_].*[ *]){name}\(", ours, re.M), name


def test_the_architecture_names_each_file_of_the_core_and_no_other() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`[\w/]+`)? ?\| ([^|]*) \| [^|]* \|$", text, re.M)
    told, room = set(), ""
    for folder, names in rows:
        room = folder.strip("`") or room
        told |= {(room, name) for name in re.findall(r"`(\w+\.c)`", names)}
    core = ROOT / "csrc" / "core"
    there = {(path.relative_to(core).parts[0], path.name) for path in core.rglob("*.c")}
    rooms = {path.name for path in core.iterdir()}
    assert {pair for pair in told if pair[0] in rooms} == there


def test_the_targets_that_documents_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for path in (*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md"):
        for name in re.findall(r"(?:`|^    )make (?:-s )?([a-z-]+)", path.read_text(), re.M):
            assert re.search(rf"^{name}:", makefile, re.M), f"{path.name}: {name}"


def test_the_table_of_states_is_the_tested_one() -> None:
    text = (ROOT / "docs" / "states.md").read_text()
    assert markdown() in text, "python tests/states.py prints the table for docs/states.md"


def test_every_public_name_is_in_the_reference() -> None:
    """`make docs` looks at their members, too."""
    text = (ROOT / "docs" / "reference.md").read_text()
    there = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, re.M)
    assert sorted(n for n in there if "." not in n) == sorted([*secalloc.__all__, *NOT_IN_ALL])
    for found in pkgutil.iter_modules(secalloc.__path__, "secalloc."):
        if not found.name.startswith("secalloc._"):
            names = getattr(importlib.import_module(found.name), "__all__", ())
            ours = {f"{found.name}.{name}" for name in names if name not in secalloc.__all__}
            assert ours <= {*there}, ours - {*there}


# ---- the drawings -------------------------------------------------------------------------


def drawings() -> Any:
    """docs/drawings.py, from where it is."""
    spec = importlib.util.spec_from_file_location("drawings", ROOT / "docs" / "drawings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_drawings_are_current() -> None:
    assert drawings().stale() == [], "python docs/drawings.py draws them anew"


def test_the_drawings_follow_the_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = drawings()
    shutil.copytree(ROOT / "csrc" / "core", tmp_path / "core")
    monkeypatch.setattr(module, "CORE", tmp_path / "core")
    for word, drawing in (("WAITING ((uint64_t)1 << 57)", "use-word"), ("SLOT_LOST ", "slot")):
        (header,) = (p for p in module.CORE.rglob("*.h") if word in p.read_text())
        header.write_text(header.read_text().replace(word, word.replace("57", "63"), 1))
        if drawing == "slot":
            header.write_text(header.read_text().replace("never to be used again", "never again"))
        assert drawing in module.stale()


def test_no_two_fields_of_the_use_word_share_a_bit() -> None:
    seen = 0
    for name, lowest, bits in drawings().use_word():
        field = (1 << bits) - 1 << lowest
        assert not seen & field, name
        seen |= field
    assert seen < 1 << 64


def test_each_drawing_is_shown() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    shown = re.findall(r"\(drawings/([\w-]+)\.svg\)", text)
    assert sorted(shown) == sorted(drawings().DRAWINGS)
