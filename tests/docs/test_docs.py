"""What the documents claim: their examples run, the table of states is the tested one."""

import fcntl
import http.server
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
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from states import markdown
from support import crypto

import secalloc
from secalloc._commands.run import library

NOT_IN_ALL = ["getpass", "random"]
ROOT = Path(__file__).parents[2]


DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
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


UNDER_RUN = "# python -m secalloc run\n"


def start(code: str, directory: Path, **options: Any) -> "subprocess.Popen[str]":
    """A program of its own, with nothing imported."""
    under = ["-m", "secalloc", "run"] if UNDER_RUN in code else []
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-P", *under, "-c", code],
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
    others = r"^(?:import|from) (jwt|keyring|nacl|pydantic|pymysql|requests)\b"
    for package in re.findall(others, code, re.M):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    if re.search(r"\bURL\b|\bPORT, user\b|not residue\.find", code):
        sheltered(code, tmp_path)
    elif "getpass(" in code:
        with_a_person(code, tmp_path)
    elif "HOST, PORT" in code:
        with_a_server(code, tmp_path, request.getfixturevalue("certificate"))
    else:
        finish(start(code, tmp_path))


WITHOUT_SHELTER = """\
import secalloc as _secalloc
def _capture(f, *args, **kwargs):
    made = f(*args, **kwargs)
    return _secalloc.encode(made) if isinstance(made, str) else _secalloc.Arena(made)
_secalloc.shelter = lambda f, *args, **kwargs: f(*args, **kwargs)
_secalloc.sheltered = lambda f: f
_secalloc.is_sheltered = lambda thing: True
_secalloc.capture = _capture
"""


def sheltered(code: str, directory: Path) -> None:
    """A recipe, and as the control the same without a shelter, which leaves copies."""
    if "t" in sys.abiflags:
        pytest.skip("not for free-threaded Pythons")
    if UNDER_RUN in code and library() is None:
        pytest.skip("what run loads is in wheels for glibc")
    given, stop = "", list[Callable[[], None]]()
    if re.search(r"\bURL\b", code):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        given = f"URL = 'http://127.0.0.1:{server.server_port}/'\n"
        stop = [server.shutdown, server.server_close]
    elif "PORT" in code:
        listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=serve_mysql, args=(listener,), daemon=True).start()
        given = f"HOST, PORT = '127.0.0.1', {listener.getsockname()[1]}\n"
        stop = [listener.close]
    try:
        plain = WITHOUT_SHELTER + given + code.replace(UNDER_RUN, "")
        control = start(plain, directory)
        finish(start(given + code, directory))
        out, _ = control.communicate(timeout=300)
        lines = re.findall(r'"<string>", line (\d+), in <module>', out)
        assert out.endswith("AssertionError\n"), out
        assert "not residue.find" in plain.splitlines()[int(lines[-1]) - 1], "the control"
    finally:
        for one in stop:
            one()


class Answers(http.server.BaseHTTPRequestHandler):
    """How long a token it was given."""

    def do_GET(self) -> None:
        body = b'{"bytes": %d}' % len(self.headers["Authorization"])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def serve_mysql(listener: socket.socket) -> None:
    """Greets as a MySQL server, and finds all well that it is told."""
    well = b"\x00\x00\x00\x02\x00\x00\x00"
    flags = (0xAFF7FF).to_bytes(4, "little")  # no TLS
    greeting = b"\n8.0.0\x00\x01\x00\x00\x00saltsalt\x00" + flags[:2] + b"!\x02\x00" + flags[2:]
    greeting += b"\x15" + bytes(10) + b"saltsaltsalt\x00mysql_native_password\x00"
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as stream:
                connection.sendall(len(greeting).to_bytes(3, "little") + b"\x00" + greeting)
                while head := stream.read(4):
                    if stream.read(int.from_bytes(head[:3], "little")) == b"\x01":
                        break  # it quits
                    number = bytes([(head[3] + 1) % 256])
                    connection.sendall(len(well).to_bytes(3, "little") + number + well)


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
    assert names.count("README.md") >= 1
    assert names.count("channels.md") == 3
    assert names.count("howto.md") >= 7
    assert names.count("shelter.md") >= 10


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


def test_each_claim_has_its_test_and_its_control() -> None:
    rows = re.findall(r"^\| (.*) \|$", (ROOT / "docs" / "claims.md").read_text(), re.M)
    claims = [row.split(" | ") for row in rows if not row.startswith(("claim |", "---"))]
    assert claims
    for cells in claims:
        assert len(cells) == 3, cells
        assert re.search(r"`(?:test_\w+\.py::\w+|make check-[a-z-]+|tests/[\w/]+\.py)`", cells[1])
        assert len(cells[2]) > len("none"), cells


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


# ---- what README has of other pages -------------------------------------------------------


def test_the_summary_in_readme_is_what_the_pages_say() -> None:
    text = (ROOT / "README.md").read_text()
    assert script("summary").renewed(text) == text, "python docs/summary.py writes it anew"


def test_the_summary_follows_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, text = script("summary"), (ROOT / "README.md").read_text()
    for page in ("performance.md", "attacks.md"):
        shutil.copy(ROOT / "docs" / page, tmp_path)
    monkeypatch.setattr(module, "DOCS", tmp_path)
    assert module.renewed(text) == text
    for page, old, new in (
        ("attacks.md", "**yes**", "no"),
        ("performance.md", module.figures()[0].split(" | ")[1].rstrip(" |"), "1 s : 1 s"),
    ):
        there = (tmp_path / page).read_text()
        (tmp_path / page).write_text(there.replace(old, new))
        assert module.renewed(text) != text
        (tmp_path / page).write_text(there)
    there = (tmp_path / "performance.md").read_text()
    (tmp_path / "performance.md").write_text(there.replace("| isolated arenas before", "| none"))
    with pytest.raises(SystemExit, match="has no row"):
        module.renewed(text)


def test_the_landing_page_is_a_part_of_readme() -> None:
    """Between the marks, which the page includes; what it links is below docs/."""
    _, _, rest = (ROOT / "README.md").read_text().partition("<!-- landing -->")
    landing, end, _ = rest.partition("<!-- end of landing -->")
    assert end
    for link in re.findall(r"\]\(([^)#]+)", landing):
        assert link.startswith("docs/"), link
        assert (ROOT / link).is_file(), link


# ---- the drawings -------------------------------------------------------------------------


def script(name: str) -> Any:
    """One of docs/, from where it is."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawings() -> Any:
    return script("drawings")


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
    text = "".join(page.read_text() for page in DOCUMENTS)
    shown = re.findall(r"\((?:docs/)?drawings/([\w-]+)\.svg\)", text)
    assert sorted(shown) == sorted(drawings().DRAWINGS)
