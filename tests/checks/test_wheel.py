"""The wheel's tag and entry point, for each interpreter; what setup.py refuses."""

import importlib.metadata
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from support import check

import secalloc
from secalloc import _core

TREE = Path(__file__).resolve().parents[2]
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
    name = Path(_core.__file__).name
    assert name.count(".abi3") == (tags() in (ABI3, ABI3T))
    if tags() == ABI3:  # 3.11 looks for no other
        assert name == "_core.abi3.so"


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


# setup.py without setuptools, which not every venv has.
STAND_IN = """
import json, runpy, sys, types
asked = []
setuptools = types.SimpleNamespace(
    Extension=lambda name, **k: k,
    setup=lambda cmdclass, **k: asked.append(k),
    build_ext=type("build_ext", (), {"get_ext_filename": lambda self, name: name}),
    CompileError=OSError,
    LinkError=OSError,
)
for name in "", ".command", ".command.build_ext", ".errors":
    sys.modules["setuptools" + name] = setuptools
"""
NO_GIL = "import sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1"
WITH_GIL = "import sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 0"
# What is asked of setuptools: the ABI in the tag, and what the code is compiled for.
MATRIX = [
    ((3, 11), WITH_GIL, "cp311", ["Py_LIMITED_API", "0x030B0000"]),
    ((3, 14), WITH_GIL, "cp311", ["Py_LIMITED_API", "0x030B0000"]),
    ((3, 15), WITH_GIL, "cp311", ["Py_LIMITED_API", "0x030B0000"]),
    ((3, 13), NO_GIL, None, None),
    ((3, 14), NO_GIL, None, None),
    ((3, 15), NO_GIL, "cp315", ["Py_TARGET_ABI3T", "0x030F0000"]),
    ((3, 16), NO_GIL, "cp315", ["Py_TARGET_ABI3T", "0x030F0000"]),
]


@pytest.mark.parametrize(("version", "gil", "stable", "macro"), MATRIX)
def test_matrix(
    version: tuple[int, int], gil: str, stable: str | None, macro: list[str] | None
) -> None:
    code = f"""{STAND_IN}
{gil}
sys.version_info = ({version[0]}, {version[1]}, 0, "final", 0)
runpy.run_path("setup.py")
print(json.dumps(asked))
"""
    end = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True
    )
    (asked,) = json.loads(end.stdout)
    (extension,) = asked["ext_modules"]
    abi = [pair for pair in extension["define_macros"] if pair[0].startswith("Py_")]
    assert abi == ([macro] if macro else [])
    assert extension["py_limited_api"] == bool(stable)
    assert asked["options"] == ({"bdist_wheel": {"py_limited_api": stable}} if stable else {})


SUFFIXES = {
    ".abi3.so": ".abi3.so",
    ".abi3-x86_64-linux-gnu.so": ".abi3.so",  # of a build by 3.15
    ".abi3-darwin.so": ".abi3.so",
    ".abi3t-x86_64-linux-gnu.so": ".abi3t-x86_64-linux-gnu.so",
    ".cpython-314t-x86_64-linux-gnu.so": ".cpython-314t-x86_64-linux-gnu.so",
}


@pytest.mark.parametrize(("given", "made"), SUFFIXES.items())
def test_file_name(given: str, made: str) -> None:
    code = f"""{STAND_IN}
Build = runpy.run_path("setup.py")["Build"]
print(Build().get_ext_filename("secalloc/_core{given}"))
"""
    end = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=TREE, capture_output=True, text=True, check=True
    )
    assert end.stdout.strip() == f"secalloc/_core{made}"


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
    source = "csrc/core/arena/arena.c"  # the first that setup.py compiles
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
