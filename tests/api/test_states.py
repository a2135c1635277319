"""Every state by every operation, cell by cell."""

import ast

import pytest
from crash import SECRET, raw
from states import OPERATIONS, STATES, TABLE, in_state, outcome
from support import check

HERE = STATES[:-1]


def test_the_table_is_complete() -> None:
    assert set(TABLE) == set(OPERATIONS)
    assert all(len(row) == len(STATES) for row in TABLE.values())


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", HERE)
def test_cell(state: str, operation: str) -> None:
    with in_state(state) as (arena, view):
        assert outcome(operation, arena, view) == TABLE[operation][STATES.index(state)]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", ["sealed", "open r", "open rw"])
def test_cell_of_an_encrypted_one(state: str, operation: str) -> None:
    with in_state(state, encrypt=True) as (arena, view):
        encrypted = operation == ".encrypted" and state == "sealed"
        expected = True if encrypted else TABLE[operation][STATES.index(state)]
        assert outcome(operation, arena, view) == expected


@pytest.mark.parametrize(
    "operation", [name for name in OPERATIONS if not name.startswith("seal")]
)  # raw() would fault
@pytest.mark.parametrize("state", ["wiped", "filling"])
def test_no_operation_brings_the_content_back(state: str, operation: str) -> None:
    """But for writing the whole, which is what those two do."""
    with in_state(state) as (arena, view):
        before = raw(arena)
        outcome(operation, arena, view)
        writes = operation in ("a[:] = data", "open w", "replace")
        if operation != "close":
            assert arena.wiped is not (writes and state == "wiped")
        if not writes and operation not in ("close", "rotate", "clear()", "clear(a)", "take"):
            assert raw(arena) == before
        if not writes and operation != "close":
            assert SECRET[:8] not in raw(arena)


def test_the_column_of_a_child_process() -> None:
    text = check("import states; print(states.walk_forked())")
    column = ast.literal_eval(text)
    expected = {name: row[STATES.index("forked")] for name, row in TABLE.items()}
    assert column == expected
