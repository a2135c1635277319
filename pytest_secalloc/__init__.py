"""A pytest plugin: the fixture `residue`, which proves that code leaves no copy of a secret.

Loaded in every test run where secalloc is installed, so it imports nothing of secalloc
until a test asks for the fixture.
"""

from fnmatch import fnmatchcase
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from secalloc import Arena, ArenaView
    from secalloc.residue import Copy

SHOWN = 20  # copies in a failure's text


class Residue:
    """What the fixture `residue` gives a test."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self._allowed = allowed

    def find(self, secret: "Arena | ArenaView", *, partial: bool = True) -> "list[Copy]":
        """List the copies, as secalloc.residue.find, without those that the test allows."""
        from secalloc.residue import find  # noqa: PLC0415 - only in a test that uses it

        return [copy for copy in find(secret, partial=partial) if not self._allows(copy)]

    def _allows(self, copy: "Copy") -> bool:
        looks = copy.kind, copy.mapping, copy.form
        return any(fnmatchcase(look, known) for look in looks for known in self._allowed)

    def watch(self, secret: "Arena | ArenaView", *, partial: bool = True) -> "Watch":
        """Assert that the block leaves no copy of a secret that was not there before it.

        The block may close, wipe or rotate the arena: what is searched for is copied from
        it first, into an arena. An exception from the block passes, and nothing is
        asserted then. ValueError and others as secalloc.residue.find, before the block.
        """
        return Watch(self, secret, partial)


class Watch:
    """One block under watch."""

    def __init__(self, residue: Residue, secret: "Arena | ArenaView", partial: bool) -> None:
        self._residue, self._secret, self._partial = residue, secret, partial

    def __enter__(self) -> None:
        import secalloc  # noqa: PLC0415 - only in a test that uses it
        from secalloc.residue import MOST, find  # noqa: PLC0415 - the same

        if not isinstance(self._secret, secalloc.Arena | secalloc.ArenaView):
            kind = type(self._secret).__name__
            raise TypeError(f"the secret is an Arena or ArenaView, not {kind}")
        self._own = secalloc.concat(self._secret)
        try:
            before = find(self._own, partial=self._partial)
            if len(before) == MOST:
                raise ValueError(f"{MOST} copies are there before the block")
        except BaseException:
            self._own.close()
            raise
        self._known = {(copy.address, copy.form) for copy in before}

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        __tracebackhide__ = True
        with self._own as own:
            if exc_type is not None:
                return
            found = self._residue.find(own, partial=self._partial)
        left = [copy for copy in found if (copy.address, copy.form) not in self._known]
        if left:
            raise AssertionError(_describe(left))


def _describe(left: "list[Copy]") -> str:
    """The failure's text: where each copy is, and nothing of what it says."""
    count = f"{len(left)} copies" if len(left) > 1 else "a copy"
    lines = [f"the block left {count} of the secret:", *(f"  {copy}" for copy in left[:SHOWN])]
    if len(left) > SHOWN:
        lines.append(f"  and {len(left) - SHOWN} more")
    return "\n".join(lines)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "residue_allow(*patterns): copies of a secret that the fixture residue lets pass; each "
        "pattern is a shell-style one for a copy's kind, its mapping or its form.",
    )


@pytest.fixture
def residue(request: pytest.FixtureRequest) -> Residue:
    """Proves that code leaves no copy of a secret: `with residue.watch(arena): ...`."""
    allowed: list[str] = []
    for mark in request.node.iter_markers("residue_allow"):
        if not mark.args or mark.kwargs or not all(isinstance(p, str) for p in mark.args):
            raise pytest.UsageError("residue_allow takes patterns, which are str")
        allowed += mark.args
    return Residue(tuple(allowed))
