"""pydantic, FastAPI, click, typer and others take an arena as docs/frameworks.md says.

`make check-with-others` runs it in a venv that has them; elsewhere what is missing is skipped.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support import check

import secalloc

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
WORD = "correct horse"
STARS = "**********"


def needs(*packages: str) -> None:
    for package in packages:
        pytest.importorskip(package, reason=f"{package} is not installed")


Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """A block of the page by its file's name, imported; `changes` stand for parts of it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    blocks = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", PAGE.read_text(), re.M | re.S))
    for name in blocks:
        monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)

    def imported(name: str, **changes: str) -> ModuleType:
        text = blocks[f"{name}.py"]
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    return imported


def test_pydantic_is_imported_by_itself_alone() -> None:
    check("kept = secret(); assert 'pydantic' not in sys.modules")


def test_pydantic_asks_the_type() -> None:
    """What it asks for without it: the JSON schema needs no pydantic."""
    told = secalloc.Arena.__get_pydantic_json_schema__(None, None)
    assert told == {"type": "string", "format": "password", "writeOnly": True}


# ---- pydantic -----------------------------------------------------------------------------------


def test_the_page_s_model(load: Load) -> None:
    needs("pydantic")
    models = load("models")
    with pytest.raises(ValueError, match="at least 8") as error:
        models.Login(user="me", password="short")  # noqa: S106
    assert "input" not in str(error.value)
    assert "short" not in str(error.value).replace("too_short", "")


def test_what_goes_in_and_comes_out() -> None:
    needs("pydantic")
    from pydantic import BaseModel, ConfigDict, ValidationError  # noqa: PLC0415

    class Model(BaseModel):
        model_config = ConfigDict(hide_input_in_errors=True)
        one: secalloc.Arena
        other: secalloc.Arena | None = None

    arena = secalloc.encode(WORD)
    given: list[Any] = [WORD, WORD.encode(), bytearray(WORD, "utf-8"), arena]
    for value in given:
        model = Model(one=value)
        assert model.one == WORD.encode()
        assert (model.one is value) == (value is arena)
        assert model.model_dump() == {"one": STARS, "other": None}
        assert json.loads(model.model_dump_json())["one"] == STARS
        assert WORD not in f"{model!r} {model}"
    assert Model.model_validate_json('{"one": "gr\\u00fc\\u00dfe"}').one == "grüße".encode()
    assert Model(one="x", other="y").other == b"y"
    schema = Model.model_json_schema()["properties"]["one"]
    assert {k: schema[k] for k in ("type", "format", "writeOnly")} == {
        "type": "string",
        "format": "password",
        "writeOnly": True,
    }
    for bad in (5, [WORD], {"a": WORD}, None, 1.5, object(), "\ud800" + WORD):
        with pytest.raises(ValidationError) as error:
            Model(one=bad)
        assert WORD not in f"{error.value} {error.value!r}"
    arena.close()
    assert Model(one=arena).one.closed  # as it was given


def test_settings_from_a_directory(load: Load, tmp_path: Path) -> None:
    needs("pydantic_settings")
    (tmp_path / "database_password").write_text(WORD + "\n")
    settings = load("settings", **{"/run/secrets": str(tmp_path)}).settings
    assert settings.database_password == WORD.encode()
    assert WORD not in repr(settings)


def test_sqlmodel() -> None:
    needs("sqlmodel")
    from sqlmodel import SQLModel  # noqa: PLC0415

    class Login(SQLModel):
        password: secalloc.Arena

    login = Login.model_validate({"password": WORD})
    assert login.password == WORD.encode()
    assert login.model_dump() == {"password": STARS}


def test_fastapi(load: Load) -> None:
    needs("fastapi", "httpx2")
    from fastapi.testclient import TestClient  # noqa: PLC0415

    service = load("service")
    client = TestClient(service.app)
    good = client.post("/login", json={"user": "me", "password": WORD})
    assert (good.status_code, good.json()) == (200, {"welcome": True})
    assert client.post("/login", json={"user": "me", "password": "x"}).json() == {"welcome": False}
    bad = client.post("/login", json={"password": WORD})
    assert bad.status_code == 422
    assert "Field required" in bad.text
    assert WORD not in bad.text
    told = client.get("/openapi.json").json()["components"]["schemas"]["Login"]["properties"]
    assert told["password"]["format"] == "password"
    assert told["password"]["writeOnly"] is True


# ---- command lines ------------------------------------------------------------------------------

KEYS = [("00" * 32, "32 bytes"), ("c0ffee", "3 bytes, not 32"), ("horse", "not digits of hex")]


@pytest.mark.parametrize(("given", "told"), KEYS)
@pytest.mark.parametrize("how", ["argument", "environment"])
def test_click(load: Load, given: str, told: str, how: str) -> None:
    needs("click")
    from click.testing import CliRunner  # noqa: PLC0415

    command = load("command").command
    if how == "argument":
        done = CliRunner().invoke(command, ["--key", given])
    else:
        done = CliRunner().invoke(command, [], env={"APP_KEY": given})
    assert told in done.output
    assert (done.exit_code == 0) == (told == "32 bytes")
    assert given not in done.output


@pytest.mark.parametrize(("given", "told"), KEYS)
def test_typer(load: Load, given: str, told: str) -> None:
    needs("typer")
    from typer.testing import CliRunner  # noqa: PLC0415

    done = CliRunner().invoke(load("application").application, ["--key", given])
    assert told in done.output
    assert (done.exit_code == 0) == (told == "32 bytes")
    assert given not in done.output


@pytest.mark.parametrize(("given", "told"), KEYS[1:])
def test_argparse(given: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any package; the page's block itself is run by test_docs.py."""
    (block,) = re.findall(r"^```python\n(import argparse\n.*?)^```$", PAGE.read_text(), re.M | re.S)
    scope: dict[str, Any] = {}
    exec(block, scope)  # noqa: S102 - our own document
    capsys.readouterr()
    with pytest.raises(SystemExit):
        scope["parser"].parse_args(["--key", given])
    err = capsys.readouterr().err
    assert told in err
    assert given not in err
    scope["parser"].add_argument("--plain", type=secalloc.fromhex)  # the control
    with pytest.raises(SystemExit):
        scope["parser"].parse_args(["--plain", "horse"])
    assert "horse" in capsys.readouterr().err
