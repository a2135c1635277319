"""Draws the figures of the documents, in part from the headers, so that none goes stale.

    drawings.py            write docs/drawings/*.svg anew
    drawings.py --check    exit status 1 where one is not as this script draws it

Each figure has a ground of its own and two sets of colours, so that it can be read on a light
page and on a dark one.
"""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
HERE = DOCS / "drawings"
CORE = DOCS.parent / "csrc" / "core"

STYLE = """\
<style>
text { font-family: system-ui, sans-serif; font-size: 14px; fill: #1f2328; }
.small { font-size: 12px; fill: #57606a; }
.code { font-family: ui-monospace, monospace; font-size: 13px; }
.ground { fill: #f6f8fa; stroke: #d0d7de; }
.plain { fill: #ffffff; stroke: #57606a; }
.secret { fill: #ffe3e0; stroke: #cf222e; }
.safe { fill: #dff5e3; stroke: #1a7f37; }
.wait { fill: #fff3cd; stroke: #9a6700; }
.line { fill: none; stroke: #57606a; stroke-width: 1.5; }
.head { fill: #57606a; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.small { fill: #9da7b3; }
.ground { fill: #161b22; stroke: #30363d; }
.plain { fill: #0d1117; stroke: #8b949e; }
.secret { fill: #4b1113; stroke: #ff7b72; }
.safe { fill: #0f3b1f; stroke: #56d364; }
.wait { fill: #3d2e00; stroke: #e3b341; }
.line { stroke: #9da7b3; }
.head { fill: #9da7b3; }
}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"
 orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker></defs>"""

Point = tuple[float, float]
CELL = 22  # letters in a line of a narrow box


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Sheet:
    """A figure under way: boxes, arrows and words at places that are counted in pixels."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="{escaped(title)}">',
            f"<title>{escaped(title)}</title>",
            STYLE,
            f'<rect class="ground" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="8"/>',
        ]

    def words(self, x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
        kinds = f' class="{kind}"' if kind else ""
        self.parts.append(
            f'<text{kinds} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escaped(text)}</text>'
        )

    def box(  # noqa: PLR0913, PLR0917
        self, x: float, y: float, wide: float, high: float, lines: str, kind: str = "plain"
    ) -> None:
        """The first line is the name, the others say what it is."""
        self.parts.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" rx="5"/>'
        )
        rows = lines.split("\n")
        top = y + high / 2 + 5 - 8.5 * (len(rows) - 1)
        for number, row in enumerate(rows):
            self.words(x + wide / 2, top + 17 * number, row, "small" if number else "", "middle")

    def arrow(self, *points: Point, label: str = "", at: Point = (0, 0), side: str = "") -> None:
        """A line through all points; the label is beside the middle of the first part."""
        way = "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="line" d="M{way}" marker-end="url(#head)"/>')
        if label:
            (x, y), (to_x, to_y) = points[:2]
            x, y = (x + to_x) / 2 + at[0], (y + to_y) / 2 + at[1]
            for number, row in enumerate(label.split("\n")):
                self.words(x, y + 15 * number, row, "small", side or "middle")

    def finished(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


# ---- what is read from the headers --------------------------------------------------------


def header_with(pattern: str) -> str:
    """The text of the one header of the core in which the pattern is found."""
    texts = [path.read_text() for path in sorted(CORE.rglob("*.h"))]
    found = [text for text in texts if re.search(pattern, text)]
    if len(found) != 1:
        raise SystemExit(f"drawings: {pattern} is in {len(found)} headers")
    return found[0]


def use_word() -> list[tuple[str, int, int]]:
    """The fields of an arena's use word: name, lowest bit, bits."""
    text = header_with(r"#define (?:USE_)?READER \(\(uint64_t\)1 << 16\)")
    lowest: dict[str, int] = {}
    bits: dict[str, int] = {}
    for name, shift in re.findall(r"#define (\w+) \(\(uint64_t\)1(?: << (\d+))?\)", text):
        lowest[name] = int(shift or 0)
    for one, mask in re.findall(r"#define \w+ \((\w+) \* (0x[0-9a-f]+)\)", text):
        bits[one] = int(mask, 16).bit_length()
    return sorted(
        ((name.removeprefix("USE_"), at, bits.get(name, 1)) for name, at in lowest.items()),
        key=lambda field: field[1],
    )


