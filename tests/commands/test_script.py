"""secalloc, the script that is installed, does what python -m secalloc does."""

import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import secalloc

SCRIPT = Path(sysconfig.get_path("scripts")) / "secalloc"
MODULE = [sys.executable, "-m", "secalloc"]
MISLEADING = ("argparse", "errno", "json", "os", "secalloc", "textwrap", "platform")

installed = pytest.mark.skipif(
    not SCRIPT.exists(), reason=f"the package is not installed by pip: there is no {SCRIPT}"
)


def start(*command: "str | Path", **options: Any) -> "subprocess.CompletedProcess[str]":
    given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, **options}
    return subprocess.run([*command], check=False, **given)  # noqa: S603


def test_the_entry_point_is_there() -> None:
    found = entry_points(group="console_scripts", name="secalloc")
    assert {each.value for each in found} == {"secalloc.__main__:script"}
    for each in found:
        assert callable(each.load())


@installed
def test_the_version() -> None:
    for command in ([SCRIPT], MODULE):
        end = start(*command, "--version", cwd="/")
        said = (end.returncode, end.stdout, end.stderr)
        assert said == (0, f"secalloc {secalloc.__version__}\n", "")


@installed
def test_nothing_of_the_current_directory_is_imported(tmp_path: Path) -> None:
    """Nor of its own, though that is the current one; python -m does, which is the control."""
    for name in MISLEADING:
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('misled by {name}')")
    beside = tmp_path / "secalloc"
    beside.write_bytes(SCRIPT.read_bytes())
    env = {key: text for key, text in os.environ.items() if not key.startswith("PYTHON")}
    end = start(SCRIPT, "doctor", "--json", cwd=tmp_path, env=env)
    assert json.loads(end.stdout)["version"] == secalloc.__version__
    assert "misled by" in start(*MODULE, "--version", cwd=tmp_path, env=env).stderr
    for name in ("secalloc", "os", "errno", "argparse"):  # they come before our first line
        (tmp_path / f"{name}.py").unlink()
    end = start(sys.executable, beside, "doctor", "--json", cwd=tmp_path, env=env)
    assert json.loads(end.stdout)["version"] == secalloc.__version__, end


@installed
@pytest.mark.parametrize("options", [(), ("-P",)])
def test_it_runs_and_draws_as_the_module_does(options: tuple[str, ...], tmp_path: Path) -> None:
    """A script with a module beside it; -m takes the current directory into the bargain."""
    (tmp_path / "beside.py").write_text("")
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, secalloc\n"
        "print(sys.argv, sys.path, __name__, secalloc._core._frees_are_overwritten())\n"
        "sys.exit(7)\n"
    )
    python = [sys.executable, *options]
    for command in ("run", "map"):
        line = (command, str(program), "-x", "y")
        ours = start(*python, SCRIPT, *line, cwd=tmp_path)
        theirs = start(*python, "-m", "secalloc", *line, cwd=tmp_path)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
        assert ours.returncode == 7
        path = ours.stdout.partition("]")[2]
        assert (f"{str(tmp_path)!r}" in path) is (options == ())


@installed
def test_bad_usage_names_the_script() -> None:
    for line, usage in (
        ((), "usage: secalloc [-h]"),
        (("run",), "usage: secalloc run "),
        (("doctor", "--loud"), "usage: secalloc "),
    ):
        end = start(SCRIPT, *line)
        assert (end.returncode, end.stdout) == (2, "")
        assert end.stderr.startswith(usage)
