"""Which calls take an arena, and what they leave behind: tried out, never looked up.

    works.py [--packages]            print what this Python does
    works.py [--packages] --record   and write it to works-with.json and docs/works-with.md
    works.py [--packages] --sheltered [--record]
                                     what is left when the recorded call is sheltered; under
                                     `python -m secalloc run`, too, where it is run so

Each attempt is a process of its own (works_child.py), which gets the secret over a socket
straight into its arena. Its parent then looks through all its writable memory.
"""

import base64
import gc
import hashlib
import json
import mmap
import os
import platform
import re
import resource
import secrets
import signal
import socket
import string
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from works_child import PATIENCE, SIZE, Row, Stage, try_input, try_output, try_sheltered
from works_page import SHELTERED, Cells, Groups, document

from secalloc import _core

HERE = Path(__file__).resolve().parent
RECORD = HERE / "works-with.json"
PINNED = HERE.parents[1] / "pyproject.toml"
DOCUMENT = HERE.parents[1] / "docs" / "works-with.md"
KINDS = ("arena", "memoryview", "bytearray", "bytes", "str")
RETRIES = 3  # of the groups with a row that is not as recorded
STEP = 1 << 16


def forms(secret: bytes) -> dict[str, list[bytes]]:
    """What to look for: either half, since freed memory soon loses its beginning."""

    def both(whole: bytes) -> list[bytes]:
        half = len(whole) // 2
        return [whole[:half], whole[half:]]

    def in_base64(offset: int) -> list[bytes]:
        whole = base64.b64encode(bytes(offset) + secret)
        return [whole[4 if offset else 0 : 20], whole[20:36]]

    def padded(pad: int) -> list[bytes]:
        return both(bytes(byte ^ pad for byte in secret))

    def digits(order: Literal["big", "little"]) -> bytes:
        number = int.from_bytes(secret, order)
        return b"".join(
            (number >> shift & (1 << 30) - 1).to_bytes(4, sys.byteorder)
            for shift in range(0, 8 * SIZE, 30)
        )

    return {
        "copy": both(secret),
        "hex": both(secret.hex().encode()) + both(secret.hex().upper().encode()),
        "base64": in_base64(0) + in_base64(1) + in_base64(2),
        "HMAC pad": padded(0x36) + padded(0x5C),
        "UTF-16": both(b"".join(bytes((byte, 0)) for byte in secret)),
        "int": both(digits("big")) + both(digits("little")),
    }


def changed(pid: int, skip: list[int]) -> Iterator[bytes]:
    """The writable memory of a child, where it is not as it was forked off, nor an arena."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    theirs, ours = (os.open(f"/proc/{p}/mem", os.O_RDONLY) for p in (pid, "self"))
    for line in maps.splitlines():
        area, access = line.split()[:2]
        if "secretmem" in line:
            continue  # nobody reads it
        low, high = (int(end, 16) for end in area.split("-"))
        if access[:2] != "rw" or any(low <= at < high for at in skip):
            continue
        run = b""
        for at in range(low, high, STEP):
            size = min(STEP, high - at)
            piece = os.pread(theirs, size, at)
            try:
                before = os.pread(ours, size, at)
            except OSError:
                before = bytes(size)  # a mapping of its own, most of it never touched
            if piece == before:
                continue
            for start in range(0, size, mmap.PAGESIZE):
                page = slice(start, start + mmap.PAGESIZE)
                if piece[page] != before[page]:
                    run += piece[page]
                elif run:
                    yield run
                    run = b""
        yield run
    os.close(theirs)
    os.close(ours)


def copies(pid: int, skip: list[int], secret: bytes) -> str:
    """The kinds of copy found."""
    found = set()
    needles = forms(secret)
    any_of_them = re.compile(b"|".join(re.escape(n) for all_ in needles.values() for n in all_))
    for piece in changed(pid, skip):
        if any_of_them.search(piece):  # one pass for what are thirty else
            found |= {kind for kind, all_ in needles.items() if any(n in piece for n in all_)}
    return ", ".join(kind for kind in needles if kind in found) or "none"


def letters() -> bytes:
    """A secret that is a good password, too."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(SIZE)).encode()