def slot_states() -> dict[str, str]:
    """The states of a slot with what their header says of them."""
    text = header_with(r"enum slot_state \{")
    body = re.search(r"enum slot_state \{(.*?)\};", text, re.S)
    if body is None:
        raise SystemExit("drawings: the states of a slot cannot be read")
    return dict(re.findall(r"SLOT_(\w+),?\s*/\* (.*?) \*/", body[1]))


# ---- the figures --------------------------------------------------------------------------


ROOMS = {
    "process": "lockdown, status, census",
    "residue": "search for copies",
    "transfer": "handing over",
    "outlet": "pipes and files to others",
    "shelter": "a heap that is wiped",
    "pool": "many small arenas on shared pages",
    "arena": "one secret: make, fill, seal, rotate, replace, close",
    "fatal": "signals, marker, terminal",
    "slab": "cells of one size on a slot",
    "vault": "slots and their words, pages, noise, canary, locks",
    "os": "all that is asked of an operating system",
    "base": "constant time, codecs, cipher, registers, wiping",
}
"""What a folder of the core is for. The check of layers knows in which order they lie."""


def rows_of_rooms() -> list[list[tuple[str, str]]]:
    """From the top, as the check of layers has them; what is not built yet is left out."""
    tree = ast.parse((DOCS.parent / "tests" / "checks" / "layers.py").read_text())
    told: list[tuple[str, ...]] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CORE":
            told = list(ast.literal_eval(node.value))
    rows = [[n for n in row if n not in ("face", *missing())] for row in reversed(told)]
    return [[(name, ROOMS[name]) for name in row] for row in rows if row]


def missing() -> set[str]:
    return {name for name in ("shelter",) if not (CORE / name).is_dir()}


def layers() -> str:
    sheet = Sheet(860, 580, "The layers: each uses what is below it, and nothing above")
    wide, left, rows = 620, 30, rows_of_rooms()

    def row(y: float, parts: list[tuple[str, str]], high: float, kind: str) -> None:
        share = (wide - 12 * (len(parts) - 1)) / len(parts)
        for number, (name, what) in enumerate(parts):
            sheet.box(left + number * (share + 12), y, share, high, f"{name}\n{what}", kind)

    y = 24
    package = [
        ("__main__, _commands, map", "the commands"),
        ("secalloc, channel", "the package's face"),
    ]
    row(y, package, 46, "wait")
    glue = [("module.c", ""), ("functions, types", ""), ("objects", "")]
    share = (wide - 24) / 3
    for number, (name, _) in enumerate(glue):
        sheet.box(left + number * (share + 12), y + 58, share, 32, name, "safe")
        if number:
            x = left + number * (share + 12)
            sheet.arrow((x - 12, y + 74), (x, y + 74))
    for number, parts in enumerate(rows):
        row(y + 114 + number * 58, parts, 46, "plain")
    for top, high, name, what in (
        (y, 46, "secalloc/", "Python"),
        (y + 58, 32, "csrc/py/", "includes Python.h"),
        (y + 114, 58 * len(rows) - 12, "csrc/core/", "C11, no Python"),
    ):
        sheet.parts.append(f'<path class="line" d="M{left + wide + 14} {top}h8v{high}h-8"/>')
        sheet.words(left + wide + 34, top + high / 2, name, "code")
        sheet.words(left + wide + 34, top + high / 2 + 17, what, "small")
    sheet.words(left, 560, "Includes, calls and imports point down. Features in one row know "
                "nothing of each other.", "small")  # fmt: skip
    return sheet.finished()


