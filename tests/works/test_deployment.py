"""The blocks of docs/deployment.md: validated, or run, where the software is installed.

`make check-with-others` runs it in a venv that has the packages; what is missing is skipped.
"""

import http.client
import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import HANGS, LINUX
from test_programs import of_postgres

import secalloc

PAGE = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
BLOCKS = dict(re.findall(r"^```\w+\n# ([\w.]+)\n(.*?)^```$", PAGE, re.M | re.S))


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


def write(directory: Path, *names: str, **changes: str) -> None:
    for name in names:
        text = BLOCKS[name]
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (directory / name).write_text(text)


def test_each_block_has_a_name() -> None:
    assert len(re.findall(r"^```\w+$", PAGE, re.M)) == len(BLOCKS)


# ---- systemd ------------------------------------------------------------------------------------


def verify(unit: Path) -> str:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run(  # noqa: S603
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_unit(tmp_path: Path) -> None:
    write(tmp_path, "app.service", **{"/usr/bin/python3": sys.executable})
    told = verify(tmp_path / "app.service")
    assert "app.service" not in told, told
    wrong = {"LimitMEMLOCK": "LimitMEMLOK", "service memfd_secret": "service memfd_secrete"}
    write(tmp_path, "app.service", **wrong)
    told = verify(tmp_path / "app.service")  # the control
    assert "LimitMEMLOK" in told
    assert "memfd_secrete" in told


def test_what_the_unit_starts(tmp_path: Path) -> None:
    write(tmp_path, "main.py")
    (tmp_path / "database-password").write_bytes(b"correct horse")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "secalloc", "run", "main.py"],
        cwd=tmp_path,
        env={**os.environ, "CREDENTIALS_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANGS,
    )
    assert done.stdout == "13 bytes\n", done.stderr


# ---- containers ---------------------------------------------------------------------------------


def loaded(name: str) -> Any:
    needs("yaml")
    return importlib.import_module("yaml").safe_load(BLOCKS[name])


def test_compose() -> None:
    told = loaded("compose.yaml")
    app = told["services"]["app"]
    assert set(app) == {"image", "init", "ulimits", "security_opt", "secrets"}
    assert app["init"] is True
    assert app["ulimits"] == {"memlock": 64 << 20, "core": 0}
    assert set(app["secrets"]) == set(told["secrets"])
    assert all(re.fullmatch(r"[\w-]+[:=].+", option) for option in app["security_opt"])


def test_the_pod() -> None:
    told = loaded("pod.yaml")
    assert (told["apiVersion"], told["kind"]) == ("v1", "Pod")
    profile = told["spec"]["securityContext"]["seccompProfile"]
    assert profile == {"type": "Localhost", "localhostProfile": "profiles/secalloc.json"}
    (container,) = told["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}
    volumes = {volume["name"]: volume["secret"] for volume in told["spec"]["volumes"]}
    for mount in container["volumeMounts"]:
        assert volumes[mount["name"]]["defaultMode"] == 0o400
    assert told["spec"]["shareProcessNamespace"] is True


ACTIONS = ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS"]
PROFILE = {
    "type": "object",
    "required": ["defaultAction"],
    "additionalProperties": False,
    "properties": {
        "defaultAction": {"enum": ACTIONS},
        "defaultErrnoRet": {"type": "integer", "minimum": 0},
        "archMap": {"type": "array"},
        "architectures": {"type": "array", "items": {"type": "string"}},
        "syscalls": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["names", "action"],
                "properties": {
                    "names": {
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": True,
                        "items": {"type": "string", "pattern": "^[a-z0-9_]+$"},
                    },
                    "action": {"enum": ACTIONS},
                    "args": {"type": "array"},
                },
            },
        },
    },
}
"""What profiles of this kind use of the runtime specification's seccomp."""


def test_the_profile(tmp_path: Path) -> None:
    write(tmp_path, "seccomp.py")
    given = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mlock", "mlock2", "read"], "action": "SCMP_ACT_ALLOW"},
        ],
    }
    for _ in range(2):  # a second time changes nothing
        done = subprocess.run(  # noqa: S603
            [sys.executable, str(tmp_path / "seccomp.py")],
            input=json.dumps(given).encode(),
            capture_output=True,
            check=True,
        )
        got = json.loads(done.stdout)
        assert got["syscalls"][1]["names"] == ["mlock", "mlock2", "read", "memfd_secret"]
        assert got["syscalls"][0] == given["syscalls"][0]  # type: ignore[index]
        given = got
    needs("jsonschema")
    jsonschema = importlib.import_module("jsonschema")
    jsonschema.validate(got, PROFILE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**got, "defaultAction": "ALLOW"}, PROFILE)


# ---- servers ------------------------------------------------------------------------------------


