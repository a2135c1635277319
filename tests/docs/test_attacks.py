"""The cheap attacks on secalloc's memory end as docs/attacks.md has them.

`make check-attacks` makes all of the attempts.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import x86_or_arm_linux

ROOT = Path(__file__).parents[2]
RUN = ROOT / "bench" / "attacks" / "run.py"
CHEAP = ["/proc/pid/mem", "forked child", "one byte over", "use after free", "freed memory"]
OURS = ["secalloc, anonymous", "secalloc, secretmem", "secalloc, pooled"]


def attempts(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler, for a native crash reporter")
    command = [sys.executable, str(RUN), "--attacks", *CHEAP, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


@x86_or_arm_linux
def test_they_end_as_documented() -> None:
    done = attempts("--only", *OURS, "--check", str(ROOT / "docs" / "attacks.md"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "**yes**" in done.stdout  # the control


@x86_or_arm_linux
def test_a_cell_that_is_worse_is_reported(tmp_path: Path) -> None:
    """Anonymous pages are read by root: a document that denies it must not stand."""
    text = (ROOT / "docs" / "attacks.md").read_text()
    (tmp_path / "attacks.md").write_text(text.replace("**yes**", "no"))
    done = attempts("--only", OURS[0], "--check", str(tmp_path / "attacks.md"))
    assert done.returncode == 1
    assert "documented no: found, is **yes**: found" in done.stdout


def test_the_table_is_of_attacks_that_succeed() -> None:
    table = (ROOT / "docs" / "attacks.md").read_text().split("<!-- attacks -->")[1]
    assert table.split("<!-- end")[0].count("| **yes**") > len(CHEAP)
