"""The pytest plugin: what it proves, what it prints, and that it costs others nothing."""

import re
from pathlib import Path

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


def run(pytester: pytest.Pytester, code: str, **outcomes: int) -> str:
    """Run tests in a process of their own; what was printed."""
    pytester.makepyfile(PREFACE + code)
    result = pytester.runpytest_subprocess("-W", "ignore::secalloc.ProtectionWarning")
    result.assert_outcomes(**outcomes)
    return result.stdout.str()


def test_a_block_that_leaves_nothing(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
def test_it(residue):
    secret = a_secret()
    old = bytes(secret)
    with residue.watch(secret):
        secalloc.compare_digest(secret, b"x" * 32)
    with residue.watch(secret), secret:
        pass
    assert secret.closed
""",
        passed=1,
    )


def test_a_block_that_leaves_copies(pytester: pytest.Pytester) -> None:
    out = run(
        pytester,
        """
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
    """,
        failed=2,
    )
    assert re.search(r"E +AssertionError: the block left \d+ copies of the secret:", out), out
    assert re.search(r"E +0x[0-9a-f]+: bytes, all of 32 bytes as plain, in .* at 0x", out), out
    assert re.search(r"E +0x[0-9a-f]+: str, all of 64 bytes as hex, in .* at 0x", out), out
    assert re.search(r"E +AssertionError: the block left a copy of the secret:", out), out
    assert re.search(r"E +0x[0-9a-f]+: bytearray, all of 32 bytes as plain", out), out


def test_many_copies_are_cut_short(pytester: pytest.Pytester) -> None:
    out = run(
        pytester,
        """
def test_it(residue):
    secret = a_secret()
    with residue.watch(secret):
        kept.extend(bytes(secret) for _ in range(100))
""",
        failed=1,
    )
    assert re.search(r"E +and \d\d more", out), out
    assert len(re.findall(r"E +0x", out)) == 20


def test_the_marker_allows_known_ones(pytester: pytest.Pytester) -> None:
    out = run(
        pytester,
        """
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
""",
        passed=3,
        failed=1,
        errors=2,
    )
    assert "residue_allow takes patterns, which are str" in out


def test_what_the_block_raises_passes(pytester: pytest.Pytester) -> None:
    run(
        pytester,
        """
def test_it(residue):
    secret = a_secret()
    with pytest.raises(KeyError), residue.watch(secret):
        kept.append(bytes(secret))
        raise KeyError
    assert secalloc.status().arenas == 1

def test_bad(residue):
    with pytest.raises(ValueError, match="8 are the least"), residue.watch(secalloc.random(7)):
        raise AssertionError("the block ran")
    with pytest.raises(TypeError, match="Arena"), residue.watch(b"x" * 32):
        raise AssertionError("the block ran")
    sealed = a_secret()
    sealed.seal()
    with pytest.raises(secalloc.SealedError), residue.watch(sealed):
        raise AssertionError("the block ran")
""",
        passed=2,
    )


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
