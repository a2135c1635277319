"""Does each kind of kinds.py, and prints where copies were left: a line of JSON for each.

    python tests/shelter/kinds_child.py plain|once|sheltered [NAME ...]

`plain` tries until something is left, `once` does not.
"""

import contextlib
import ctypes
import gc
import itertools
import json
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import kinds
from kinds import KINDS, Kind, Server

import secalloc
from secalloc import Arena, residue

WINDOW = 8
"""Bytes of a secret that count as found in the shelter."""

WARM = 2
TRIES = 5
"""Until an unsheltered call is seen to leave something: chance reuses what is freed."""


memmem = ctypes.CDLL(None).memmem
memmem.restype = ctypes.c_void_p
memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t] * 2


def vault_pages() -> Iterator[tuple[int, int]]:
    """What is writable, left out of core files and children: arenas and the shelter."""
    low = high = 0
    writable = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            head, _, rest = line.partition(" ")
            if "-" in head:
                low, high = (int(end, 16) for end in head.split("-"))
                writable = rest.startswith("rw")
            elif head == "VmFlags:" and writable and {"dc", "dd"} <= set(rest.split()):
                yield low, high


def widened(secret: Arena, width: int) -> Arena:
    """Its first characters as a wide str has them."""
    made = Arena(6 * width)
    for i in range(6):
        made[i * width] = secret[i]
    return made


def is_alive(at: int, low: int) -> bool:
    """Whether the nearest head of a str or bytes before an address has references."""
    words = (at - low) // 8  # low is a page's
    before = (ctypes.c_uint64 * words).from_address(low)
    for n in range(words - 1, 0, -1):
        if before[n] in (id(str), id(bytes)):
            return before[n - 1] & 0xFFFFFFFF != 0
    return False


def parts_in_shelter(image: Arena, secret: Arena) -> tuple[int, int]:
    """How many parts of a secret are in objects that live, and elsewhere in the shelter.

    Looked at in place; arenas are left out.
    """
    wide = [widened(image, width) for width in (2, 4)] if image.size > WINDOW else []
    parts = [(image.address + i, WINDOW) for i in range(0, image.size - WINDOW + 1, WINDOW // 2)]
    parts += [(arena.address, arena.size) for arena in wide]
    found = [0, 0]
    for low, high in list(vault_pages()):
        if any(low <= arena.address < high for arena in (image, secret, *wide)):
            continue
        for part in parts:
            at = low
            while hit := memmem(at, high - at, *part):
                found[not is_alive(hit, low)] += 1
                at = hit + 1
    return found[0], found[1]


def attempt(kind: Kind, sheltered: bool, look: bool) -> dict[str, Any]:
    secret = kind.secret() if kind.secret else secalloc.hexlify(secalloc.random(16))
    image = kind.image(secret) if kind.image else secret
    results: list[Any] = []
    with contextlib.suppress(ValueError):
        results.append(secalloc.shelter(kind.work, secret) if sheltered else kind.work(secret))
    live = sum(parts_in_shelter(image, secret)) if look else 0
    results.clear()
    kind.after()
    gc.collect()
    if not look:
        return {}
    found = residue.find(image)
    kept, freed = parts_in_shelter(image, secret)
    return {
        "kind": kind.name,
        "live": live,
        "kept": kept,
        "freed": freed,
        "left": Counter(f"{copy.kind} ({copy.form})" for copy in found),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    sheltered = sys.argv[1] == "sheltered"
    wanted = [
        k for k in KINDS if kinds.is_there(k) and (not sys.argv[2:] or k.name in sys.argv[2:])
    ]
    Server.start()
    secalloc.shelter(int)
    try:
        for kind in wanted:
            for _ in range(WARM):
                attempt(kind, False, False)
            for _ in range(TRIES if sys.argv[1] == "plain" else 1):
                got = attempt(kind, sheltered, True)
                if got["left"]:
                    break
            print(json.dumps(got), flush=True)
    finally:
        Server.stop()
    missing = [k.name for k in itertools.filterfalse(kinds.is_there, KINDS)]
    print(json.dumps({"missing": missing}))


if __name__ == "__main__":
    main()