def slot() -> str:
    sheet = Sheet(860, 370, "The states of a slot, and who moves it on")
    places = {
        "FREE": (30, 30, "plain"),
        "PARKED": (250, 30, "safe"),
        "OWNED": (470, 30, "wait"),
        "LIVE": (470, 200, "secret"),
        "LOST": (30, 200, "plain"),
    }
    for name, what in slot_states().items():
        x, y, kind = places.pop(name)
        words, line = [], ""
        for word in what.split():
            if len(line) + len(word) > CELL:
                words.append(line)
                line = ""
            line = f"{line} {word}".strip()
        sheet.box(x, y, 160, 70, "\n".join([name, *words, line]), kind)
    if places:
        raise SystemExit(f"drawings: no such states of a slot any more: {places}")
    sheet.arrow((190, 50), (250, 50), label="map", at=(0, -6))
    sheet.arrow((250, 82), (190, 82), label="return", at=(0, 16))
    sheet.arrow((410, 50), (470, 50), label="take", at=(0, -6))
    sheet.arrow((470, 82), (410, 82), label="put", at=(0, 16))
    sheet.arrow((510, 100), (510, 200), label="publish:\nbefore the first\nsecret byte",
                at=(-8, -12), side="end")  # fmt: skip
    sheet.arrow((580, 200), (580, 100), label="retire: by compare-and-swap\nfrom live, unpinned, "
                "not busy,\nafter the owner's own wipe", at=(8, -12), side="start")  # fmt: skip
    sheet.arrow((60, 100), (60, 200), label="pages that could not\nbe given back", at=(8, 0),
                side="start")  # fmt: skip
    sheet.box(690, 186, 150, 44, "+ pin\na wiper is at it", "wait")
    sheet.box(690, 254, 150, 44, "+ busy\nits owner copies it", "wait")
    sheet.arrow((630, 213), (690, 208))
    sheet.arrow((630, 257), (690, 272))
    sheet.words(30, 322, "A pin counts up and down, as a handler may interrupt a lockdown; "
                "a pinned slot is neither unmapped nor made inaccessible.", "small")  # fmt: skip
    sheet.words(30, 342, "Who holds a slot busy has all signals masked and never waits; "
                "wipers wait for it.", "small")  # fmt: skip
    return sheet.finished()


def use() -> str:
    fields = use_word()
    sheet = Sheet(860, 276, "The word that says who uses an arena: 64 bits")
    left, unit = 22, 816 / 64
    meaning = {
        "EXPORT": "buffers lent out",
        "READER": "our short looks",
        "READ": "open blocks, reading",
        "EDIT": "open blocks, changing",
    }
    flag = 0
    for name, at, bits in fields:
        x = left + unit * at
        kind = "plain" if bits > 1 else "wait"
        sheet.parts.append(
            f'<rect class="{kind}" x="{x:.2f}" y="70" width="{unit * bits:.2f}" height="44"/>'
        )
        if bits > 1:
            middle = x + unit * bits / 2
            sheet.words(middle, 97, name, "code", "middle")
            sheet.words(middle, 58, f"{bits} bits", "small", "middle")
            sheet.words(middle, 132, meaning[name], "small", "middle")
            sheet.words(x, 148, str(at), "small")
        else:
            middle, y = x + unit / 2, 166 + 15 * flag
            sheet.arrow((middle, y - 4), (middle, 114))
            sheet.words(middle - 6, y, f"{name}  {at}", "small", "end")
            flag += 1
    free = left + unit * (fields[-1][1] + fields[-1][2])
    if free < left + unit * 64:
        sheet.parts.append(
            f'<rect class="ground" x="{free:.2f}" y="70" width="{left + unit * 64 - free:.2f}" '
            'height="44"/>'
        )
    sheet.words(left, 30, "An arena's use word, from the lowest bit: counts, then flags, "
                "of which each is one bit")  # fmt: skip
    return sheet.finished()


