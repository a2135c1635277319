"""The wheel's tag and entry point, for each interpreter; what setup.py refuses."""

import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support import check

import secalloc
from secalloc import _core

TREE = Path(__file__).resolve().parent.parent
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
SENTENCE = "secalloc needs CPython 3.11 or later on 64-bit Linux or macOS."
VERSION = sys.version_info[:2]
ABI3, ABI3T = {"cp311-abi3"}, {"cp315-abi3", "cp315-abi3t"}


def tags() -> set[str]:
    """Python and ABI of the wheel that this was installed from."""
    text = importlib.metadata.distribution("secalloc").read_text("WHEEL")
    assert text is not None
    lines = [line.split() for line in text.splitlines()]
    return {line[1].rsplit("-", 1)[0] for line in lines if line[:1] == ["Tag:"]}


def test_tag() -> None:
    if FREE_THREADED and VERSION < (3, 15):
        own = f"cp{VERSION[0]}{VERSION[1]}"
        assert tags() == {f"{own}-{own}t"}
    elif FREE_THREADED:
        assert tags() == ABI3T
    else:  # the wheel of all, or from 3.15 on the one that both builds share
        assert tags() in ([ABI3, ABI3T] if VERSION >= (3, 15) else [ABI3])


def test_entry_point() -> None:
    binary = Path(_core.__file__).read_bytes()
    combined = tags() == ABI3T
    assert (b"PyModExport__core" in binary, b"PyInit__core" in binary) == (combined, not combined)
    assert Path(_core.__file__).name.count(".abi3") == (tags() in (ABI3, ABI3T))


def test_version_is_one() -> None:
    assert importlib.metadata.version("secalloc") == secalloc.__version__


@pytest.mark.skipif(not FREE_THREADED, reason="this interpreter has a GIL")
def test_no_gil_comes_back() -> None:
    code = "import warnings; warnings.simplefilter('error'); print(sys._is_gil_enabled())"
    assert check(code, env={"PYTHON_GIL": ""}) == "False"


PRETENCES = [
    "sys.platform = 'win32'",
    "sys.platform = 'wasi'",
    "sys.platform = 'freebsd15'",
    "sys.maxsize = 2**31 - 1",
    "sys.version_info = (3, 10, 13)",
    "sys.implementation.name = 'pypy'",
]


@pytest.mark.parametrize("pretence", PRETENCES)
def test_build_elsewhere_is_refused(pretence: str) -> None:
    code = f"import runpy, sys; {pretence}; runpy.run_path('setup.py')"
    end = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=False
    )
    assert (end.returncode, end.stdout, end.stderr) == (1, "", SENTENCE + "\n")


def test_import_elsewhere_is_refused() -> None:
    end = subprocess.run(
        [sys.executable, "-P", "-c", "import sys; sys.platform = 'win32'; import secalloc"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert end.returncode == 1
    assert "ImportError: secalloc works on Linux and macOS, not on win32." in end.stderr


@pytest.mark.parametrize("flags", [["-D__STDC_NO_ATOMICS__=1"], ["-std=c99"]])
def test_build_without_atomics_is_refused(flags: list[str]) -> None:
    compiler = os.environ.get("CC", "cc").split()
    source = "csrc/core/alt_stack.c"  # the first that setup.py compiles
    command = [*compiler, "-std=c11", *flags, "-Wfatal-errors", "-Icsrc/core", "-c", source]
    try:
        end = subprocess.run(  # noqa: S603
            [*command, "-o", os.devnull], cwd=TREE, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("needs a C compiler")
    assert end.returncode != 0
    assert "secalloc needs a C11 compiler with atomics" in end.stderr
    assert end.stderr.count("error:") == 1, end.stderr