class Attempt:
    """A child that makes one attempt with one secret, and what it says at each stage."""

    def __init__(self, row: Row, kind: str, names: dict[str, Any], secret: bytes = b"") -> None:
        ours, theirs = socket.socketpair()
        self.socket, self.stream = ours, ours.makefile("rb")
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.alarm(PATIENCE)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                self.stream.close()
                ours.close()
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115
                os.dup2(sys.stderr.fileno(), 1)
                exec(row.setup, names)  # noqa: S102
                trial = try_output if row.fills else try_input
                if kind.endswith(":sheltered"):
                    kind, trial = kind.partition(":")[0], try_sheltered
                trial(row, kind, names, Stage(theirs))
            finally:
                os._exit(0)
        theirs.close()
        self.secret = secret or letters()

    def send(self, what: bytes) -> "Attempt":
        self.socket.sendall(what)
        return self

    def next(self) -> dict[str, Any]:
        line = self.stream.readline()
        if line:
            return dict(json.loads(line))
        end = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        killed = end and end.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        error = signal.Signals(end.si_status).name if end and killed else "no answer"
        return {"error": error, "text": "the child died"}

    def look(self, said: dict[str, Any]) -> str:
        return copies(self.pid, said["arenas"], self.secret) if "arenas" in said else "?"

    def go_on(self) -> None:
        self.socket.sendall(b".")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.stream.close()
        self.socket.close()

    def both_looks(self, look: bool = True) -> tuple[dict[str, Any], str, str]:
        """What it said, and the copies in use and after."""
        said, used, after = self.next(), "none", "none"
        if look and "arenas" in said:
            used = self.look(said) if "value" in said else "none"
            self.go_on()
            after = self.look(self.next())
        self.end()
        return said, used, after


def run_input(row: Row, names: dict[str, Any]) -> Cells:
    def scanned(kind: str) -> tuple[str, str]:
        """The copies in use and after."""
        one = Attempt(row, f"{kind}:scan", dict(names))
        return one.send(one.secret).both_looks()[1:]

    def short(kind: str, scene: str, like: bytes = b"") -> dict[str, Any]:
        one = Attempt(row, f"{kind}:{scene}", dict(names), like)
        said = one.send(one.secret).next()
        if scene == "later" and "value" in said:
            one.go_on()
            said = one.next()
        one.end()
        return said

    secret = letters()
    values = {kind: short(kind, "compare", secret) for kind in KINDS}
    right = [
        values[kind]["value"]
        for kind in (("str", "bytes") if row.text else ("bytes", "bytearray", "str"))
        if "value" in values[kind]
    ][:1]
    worked = [kind for kind in KINDS if "value" in values[kind]]
    if worked in (["arena"], ["arena", "memoryview"]):  # nothing ordinary to compare with
        right = [values["arena"]["value"]]
    taken = [kind for kind in worked if [values[kind]["value"]] == right]
    wrong = [kind for kind in worked if kind not in taken]
    cells = {"takes": taken[0] if taken else "nothing"}
    if "arena" not in taken + wrong:
        cells["refuses"] = str(values["arena"]["error"])
    wrong = wrong if row.text else [kind for kind in wrong if kind == "arena"]
    if wrong:
        cells["wrongly"] = ", ".join(wrong)
    direct = next((kind for kind in taken if kind in ("arena", "memoryview")), "")
    used, cells["after"] = scanned(direct or "arena")
    cells["in use"] = used if direct else "-"
    if "arena" in taken:
        for scene in ("wiped", "sealed"):
            cells[scene] = str(short("arena", scene).get("error", "TAKES IT"))
    if row.again and direct:
        cells["later"] = str(short(direct, "later").get("later", "?"))
    return cells


def run_output(row: Row, names: dict[str, Any]) -> Cells:
    def attempt(kind: str, look: bool = True) -> tuple[dict[str, Any], str, str]:
        """The one that is looked through is forked off before there is a secret."""
        one, first = (Attempt(row, k, dict(names)) for k in (kind, "prepare"))
        said = first.send(first.secret).next()
        first.end()
        if "error" in said:
            raise SystemExit(f"works: {row.call}: {said}")
        one.secret = bytes.fromhex(said["secret"])
        said, used, after = one.send(said["given"].encode()).both_looks(look)
        said["right"] = said.get("value") == hashlib.sha256(one.secret).hexdigest()
        return said, used, after

    if not re.search(r"\bw\b", row.call):
        said, used, after = attempt("arena")
        if "gives" in said and not said["right"]:
            return {"takes": "WRONGLY"}
        return {"takes": f"gives {said.get('gives', 'bytes')}", "in use": used, "after": after}
    refusal = ""
    cells = {"takes": "nothing"}
    for kind in ("arena", "memoryview", "bytearray"):
        said, used, after = attempt(kind)
        if "value" in said:
            cells = {"takes": kind if said["right"] else "WRONGLY", "in use": used, "after": after}
            break
        refusal = refusal or str(said["error"])
    if refusal:
        cells["refuses"] = refusal
    if cells["takes"] == "arena":
        for kind in ("wiped", "sealed"):
            cells[kind] = str(attempt(kind, False)[0].get("error", "TAKES IT"))
    return cells