def fault() -> str:
    sheet = Sheet(860, 700, "From a fatal signal to the end of the process")
    wide, left = 380, 40
    middle = left + wide / 2
    steps = [
        ("a fatal signal\nforced by the kernel, or sent", "plain"),
        (
            "our handler, on the alternate stack\nevery signal blocked; no lock, no allocation",
            "plain",
        ),
        ("first pass: every live slot is overwritten\nbusy slots are waited for", "secret"),
        ("the marker is written\none byte, F, for whoever watches", "safe"),
        ("second pass\nwhat other threads stored meanwhile", "secret"),
        ("the terminal is put back\nwhere a prompt had switched its echo off", "safe"),
        ("what was there before us comes next", "wait"),
    ]
    for number, (lines, kind) in enumerate(steps):
        y = 30 + number * 78
        sheet.box(left, y, wide, 52, lines, kind)
        if number:
            sheet.arrow((middle, y - 26), (middle, y))
    aside = [
        (1, "sent, and nothing would have come of it\n(ignored; or default in a namespace's init)",
         "return, nothing wiped"),
        (2, "the vault is another process's\n(a child that has not made its own yet)",
         "no pass, no marker"),
    ]  # fmt: skip
    for number, why, what in aside:
        y = 30 + number * 78
        sheet.box(500, y - 6, 330, 64, f"{what}\n{why}")
        sheet.arrow((left + wide, y + 26), (500, y + 26))
    last = 30 + 6 * 78
    ends = [
        (
            "the default action\nqueued again; vector registers\nand dead stack are cleared",
            40,
            "wait",
        ),
        (
            "an earlier handler\nqueued again, or called at once\nwhere it would wait for ever",
            310,
            "plain",
        ),
        ("a sandbox refuses\nblocked in the frame,\nor SIGKILL", 580, "plain"),
    ]
    for lines, x, kind in ends:
        sheet.box(x, last + 82, 240, 66, lines, kind)
    for x in (160, 430, 700):
        bend = last + 66
        sheet.arrow((middle, last + 52), (middle, bend), (x, bend), (x, last + 82))
    sheet.words(160, last + 176, "our return: the process dies", "small", "middle")
    sheet.words(430, last + 176, "as if we had not been there", "small", "middle")
    sheet.words(700, last + 176, "the kernel ends the process", "small", "middle")
    return sheet.finished()


def fork() -> str:
    sheet = Sheet(860, 470, "What fork leaves of the vault in a child")
    sheet.words(215, 34, "parent", "", "middle")
    sheet.words(645, 34, "child", "", "middle")
    sheet.box(40, 50, 350, 52, "before: takes the vault's lock\nwaits, a second at most, for pages "
              "on their way", "wait")  # fmt: skip
    sheet.arrow((215, 102), (215, 128))
    sheet.box(40, 128, 350, 36, "fork", "plain")
    sheet.arrow((215, 164), (215, 210))
    sheet.box(40, 210, 350, 52, "after: gives the lock back\nits arenas are as they were", "plain")
    sheet.arrow((390, 146), (470, 146))
    sheet.box(470, 50, 350, 114, "what the kernel gave it\ndata pages: none (DONTFORK)\n"
              "slot table, token: zeros (WIPEONFORK)\nguards and locks: copied\n"
              "no handler finds a slot to walk", "safe")  # fmt: skip
    sheet.arrow((645, 164), (645, 210))
    sheet.box(470, 210, 350, 84, "after: forgets the parent\n"
              "locks are made new; the epoch goes on\n"
              "holes in the reservation are reserved again,\nnever over what came in between",
              "plain")  # fmt: skip
    sheet.arrow((645, 294), (645, 330))
    sheet.box(470, 330, 350, 52, "the parent's arenas: ForkedError\n"
              "a first arena of its own starts a vault of its own", "safe")  # fmt: skip
    sheet.box(40, 330, 350, 52, "a raw clone runs no handler of fork\n"
              "its first call finds a token of zeros", "plain")  # fmt: skip
    sheet.arrow((390, 356), (430, 356), (430, 252), (470, 252))
    sheet.words(40, 416, "Where the lock cannot be had, fork goes on without it and is counted: "
                "what was mapped beside it", "small")  # fmt: skip
    sheet.words(40, 434, "is given up and mapped anew, and a secret that was being handed over is "
                "refused.", "small")  # fmt: skip
    return sheet.finished()


