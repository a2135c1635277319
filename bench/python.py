"""What the Python calls cost: one JSON object of nanoseconds of processor time; run.py runs it.

    python bench/python.py LIMITS

LIMITS is bench/limits.c, built as a module. All rows take turns, a few milliseconds each, and a
figure is the least of the rounds: what a call takes where nothing else disturbs it.
"""

import hashlib
import hmac
import importlib.util
import json
import os
import sys
import time
import timeit
from importlib.machinery import ExtensionFileLoader
from types import ModuleType

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import secalloc

MIB = 1 << 20
ROUNDS = 40
SLICE = 0.003  # seconds of one turn
PAIRS = 100


def module_at(path: str) -> ModuleType:
    loader = ExtensionFileLoader("limits", path)
    spec = importlib.util.spec_from_loader("limits", loader)
    if spec is None:
        raise SystemExit(f"bench: {path} is no module")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


class Row:
    """A statement that is timed; it stands for `calls` of what it is named after."""

    def __init__(self, statement: str, calls: int = 1, **names: object) -> None:
        self.timer = timeit.Timer(statement, timer=time.process_time, globals=names)
        self.calls = calls
        once = min(self.timer.timeit(20) / 20 for _ in range(3))
        self.number = max(1, round(SLICE / max(once, 1e-7)))
        self.least = float("inf")

    def turn(self) -> None:
        each = self.timer.timeit(self.number) / self.number / self.calls
        self.least = min(self.least, each * 1e9)


def rows(limits: ModuleType) -> dict[str, Row]:
    small, large = secalloc.random(32), secalloc.random(MIB)
    page = secalloc.random(65536)
    pool, sealed = secalloc.Pool(), secalloc.random(32)
    sealed.seal()
    plain_small, plain_large, plain_page = bytes(small), bytes(large), bytes(page)
    other_small, other_large = bytes(bytearray(plain_small)), bytes(bytearray(plain_large))
    lent, bare = limits.Lent(), limits.Bare(plain_small)
    message = b"m" * 64
    found = {
        "py_pair": Row("f(n)", PAIRS, f=limits.pairs, n=PAIRS),
        "py_careful_pair": Row("f(n)", PAIRS, f=limits.careful_pairs, n=PAIRS),
        "py_bare": Row("A(b).close()", A=limits.Bare, b=plain_small),
        "py_careful": Row("A(b).close()", A=limits.Careful, b=plain_small),
        "py_isolated": Row("A(b).close()", A=secalloc.Arena, b=plain_small),
        "py_bare_block": Row("with k.open('r'): pass", k=bare),
        "py_block": Row("with k.open('r'): pass", k=sealed),
        "py_rotate": Row("k.rotate()", k=secalloc.random(32)),
        "py_pooled": Row("f(b).close()", f=pool.alloc, b=plain_small),
        "bytearray_32": Row("f(32)", f=bytearray),
        "py_random": Row("f(32)", f=pool.random),
        "urandom_32": Row("f(32)", f=os.urandom),
    }
    keys = {"arena": small, "pooled": pool.alloc(plain_small), "lent": lent, "bytes": plain_small}
    for name, key in keys.items():
        found |= {
            f"hmac_{name}": Row("f(k, m, 'sha256')", f=hmac.digest, k=key, m=message),
            f"sha_{name}": Row("f(k).digest()", f=hashlib.sha256, k=key),
            f"aead_{name}": Row(
                "A(k).encrypt(n, m, None)", A=AESGCM, k=key, n=bytes(12), m=message
            ),
            f"hmac_compare_{name}": Row("f(a, b)", f=hmac.compare_digest, a=key, b=other_small),
            f"compare_{name}": Row("f(a, b)", f=secalloc.compare_digest, a=key, b=other_small),
            f"view_{name}": Row("f(a)", f=memoryview, a=key),
        }
    return found | {
        "view_bytearray": Row("f(a)", f=memoryview, a=bytearray(32)),
        "compare_mib": Row("f(a, b)", f=secalloc.compare_digest, a=large, b=other_large),
        "hmac_compare_mib": Row("f(a, b)", f=hmac.compare_digest, a=plain_large, b=other_large),
        "sha256_arena": Row("f(a).digest()", f=hashlib.sha256, a=page),
        "sha256_bytes": Row("f(a).digest()", f=hashlib.sha256, a=plain_page),
    }


def main() -> None:
    found = rows(module_at(sys.argv[1]))
    for _ in range(ROUNDS):
        for row in found.values():
            row.turn()
    print(json.dumps({name: row.least for name, row in found.items()}))


if __name__ == "__main__":
    main()
