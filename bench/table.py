"""Tables of figures beside their bars."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One line of the table: `value` is to be at most `bar`, or at least; without one it stands
    there to be compared with."""

    what: str
    figure: str
    value: float
    bar: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.bar is None:
            return True
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def limit(self) -> str:
        if self.bar is None:
            return "-"
        return f"{'at least' if self.at_least else 'at most'} {self.bar:,.4g}"


def markdown(rows: list[Row]) -> str:
    lines = ["| what | figures | ratio or value | bar |", "| --- | --- | --- | --- |"]
    lines += [f"| {r.what} | {r.figure} | {r.value:,.3g} | {r.limit} |" for r in rows]
    return "\n".join(lines)


def replace_between_markers(path: Path, name: str, text: str) -> None:
    """Put the table where the file says `<!-- NAME -->`, up to `<!-- end of NAME -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = path.read_text().split(begin, 1)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")