def shelter() -> str:
    sheet = Sheet(860, 560, "What a sheltered call covers, and what it does not")
    columns = (
        (20, 270, "in the vault", "safe", (
            "objects made on this thread\nbytes, str, dict, float, frames",
            "results, exceptions, cache entries\nuntil the last reference goes,\n"
            "on any thread, at any time",
            "the stack below the call, registers\nzeroed at its end",
            "a forked child's copy\nin pages of its own",
            "at a crash: zeros, after the arenas\nwhere the process is bound to die",
        )),
        (305, 250, "with python -m secalloc run", "wait", (
            "what C libraries take by malloc\nOpenSSL, SQLite, zlib, expat",
            "ordinary memory, when it is freed\noverwritten: stdio's buffers,\n"
            "copies made outside",
        )),
        (570, 270, "not, and why", "secret", (
            "what was made before the call\na reader's buffer, a hash object,\n"
            "a bytearray's spare room",
            "threads that it starts\nthe shelter is a thread's",
            "generators and coroutines: refused\nthey would go on outside",
            "copies made of it later, outside\nnobody tells where bytes go",
            "what the kernel has, and libraries\nthat map pages: os.environ, mmap,\n"
            "pipes, shared memory",
        )),
    )  # fmt: skip
    for left, wide, title, kind, boxes in columns:
        sheet.words(left + wide / 2, 36, title, "", "middle")
        y = 52
        for text in boxes:
            high = 30 + 17 * text.count("\n") + 10
            sheet.box(left, y, wide, high, text, kind)
            y += high + 14
    sheet.box(20, 462, 820, 74, "Live objects stay what they are\n"
              "at lockdown(), and at a fatal signal where an earlier handler may let the process "
              "live: a program that goes on would crash over them\nFree-threaded Pythons have no "
              "shelter: their collector finds objects in its own heap alone", "plain")  # fmt: skip
    return sheet.finished()


def arena() -> str:
    sheet = Sheet(860, 300, "An arena: the bytes of a secret between two guard pages")
    for x, wide, lines, kind in (
        (30, 170, "guard page\nno access", "plain"),
        (200, 160, "slack\na canary fills it", "wait"),
        (360, 280, "the bytes of the secret\nthey end where the guard begins", "secret"),
        (640, 190, "guard page\nno access", "plain"),
    ):
        sheet.box(x, 78, wide, 76, lines, kind)
    sheet.parts.append('<path class="line" d="M200 66v-8h440v8"/>')
    sheet.words(420, 46, "data pages: locked in memory, not in core files, not in children, and on "
                "Linux in secretmem", "small", "middle")  # fmt: skip
    for x, to, label in (
        (115, 115, "a pointer far before\nthe start: a fault"),
        (280, 280, "a write before the start:\nfound at close, rotate\nand check"),
        (500, 500, "hashlib, ssl, cryptography\nread and fill the very bytes,\n"
         "by the buffer protocol"),
        (735, 642, "one byte past the end: a fault,\nand every arena is wiped"),
    ):  # fmt: skip
        sheet.arrow((x, 206), (to, 156))
        for number, row in enumerate(label.split("\n")):
            sheet.words(x, 224 + 16 * number, row, "small", "middle")
    sheet.words(30, 284, "repr() shows size and state. str(), print(), f-strings, pickle and copy "
                "raise an error.", "small")  # fmt: skip
    return sheet.finished()


