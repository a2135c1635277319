"""What the documents claim: the README's examples run, the table of states is the tested one."""

import re
from pathlib import Path

import pytest
from states import markdown
from support import check

import secalloc

NOT_IN_ALL = ["getpass", "random"]
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


def test_every_public_name_is_in_the_reference() -> None:
    """`make docs` looks at their members, too."""
    text = (ROOT / "docs" / "reference.md").read_text()
    there = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, re.M)
    assert sorted(n for n in there if "." not in n) == sorted([*secalloc.__all__, *NOT_IN_ALL])
