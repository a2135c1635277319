"""The pytest plugin: what it proves, what it prints, and that it costs others nothing."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest_plugins = "pytester"

ROOT = Path(__file__).parents[2]
PREFACE = """
import ctypes, os
import pytest
import secalloc

kept = []

def a_secret():
    return secalloc.random(32)
"""

LEAVES_NOTHING = """
def test_it(residue):
    secret = a_secret()
    old = bytes(secret)
    with residue.watch(secret):
        secalloc.compare_digest(secret, b"x" * 32)
    with residue.watch(secret), secret:
        pass
    assert secret.closed
"""

LEAVES_COPIES = """
def test_each(residue):
    secret = a_secret()
    with residue.watch(secret):
        kept.append(bytes(secret))
        kept.append(bytes(secret).hex())
        secret.close()

def test_one(residue):
    secret = a_secret()
    with residue.watch(secret, partial=False):
        kept.append(bytearray(secret))
"""

LEAVES_MANY = """
def test_it(residue):
    secret = a_secret()
    with residue.watch(secret):
        kept.extend(bytes(secret) for _ in range(100))
"""

MARKED = """
def leave(residue):
    secret = a_secret()
    with residue.watch(secret):
        kept.append(b"".join([secret]))  # bytes() of 3.15 leaves another
    assert residue.find(secret) == []

@pytest.mark.residue_allow("bytes")
def test_by_kind(residue):
    leave(residue)

@pytest.mark.residue_allow("str")
@pytest.mark.residue_allow("*", "x")
def test_by_mapping(residue):
    leave(residue)

@pytest.mark.residue_allow("pl?in")
def test_by_form(residue):
    leave(residue)

@pytest.mark.residue_allow("str", "hex", "/*")
def test_others(residue):
    leave(residue)

@pytest.mark.residue_allow()
def test_no_pattern(residue):
    pass

@pytest.mark.residue_allow(5)
def test_no_text(residue):
    pass
"""

RAISES = """
def test_it(residue):
    secret = a_secret()
    before = secalloc.status().arenas
    with pytest.raises(KeyError), residue.watch(secret):
        kept.append(bytes(secret))
        raise KeyError
    assert secalloc.status().arenas == before

def test_bad(residue):
    with pytest.raises(ValueError, match="8 are the least"), residue.watch(secalloc.random(7)):
        raise AssertionError("the block ran")
    with pytest.raises(TypeError, match="Arena"), residue.watch(b"x" * 32):
        raise AssertionError("the block ran")
    sealed = a_secret()
    sealed.seal()
    with pytest.raises(secalloc.SealedError), residue.watch(sealed):
        raise AssertionError("the block ran")
"""


def test_what_it_proves_and_prints(pytester: pytest.Pytester) -> None:
    """All in one run, whose report tells of each test how it ended and what was printed."""
    files = {
        "test_nothing": LEAVES_NOTHING,
        "test_copies": LEAVES_COPIES,
        "test_many": LEAVES_MANY,
        "test_marked": MARKED,
        "test_raises": RAISES,
    }
    pytester.makepyfile(**{name: PREFACE + code for name, code in files.items()})
    ignored = ("-W", "ignore::secalloc.ProtectionWarning")
    result = pytester.runpytest_subprocess(*ignored, "--junitxml=report.xml")
    result.assert_outcomes(passed=6, failed=4, errors=2)
    said: dict[tuple[str, str], tuple[str, str]] = {}
    for case in ElementTree.parse(pytester.path / "report.xml").iter("testcase"):  # noqa: S314
        ends = [(end.tag, end.text or "") for end in case if end.tag in ("failure", "error")]
        said[case.attrib["classname"], case.attrib["name"]] = (ends or [("passed", "")])[0]

    assert said["test_nothing", "test_it"][0] == "passed"

    end, out = said["test_copies", "test_each"]
    assert end == "failure"
    assert re.search(r"E +AssertionError: the block left \d+ copies of the secret:", out), out
    assert re.search(r"E +0x[0-9a-f]+: bytes, all of 32 bytes as plain, in .* at 0x", out), out
    assert re.search(r"E +0x[0-9a-f]+: str, all of 64 bytes as hex, in .* at 0x", out), out
    end, out = said["test_copies", "test_one"]
    assert end == "failure"
    assert re.search(r"E +AssertionError: the block left a copy of the secret:", out), out
    assert re.search(r"E +0x[0-9a-f]+: bytearray, all of 32 bytes as plain", out), out

    end, out = said["test_many", "test_it"]
    assert end == "failure"
    assert re.search(r"E +and \d\d more", out), out
    assert len(re.findall(r"E +0x", out)) == 20

    for name in ("test_by_kind", "test_by_mapping", "test_by_form"):
        assert said["test_marked", name][0] == "passed"
    assert said["test_marked", "test_others"][0] == "failure"
    for name in ("test_no_pattern", "test_no_text"):
        end, out = said["test_marked", name]
        assert end == "error"
        assert "residue_allow takes patterns, which are str" in out

    assert said["test_raises", "test_it"][0] == said["test_raises", "test_bad"][0] == "passed"


def test_a_run_that_does_not_use_it(pytester: pytest.Pytester) -> None:
    """Nothing of secalloc is imported: no handler, no time, nothing a coverage would miss."""
    pytester.makepyfile("""
        import signal, sys

        def test_it(request):
            assert request.config.pluginmanager.has_plugin("secalloc")
            assert [name for name in sys.modules if name.partition(".")[0] == "secalloc"] == []
            for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT):
                status = "/proc/self/status" if sys.platform == "linux" else "/dev/null"
                with open(status) as f:
                    caught = [line.split()[1] for line in f if line.startswith("SigCgt")]
                for mask in caught:
                    assert not int(mask, 16) >> (number - 1) & 1
    """)
    result = pytester.runpytest_subprocess("-p", "no:faulthandler")
    result.assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess("--markers", "--strict-markers")
    assert "@pytest.mark.residue_allow(*patterns):" in result.stdout.str()


def test_the_documented_example(pytester: pytest.Pytester) -> None:
    text = (ROOT / "docs" / "residue.md").read_text()
    for block in re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```", text, re.M | re.S):
        (pytester.path / block[0]).write_text(block[1])
    result = pytester.runpytest_subprocess("-W", "ignore::secalloc.ProtectionWarning")
    result.assert_outcomes(passed=2, failed=1)
    out = result.stdout.str()
    assert "FAILED test_login.py::test_log_in_as_before - Asser" in out
    assert re.search(
        r">       with residue.watch\(password\):\n( *\^+\n)?E +AssertionError: the block", out
    ), out
    assert re.search(r"E +0x[0-9a-f]+: str, all of 32 bytes as plain, in", out), out
