"""The command line, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from secalloc._commands import demo


def command(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603
        [sys.executable, "-P", "-m", "secalloc", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=300,
    )


def test_demo(tmp_path: Path) -> None:
    end = command("demo", cwd=tmp_path)
    lines = end.stdout.splitlines()
    assert (end.returncode, end.stderr) == (0, ""), end
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "b'F'" in end.stdout
    assert "SIGSEGV" in end.stdout or sys.platform == "darwin"
    assert "FAIL" not in end.stdout
    assert list(tmp_path.iterdir()) == []


BROKEN = {
    "it keeps a plain copy": ("kept = bytes(key)", "FAIL: found"),
    "it wipes the control": (
        "ctypes.memset(id(control) + bytes.__basicsize__ - 1, 0, _SIZE)",
        "FAIL: not found, so the search proves nothing",
    ),
    "it never falls": ("channel.close(); os._exit(0)", "FAIL: no memory fault"),
    "it is disarmed": ("secalloc.disarm()", "FAIL: not b'F'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_demo_fails_when_it_should(what: str, tmp_path: Path) -> None:
    """The demonstration with a fault put into its child."""
    source = Path(demo.__file__).read_text()
    fault, message = BROKEN[what]
    place = "    channel.close()\n"
    assert source.count(place) == 1
    broken = source.replace(place, f"    {fault}\n{place}")
    (tmp_path / "broken_demo.py").write_text(
        broken.replace("from secalloc._commands.demo import", "from broken_demo import")
    )
    end = subprocess.run(
        [sys.executable, "-P", "-c", "import sys, broken_demo; sys.exit(broken_demo.main())"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=300,
        env={"PYTHONPATH": str(tmp_path)},
    )
    if "cannot be shown" in end.stdout and message not in end.stdout:
        pytest.skip("no core file is to be had on this machine")
    assert end.returncode == 1, end
    assert message in end.stdout


@pytest.mark.parametrize("arguments", [(), ("dance",), ("demo", "extra"), ("--loud",)])
def test_bad_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    end = command(*arguments, cwd=tmp_path)
    assert end.returncode == 2
    assert end.stdout == ""
    assert "usage: python -m secalloc" in end.stderr
    if not arguments or arguments == ("dance",):
        assert "demo" in end.stderr, "it is told what there is"


def test_help(tmp_path: Path) -> None:
    end = command("--help", cwd=tmp_path)
    assert end.returncode == 0
    assert "demo" in end.stdout