def run_sheltered(row: Row, names: dict[str, Any], was: Cells) -> Cells:
    """What is left of a call that takes what was recorded, or gives bytes."""
    kind = was["takes"]
    one = Attempt(row, f"{kind}:sheltered", dict(names))
    if row.fills:
        first = Attempt(row, "prepare", dict(names))
        said = first.send(first.secret).next()
        first.end()
        one.secret = bytes.fromhex(said["secret"])
        one.send(said["given"].encode())
    else:
        one.send(one.secret)
    said, used, after = one.both_looks()
    if "error" in said:
        return {"error": str(said["error"])}
    return {"in use": used, "after": after}


def leaves_copies(cells: Cells) -> bool:
    """Whether there is anything that a sheltered call could take in."""
    if cells.get("takes", "nothing") in ("nothing", "WRONGLY"):
        return False
    return cells.get("in use", "none") != "none" or cells.get("after", "none") != "none"


class Group:
    """Rows under way in a process of its own: one package's memory is all there is to look at."""

    def __init__(self, setup: str, rows: list[Row], sheltered: dict[str, Cells] | None) -> None:
        self.first = rows[0].call
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                names: dict[str, Any] = {}
                exec(setup, names)  # noqa: S102
                gc.freeze()  # or a collection in a child would touch every page
                if sheltered is None:
                    done = {r.call: (run_output if r.fills else run_input)(r, names) for r in rows}
                else:
                    done = {r.call: run_sheltered(r, names, sheltered[r.call]) for r in rows}
                with open(write, "w") as out:
                    json.dump(done, out)
                status = 0
            except BaseException as error:
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                os._exit(status)
        os.close(write)
        self.result = open(read)  # noqa: SIM115

    def done(self) -> dict[str, Cells]:
        """Its rows, once it has ended."""
        with self.result:
            text = self.result.read()
        if os.waitpid(self.pid, 0)[1] or not text:
            raise SystemExit(f"works: a group failed: {self.first}")
        got: dict[str, Cells] = json.loads(text)
        return got


# ---- the record and the document ----------------------------------------------------------


def groups(packages: bool) -> Groups:
    if packages:
        from works_packages import GROUPS  # noqa: PLC0415

        return GROUPS
    from works_stdlib import GROUPS as STDLIB  # noqa: PLC0415

    return STDLIB


def version() -> str:
    return "{}.{}".format(*sys.version_info[:2])


def machine() -> str:
    """What a row may depend on besides the Python."""
    return f"{platform.system()} {platform.machine()} {platform.libc_ver()[0]}"


def recorded() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return record