def crash() -> str:
    sheet = Sheet(860, 400, "What happens at a crash: the secrets are overwritten first")
    steps = (
        ("1. a bug\nwrites past the end", "plain"),
        ("2. SIGSEGV\nthe kernel stops the thread", "wait"),
        ("3. our handler\noverwrites every arena", "secret"),
        ("4. the end\nof the same signal", "plain"),
    )
    for number, (lines, kind) in enumerate(steps):
        x = 30 + 205 * number
        sheet.box(x, 40, 185, 56, lines, kind)
        if number:
            sheet.arrow((x - 20, 68), (x, 68))
    for left, title, first, second, kind in (
        (30, "before", "key", "password", "secret"),
        (440, "after step 3", "noise", "noise", "safe"),
    ):
        sheet.words(left, 140, title)
        for number, name in enumerate((first, second)):
            y = 152 + 46 * number
            sheet.box(left, y, 90, 36, "guard")
            sheet.box(left + 90, y, 210, 36, name, kind)
            sheet.box(left + 300, y, 90, 36, "guard")
    sheet.arrow((420, 192), (440, 192))
    for x, lines in (
        (30, "a parent process\nhears at once: the byte F"),
        (305, "the core file\nhas neither key nor password"),
        (580, "the exit status\nis that of any such bug"),
    ):
        sheet.box(x, 282, 250, 56, lines, "safe")
    sheet.words(30, 374, "The handler does the same at SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, "
                "SIGTRAP, and at SIGTERM and others that nobody handles.", "small")  # fmt: skip
    return sheet.finished()


def domains() -> str:
    sheet = Sheet(860, 362, "Domains: a parent, its children, and what passes between them")
    for x, y, wide, high, name in (
        (20, 30, 260, 278, "the parent domain"),
        (450, 30, 190, 140, "a child domain: signer"),
        (450, 188, 190, 120, "another child: worker"),
        (740, 188, 100, 120, "its child"),
    ):
        sheet.box(x, y, wide, high, "")
        sheet.words(x + wide / 2, y + 24, name, "", "middle")
    sheet.box(34, 72, 232, 44, 'secrets={"key": key}\nwhat a child may adopt', "secret")
    sheet.box(34, 130, 232, 162, "wait(), for, async for\nwhose secrets were wiped, and how",
              "safe")  # fmt: skip
    sheet.box(464, 76, 162, 36, 'adopt("key")', "secret")
    sheet.box(464, 122, 162, 36, "its markers", "wait")
    sheet.box(464, 226, 162, 32, "its markers", "wait")
    sheet.box(464, 266, 162, 32, "its own channel", "safe")
    sheet.box(750, 266, 80, 32, "markers", "wait")
    sheet.arrow((266, 94), (464, 94), label="socket, for secrets", at=(0, -8))
    sheet.arrow((464, 140), (266, 140), label="pipe: F, L", at=(0, -8))
    sheet.arrow((464, 242), (266, 242), label="pipe", at=(0, -8))
    sheet.arrow((750, 282), (626, 282), label="pipe", at=(20, -8))
    sheet.words(20, 338, "Each parent hears of its own children, and of nobody else. There is a "
                "socket only where there are secrets.", "small")  # fmt: skip
    return sheet.finished()


DRAWINGS: dict[str, Callable[[], str]] = {
    "arena": arena, "crash": crash, "domains": domains,
    "layers": layers, "slot": slot, "use-word": use, "fault": fault, "fork": fork,
    "shelter": shelter,
}  # fmt: skip


def stale() -> list[str]:
    """The figures that are not as this script draws them, and files that none of it drew."""
    there = {path.stem: path.read_text() for path in HERE.glob("*.svg")}
    now = {name: draw() for name, draw in DRAWINGS.items()}
    return sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name))


def main() -> int:
    if "--check" in sys.argv:
        print("\n".join(f"docs/drawings/{name}.svg is stale" for name in stale()))
        return 1 if stale() else 0
    HERE.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (HERE / f"{name}.svg").write_text(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
