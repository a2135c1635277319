"""docs/works-with.md is what this Python does. `make works-with` writes it anew.

The packages' rows are tried by `make check-works-with`, in versions of their own.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import works
from support import linux_only
from works_page import Cells

import secalloc

RECORD = works.recorded()
OPENS = ("piped_out(", "unread(", "by_path(")
"""Calls of our own that open a sealed arena themselves."""


def cells() -> Iterator[tuple[str, Cells]]:
    for part in ("3.11", "3.12", "3.13", "packages"):
        for rows in RECORD[part].values():
            yield from rows.items()


@linux_only
def test_each_row_of_the_standard_library_is_as_recorded() -> None:
    if works.machine() != RECORD["machine"] or works.version() not in RECORD:
        pytest.skip(f"recorded on {RECORD['machine']}, not with this Python")
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("recorded with the GIL")
    command = [sys.executable, str(works.HERE / "works.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_is_the_record() -> None:
    assert works.DOCUMENT.read_text() == works.page(RECORD)


def test_the_search_finds_what_is_there() -> None:
    """The controls: calls that cannot but copy."""
    rows = dict(cells())
    for call, form in {
        "bytes(x)": "copy",
        "binascii.hexlify(x)": "hex",
        "base64.b64encode(x)": "base64",
        'int.from_bytes(x, "big")': "int",
        "HMAC.new(x, b'm', SHA256)": "copy, HMAC pad",
    }.items():
        assert rows[call]["in use"] == form, call


def test_nobody_gets_the_bytes_of_a_wiped_or_sealed_arena() -> None:
    for call, row in cells():
        assert row.get("wiped") != "TAKES IT", call
        assert (row.get("sealed") == "TAKES IT") is call.startswith(OPENS), call
        assert row.get("later", "goes on").startswith(("goes on", "fails")), call
        if "arena" in row.get("wrongly", ""):
            assert call == "numpy.asarray(x)"


def test_a_changed_row_is_reported() -> None:
    was = {"a": {"f(x)": {"takes": "arena"}, "g(x)": {"takes": "arena"}}}
    now = {"a": {"f(x)": {"takes": "bytes"}, "g(x)": {"takes": "arena"}}}
    assert works.differences(was, was) == []
    assert len(works.differences(was, now)) == 1


def test_what_is_left_by_chance_may_be_less_but_not_more() -> None:
    once, again = ({"takes": "arena", "in use": c, "after": c} for c in ("none", "copy"))
    merged = works.union({"a": {"f(x)": once}}, {"a": {"f(x)": again}})["a"]["f(x)"]
    none = {"takes": "arena", "in use": "none", "after": "none"}
    used = {**none, "in use": "copy"}
    assert works.alike(used, {**used, "after": "copy"})
    assert works.alike(used, none)
    for row in ({**none, "after": "copy"}, used):
        assert not works.alike(none, row)
    away = {**none, "in use": "-"}
    assert works.alike(away, away)
    assert not works.alike(away, {**away, "after": "copy"})
    assert works.alike(merged, once)
    assert works.alike(merged, again)
    assert works.alike(again, merged)
    assert not works.alike(once, merged)
    assert not works.alike(once, again)
    assert not works.alike(merged, {**once, "after": "hex"})
    assert not works.alike(merged, {**once, "takes": "bytes"})


def test_what_the_page_says_of_bytearrays() -> None:
    """That of the rows which none can show."""
    target = kept = bytearray(b"kept ")
    with secalloc.Arena(b"secret") as arena:
        target += arena
        assert isinstance(target, secalloc.Arena)
        assert target == b"kept secret"
        assert kept == b"kept "
        with pytest.raises(TypeError, match="iterable"):
            kept[:] = arena
        memoryview(kept)[:4] = arena[:4]
    assert kept == b"secr "