def expected(rows: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of this version's series, as this release of it has it.

    Before 3.11.7 and 3.12.1 (its change 84443) SSLSocket.recv_into did not ask for a buffer
    of its own: C's parser of arguments did, which puts a TypeError in place of any error."""
    if sys.version_info >= (3, 12, 1) or (3, 11, 7) <= sys.version_info < (3, 12):
        return rows
    group, call = "socket, ssl", "tls_from(given).recv_into(w)"
    row = {**rows[group][call], "wiped": "TypeError", "sealed": "TypeError"}
    return {**rows, group: {**rows[group], call: row}}


def pinned() -> list[str]:
    """The packages with their versions."""
    group: list[str] = tomllib.loads(PINNED.read_text())["dependency-groups"]["works"]
    return group


def section(packages: bool) -> str:
    plain = "packages" if packages else version()
    if "--sheltered" not in sys.argv:
        return plain
    return f"{'run' if is_under_run() else 'sheltered'} {plain}"


def is_under_run() -> bool:
    """Whether `python -m secalloc run` runs this."""
    return bool(_core._frees_are_overwritten())


@cache
def has_secretmem() -> bool:
    """Asked of another process: what is forked off this one has no arenas before its own."""
    code = "import secalloc; raise SystemExit('SECRETMEM' not in str(secalloc.Arena(1).protection))"
    return not subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode  # noqa: S603


def tried(packages: bool, only: Callable[[str], bool] = lambda heading: True) -> dict[str, Any]:
    """Every group's rows, as this Python has them now; sheltered, those that leave copies."""
    sheltered = "--sheltered" in sys.argv
    was = recorded()["packages" if packages else version()] if sheltered else {}
    with tempfile.TemporaryDirectory() as directory:
        os.environ["SECALLOC_WORKS"] = directory
        running: dict[str, Group] = {}
        found = {}
        for heading, (setup, rows) in groups(packages).items():
            if only(heading):
                if len(running) == (os.cpu_count() or 1):  # each looks at its own children
                    first = next(iter(running))
                    found[first] = running.pop(first).done()
                tried = [row for row in rows if has_secretmem() or not row.secretmem]
                if sheltered:
                    tried = [row for row in tried if leaves_copies(was[heading][row.call])]
                if tried:
                    cells = was[heading] if sheltered else None
                    running[heading] = Group(setup, tried, cells)
        return found | {heading: group.done() for heading, group in running.items()}


LOOKS = ("in use", "after")


def union(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both runs' rows, with the copies of either: what freed memory still holds is chance."""

    def both(a: Cells, b: Cells) -> Cells:
        cells = {**a, **b}
        for look in LOOKS:
            if a.get(look, "-") != b.get(look, "-") and look in a and look in b:
                kinds = [kind for kind in forms(bytes(SIZE)) if kind in a[look] + b[look]]
                cells |= {look: ", ".join(kinds), "chance": "yes"}
        return cells

    rows = {
        heading: {call: both(one.get(heading, {}).get(call, c), c) for call, c in calls.items()}
        for heading, calls in other.items()
    }
    return {**one, **rows}


def alike(was: Cells, now: Cells) -> bool:
    """The same, save that copies which were seen may be others, or gone, or still there.

    What freed memory still holds is chance. Where nothing was left, nothing is.
    """
    if "chance" not in was:
        left = {*LOOKS, "chance"}
        seen = {look for look in LOOKS if was.get(look, "none") != "none"}
        if was.get("in use", "none") not in ("none", "-"):
            seen.add("after")  # may still be there
        return all(
            was.get(name) == now.get(name) for name in (was.keys() | now.keys()) - left
        ) and all(now.get(look, "none") == "none" for look in set(LOOKS) - seen)
    fewer = all(kind in was[look] for look in LOOKS for kind in now[look].split(", "))
    names = (was.keys() | now.keys()) - {*LOOKS, "chance"}
    none = all(now[look] in ("none", was[look]) for look in LOOKS)
    return (fewer or none) and all(was.get(name) == now.get(name) for name in names)


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What changed, in words."""
    return [
        f"{heading}: {call}: was {was.get(heading, {}).get(call)}, is {cells}"
        for heading, rows in now.items()
        for call, cells in rows.items()
        if not alike(was.get(heading, {}).get(call, {}), cells)
    ]


def page(record: dict[str, Any]) -> str:
    return document(record, groups(packages=False), groups(packages=True))


def main() -> int:
    packages, start = "--packages" in sys.argv, time.monotonic()
    record = recorded()
    was = record.get(section(packages), {})
    if "--sheltered" in sys.argv and not packages and version() != SHELTERED:
        print(f"sheltered calls of the standard library are tried with {SHELTERED}")
        return 0
    if not packages and was and not {"--record", "--sheltered"} & {*sys.argv}:
        was = expected(was)
    now = tried(packages)
    for _ in range(RETRIES):
        again = [heading for heading in now if differences(was, {heading: now[heading]})]
        now = union(now, tried(packages, again.__contains__))
    changes = differences(was, now)
    print("\n".join(changes))
    count = sum(map(len, now.values()))
    print(f"{count} rows in {time.monotonic() - start:.0f} s, {len(changes)} not as recorded")
    if "--record" not in sys.argv:
        return 1 if changes else 0
    record.setdefault("machine", machine())
    if not set(was) - set(now):  # what was seen once can be seen again
        now = {h: union({h: was.get(h, {})}, {h: rows})[h] for h, rows in now.items()}
    record[section(packages)] = now
    if "--sheltered" in sys.argv:
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        DOCUMENT.write_text(page(record))
        return 0
    names = pinned() if packages else [f"CPython {platform.python_version()}"]
    record.setdefault("versions", {})[section(packages)] = ", ".join(names)
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    if {"3.11", "3.12", "3.13", "packages"} <= set(record):
        DOCUMENT.write_text(page(record))
    return 0


if __name__ == "__main__":
    sys.exit(main())
