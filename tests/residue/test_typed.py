"""A user's test by the plugin, as type checkers see it: `make check-lint` runs mypy --strict over
this file alone, away from the source, so that what is installed has to say its own types.
"""

import pytest

import secalloc
from pytest_secalloc import Residue
from secalloc.residue import Copy


@pytest.mark.residue_allow("*")
def test_what_the_fixture_gives(residue: Residue) -> None:
    with secalloc.random(32) as secret:
        found: list[Copy] = residue.find(secret)
        with residue.watch(secret[:16], partial=False) as nothing:
            kept = bytes(secret)
        wrong: int = residue.find(secret)  # type: ignore[assignment]  # were it Any, it would pass
    assert found == []
    assert nothing is None
    assert wrong is not None
    assert len(kept) == 32
