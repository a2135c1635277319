"""Who is blamed for a race: the judge of ThreadSanitizer's reports (races.py)."""

from pathlib import Path

import pytest
import races

RULE = "=" * 18
TITLE = "WARNING: ThreadSanitizer: data race (pid=7)\n"
THEIRS = "    #0 memory_dealloc memoryobject.c:1 (python3.13t+0x1)\n    #1 run ceval.c:2 (python)\n"
OURS = "    #0 memcpy <null> (python3.13t+0x1)\n    #1 sa_store (_core.cpython-313t.so+0x5)\n"
BEGUN = "\n  Thread T2 (tid=9, running) created by main thread at:\n"


def report(one: str, other: str, rest: str = "") -> str:
    return (
        f"{TITLE}  Write of size 8 at 0x7f by thread T1:\n{one}"
        f"\n  Previous atomic read of size 8 at 0x7f by main thread:\n{other}{rest}"
        "\nSUMMARY: ThreadSanitizer: data race memoryobject.c:1 in memory_dealloc\n"
    )


def judged(tmp_path: Path, *found: str) -> int:
    log = tmp_path / "race.7"
    log.write_text(
        "".join(f"{RULE}\n{text}{RULE}\n" for text in found)
        + f"ThreadSanitizer: reported {len(found)} warnings\n"
    )
    return races.main("_core.", str(log))


def test_nothing_was_reported() -> None:
    assert races.main("_core.") == 0


def test_the_interpreters_own_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(tmp_path, report(THEIRS, THEIRS), report(THEIRS, THEIRS, BEGUN + OURS)) == 0
    out = capsys.readouterr().out
    assert "memory_dealloc" in out
    assert "races with _core. in them: none" in out


@pytest.mark.parametrize(
    "found",
    [
        report(OURS, THEIRS),
        report(THEIRS, OURS),
        report(THEIRS, THEIRS, "\n  Location is heap block of size 9 allocated by T1:\n" + OURS),
        report(THEIRS, THEIRS, "\n  Mutex M1 created at:\n" + OURS),
        report(THEIRS, "    [failed to restore the stack]\n"),
        report(THEIRS, THEIRS).replace("data race", "lock-order-inversion"),
        "FATAL: ThreadSanitizer: unexpected memory mapping\n",
    ],
    ids=["this", "other", "memory", "mutex", "unknown", "another kind", "no report"],
)
def test_all_else_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str], found: str) -> None:
    assert judged(tmp_path, report(THEIRS, THEIRS), found) == 1
    assert found.strip() in capsys.readouterr().out