class Local(http.client.HTTPConnection):
    """A connection to a socket in the file system, whose place no other program takes."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(HANGS)
        self.sock.connect(self._path)

    def ask(self, path: str) -> str:
        self.request("GET", path)
        answer = self.getresponse()
        body = answer.read().decode()
        assert answer.status == 200, body
        self.close()
        return body


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="sa", dir="/tmp") as directory:
        yield Path(directory)


@contextmanager
def serves(directory: Path, *command: str) -> "Iterator[tuple[subprocess.Popen[str], Local]]":
    """A server that listens on the socket `s`, which ends well when it is asked to."""
    log = directory / "log"
    with open(log, "w") as out:
        server = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", *command],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(directory)},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        end = time.monotonic() + HANGS
        while True:
            with closing(socket.socket(socket.AF_UNIX)) as probe:
                if probe.connect_ex(str(directory / "s")) == 0:
                    break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield server, Local(directory / "s")
        server.send_signal(signal.SIGTERM)
        assert server.wait(HANGS) in (0, -signal.SIGTERM), log.read_text()
    finally:
        server.kill()
        server.wait()


def is_tag(text: str) -> bool:
    return re.fullmatch(r'"?[0-9a-f]{64}"?', text) is not None


def test_gunicorn(short: Path) -> None:
    needs("gunicorn")
    write(short, "gunicorn.conf.py", "wsgi.py")
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "gunicorn",
            "--check-config",
            "-c",
            "gunicorn.conf.py",
            "wsgi",
        ],
        cwd=short,
        env={**os.environ, "PYTHONPATH": str(short)},
        check=True,
        timeout=HANGS,
    )
    with open(short / "wsgi.py", "a") as more:  # who is armed is the worker's to say
        more.write(
            "\n\ndef told(environ, start_response):\n"
            "    if environ['PATH_INFO'] != '/armed': return application(environ, start_response)\n"
            "    start_response('200 OK', [])\n"
            "    armed = secalloc.status().handlers\n"
            "    return [' '.join(f'{int(s)}={h}' for s, h in armed.items()).encode()]\n"
        )
    command = ("-m", "gunicorn", "-c", "gunicorn.conf.py", "-b", f"unix:{short}/s", "-w", "1")
    with serves(short, *command, "wsgi:told") as (_, local):
        first = local.ask("/x")
        assert is_tag(first)
        assert local.ask("/x") == first != local.ask("/y")
        armed = local.ask("/armed").split()
        assert {"11=armed", "6=armed"} <= set(armed), armed


def test_uvicorn(short: Path) -> None:
    needs("uvicorn", "fastapi")
    write(short, "asgi.py")
    with serves(short, "-m", "uvicorn", "--uds", f"{short}/s", "asgi:app") as (_, local):
        first = local.ask("/x")
        assert is_tag(first)
        assert local.ask("/x") == first != local.ask("/y")


def run(code: str, directory: Path) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-c", code],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_celery(tmp_path: Path) -> None:
    needs("celery")
    write(tmp_path, "tasks.py")
    code = """
import tasks, secalloc
from celery.contrib.testing.worker import start_worker
with start_worker(tasks.app, pool="solo", perform_ping_check=False):
    print(tasks.sign.delay("signing", "hello").get(timeout=100))
    try: tasks.sign.delay(secalloc.random(3), "hello")
    except Exception as error: print(type(error).__name__)
"""
    tag, refused = run(code, tmp_path).split()
    assert is_tag(tag)
    assert refused in ("EncodeError", "TypeError")


@pytest.mark.skipif(not LINUX, reason="the password file is a file in memory")
def test_django(tmp_path: Path) -> None:
    needs("django", "psycopg")
    seen: list[bytes] = []
    write(tmp_path, "settings.py", **{"/run/secrets": str(tmp_path)})
    (tmp_path / "django").write_text("x" * 50)
    (tmp_path / "pgpass").write_text("*:*:*:*:correct horse\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: serve_two(listener, seen), daemon=True)
        thread.start()
        code = f"""
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
import settings
settings.DATABASES["default"]["PORT"] = "{listener.getsockname()[1]}"
settings.DATABASES["default"]["OPTIONS"].update(sslmode="disable", gssencmode="disable")
import django
django.setup()
from django.core import signing
from django.db import OperationalError, connection
assert signing.loads(signing.dumps("me")) == "me"
for _ in range(2):  # the file is read for each
    try: connection.ensure_connection()
    except OperationalError as error: assert "seen" in str(error), error
    else: raise AssertionError
from django.utils.encoding import force_bytes
try: force_bytes(settings.passfile)
except TypeError: print("refused")
"""
        assert run(code, tmp_path) == "refused\n"
        thread.join(HANGS)
    assert seen == [b"correct horse"] * 2


def serve_two(listener: socket.socket, seen: list[bytes]) -> None:
    for _ in range(2):
        of_postgres(listener, seen)


def test_arenas_are_refused_by_what_would_copy_them() -> None:
    """What Celery and Django rest on."""
    arena = secalloc.random(3)
    with pytest.raises(TypeError):
        json.dumps(arena)
    with pytest.raises(TypeError):
        str(arena)
