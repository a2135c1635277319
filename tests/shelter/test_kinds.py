"""What kinds of API leave of a secret when they are called sheltered; all: make check-shelter."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from kinds import KINDS, is_there
from support import linux_only, needs_lockable, run

pytestmark = [
    linux_only,
    pytest.mark.skipif("t" in sys.abiflags, reason="not for free-threaded Pythons"),
]

SOME = [
    "bytes joined",
    "bytearray grown",
    "str's methods, wide",
    "UTF-8 cached in a str",
    "keys of a dict",
    "interned strings",
    "int.from_bytes",
    "float",
    "decimal",
    "eval and compile",
    "exceptions and their traces",
    "a thread started inside",
    "json",
    "base64",
    "pickle",
    "re",
    "io.StringIO",
    "csv",
    "configparser",
    "xml.etree",
    "urllib.parse",
    "array",
    "strdup",
    "hmac",
    "zlib",
    "sqlite3",
    "files, as text",
    "socket.socketpair",
    "cryptography, AEAD",
]


FOR_GOOD = {"interned strings", "eval and compile"}


def look(how: str) -> dict[str, dict[str, Any]]:
    """What the child saw of each of them."""
    command = f"""
import runpy
sys.path.insert(0, {str(Path(__file__).parent)!r})
sys.argv[1:] = {[how, *SOME]!r}
runpy.run_module("kinds_child", run_name="__main__")
"""
    end = run(command)
    assert end.code == 0, end.err
    lines = [json.loads(line) for line in end.out.splitlines()]
    return {line["kind"]: line for line in lines if "kind" in line}


@needs_lockable(8 << 20)
def test_a_sheltered_call_leaves_no_copies() -> None:
    """But where a reason is known; the control is the same call, outside."""
    wanted = [kind for kind in KINDS if kind.name in SOME and is_there(kind)]
    outside, inside = look("plain"), look("sheltered")
    assert outside.keys() == inside.keys() == {kind.name for kind in wanted}
    assert not [name for name, saw in outside.items() if not saw["left"]], "the control"
    left = {name: saw["left"] for name, saw in inside.items() if saw["left"]}
    assert not left.keys() - {kind.name for kind in wanted if kind.leaves}, left
    assert {"a thread started inside", "strdup"} <= left.keys(), "what is left is found"
    assert not [name for name, saw in inside.items() if saw["freed"]]
    # CPython 3.12 never lets an interned string go.
    kept = {name for name, saw in inside.items() if saw["kept"]}
    assert not kept or (sys.version_info[:2] == (3, 12) and kept <= FOR_GOOD), kept
    assert sum(saw["live"] > 0 for saw in inside.values()) > len(wanted) * 2 // 3, "the control"
