"""What the documents claim: the README's examples run, the table of states is the tested one."""

import re
from pathlib import Path

import pytest
from states import markdown
from support import check

ROOT = Path(__file__).parent.parent


def examples(name: str) -> list[str]:
    """The Python blocks of a document."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)


EXAMPLES = examples("README.md")
RECIPES = examples("docs/channels.md")


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_of_the_readme_runs(code: str) -> None:
    check(code)


@pytest.mark.parametrize("code", RECIPES)
def test_a_recipe_for_channels_runs(code: str) -> None:
    check(code)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2
    assert len(RECIPES) == 3


def test_the_table_of_states_is_the_tested_one() -> None:
    text = (ROOT / "docs" / "states.md").read_text()
    assert markdown() in text, "python tests/states.py prints the table for docs/states.md"
