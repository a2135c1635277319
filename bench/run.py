"""Run every benchmark in one go and set the figures side by side.

    python bench/run.py CORE LIMITS [--memsec LIBRARY] [--json FILE] [--svg FILE]
                        [--markdown FILE ...]

CORE is bench/core.c, built as a shared library, and LIMITS bench/limits.c, built as a module; of
memsec, bench/memsec. CORE and bench/python.py run PASSES times in turn, so that what disturbs one
disturbs the other, and bench/residue.py once, with turns of its own. Figures are processor time,
the least of all rounds: what a call takes where nothing disturbs it. Exit status 1 where a bar is
missed.
"""

import argparse
import ctypes.util
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from table import Row, markdown, replace_between_markers

PASSES = 3
PAIR, PY_PAIR = "mprotect_pair", "py_pair"
MOST = {"memcpy_rate", "readv_rate", "residue_rate", "residue_part_rate", "most_isolated"}
HERE = Path(__file__).parent
Figures = dict[str, float]


def libraries(memsec: str) -> dict[str, str]:
    """Where libsodium (from PyNaCl's wheel), OpenSSL and memsec are, for the C program."""
    sodium = importlib.util.find_spec("nacl._sodium")
    crypto = ctypes.util.find_library("crypto")
    if sodium is None or sodium.origin is None or crypto is None:
        raise SystemExit("bench: PyNaCl and OpenSSL's libcrypto are needed")
    found = {"SODIUM": sodium.origin, "CRYPTO": crypto}
    return found | {"MEMSEC": memsec} if Path(memsec).is_file() else found


def figures_of(command: list[str], more: dict[str, str] | None = None) -> Figures:
    """What a program prints, run by this interpreter."""
    command = [sys.executable, *command]
    where = os.environ | (more or {})
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=where).stdout
    figures: Figures = json.loads(out)
    return figures


def measure(core: str, limits: str, memsec: str) -> Figures:
    """CORE runs inside an interpreter, whose symbols PyNaCl's libsodium wants."""
    call = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).main())"
    best: Figures = {}
    for turn in range(PASSES):
        print(f"pass {turn + 1} of {PASSES}", file=sys.stderr)
        run = figures_of(["-c", call, core], libraries(memsec))
        run |= figures_of(["-P", str(HERE / "python.py"), limits])
        if turn == 0:  # of 2 GiB, which takes turns within
            run |= figures_of(["-P", str(HERE / "residue.py"), "--json"])
        for name, value in run.items():
            most = name in MOST
            best[name] = (max if most else min)(value, best.get(name, value))
    return best


def ns(value: float) -> str:
    for unit, scale in (("ms", 1e6), ("us", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} ns"


def table(f: Figures) -> list[Row]:
    def ratio(what: str, ours: str, theirs: str, bar: float) -> Row:
        figure = f"{ns(f[ours])} : {ns(f[theirs])}"
        return Row(what, figure, f[ours] / f[theirs], bar)

    def limit(what: str, ours: str, theirs: str) -> Row:
        return Row(what, f"{ns(f[ours])} : {ns(f[theirs])}", f[ours] / f[theirs])

    def rate(what: str, ours: str, bar: float | None) -> Row:
        figure = f"{f[ours]:.2f} : {f['memcpy_rate']:.2f} GB/s"
        return Row(what, figure, f[ours] / f["memcpy_rate"], bar, at_least=True)

    pair = 1.8 if "Xeon" in processor() else 1.3
    slots = 1.25 * f["memcpy_1000"] + 1000 * 50
    keystream = f["noise_bytes"] / f["rekey"]
    peers = [
        ratio("isolated arena: make, write, close; C : sodium_malloc, sodium_free", "isolated",
              "sodium", 0.13),
        ratio("the same from Python : the C pair of libsodium", "py_isolated", "sodium", 0.16),
        *([limit("isolated arena, C : memsec's malloc_sized, free (Rust)", "isolated", "memsec")]
          if "memsec" in f else []),
        ratio("pooled arena, make, close; C : OpenSSL secure malloc, clear_free", "pooled",
              "openssl", 0.25),
        *([limit("pooled arena, C : libgcrypt's gcry_malloc_secure, gcry_free", "pooled",
                 "gcrypt")] if "gcrypt" in f else []),
        ratio("pooled, from Python : the C pair of libsodium", "py_pooled", "sodium", 1 / 50),
    ]  # fmt: skip
    isolated = [
        ratio("isolated, make, write, close; C : two mprotects", "isolated", PAIR, pair),
        limit("limit: another page of secretmem each time, a look at the signal stack, copy, check "
              "and wipe; C : two mprotects", "py_careful_pair", PY_PAIR),
        ratio("isolated, make, write, close from Python : two mprotects", "py_isolated",
              PY_PAIR, 1.6),
        limit("limit: the least object of two mprotects, from Python : two mprotects", "py_bare",
              PY_PAIR),
        limit("limit: the least object that does what the C limit does : two mprotects",
              "py_careful", PY_PAIR),
        ratio("with sealed.open('r'): pass : two mprotects", "py_block", PY_PAIR, 1.5),
        limit("limit: the least block of two mprotects of secretmem : two mprotects",
              "py_bare_block", PY_PAIR),
        ratio("rotate, its rekey kept : make and close, isolated", "py_rotate", "py_isolated", 2),
        ratio("make, close with 30,000 live : with 10", "isolated_30000", "isolated_10", 1.5),
        Row("isolated arenas before failure, lock limit lifted", f"{f['most_isolated']:.0f}",
            f["most_isolated"], 30000, at_least=True),
    ]  # fmt: skip
    pooled = [
        ratio("pooled, make and close from Python : bytearray(32)", "py_pooled", "bytearray_32", 2),
        ratio("pool.random(32) : os.urandom(32)", "py_random", "urandom_32", 1.35),
        Row("locked bytes a live 32-byte secret in a pool", f"{f['pool_bytes_a_secret']:.1f}",
            f["pool_bytes_a_secret"], 96),
        ratio("lockdown of 100,000 pooled : memset", "lockdown_100000", "memset_100000", 1.5),
    ]  # fmt: skip
    consumers = [
        row
        for name, call, bar in (
            ("hmac", "hmac.digest, 32-byte key, 64-byte message", 1.08),
            ("sha", "sha256 of 32 bytes, digest", 1.08),
            ("aead", "AESGCM, made and used once, 64 bytes", 1.08),
        )
        for row in (
            ratio(f"{call}: an arena : bytes", f"{name}_arena", f"{name}_bytes", bar),
            ratio(f"{call}: a pooled arena : bytes", f"{name}_pooled", f"{name}_bytes", bar),
            limit(f"limit: {call}: the least buffer before a guard page : bytes",
                  f"{name}_lent", f"{name}_bytes"),
        )
    ]  # fmt: skip
    compared = [
        ratio("compare_digest, an arena and bytes, 32 : hmac.compare_digest, bytes",
              "compare_arena", "hmac_compare_bytes", 1.1),
        ratio("the same, given to both", "compare_arena", "hmac_compare_arena", 1),
        ratio("compare_digest, two bytes objects : hmac.compare_digest", "compare_bytes",
              "hmac_compare_bytes", 1),
        ratio("compare_digest, 1 MiB : hmac.compare_digest", "compare_mib", "hmac_compare_mib",
              1 / 8),
        ratio("sha256 of 64 KiB, arena : bytes", "sha256_arena", "sha256_bytes", 1.02),
        ratio("memoryview of arena : of bytearray", "view_arena", "view_bytearray", 1.3),
        ratio("is_secure with 10,000 live : with 1", "is_secure_10000", "is_secure_1", 1.2),
    ]  # fmt: skip
    passes = [
        Row("wipe of 1,000 pages : 1.25 memcpy + 50 ns a slot",
            f"{ns(f['pass_1000'])} : {ns(slots)}", f["pass_1000"] / slots, 1),
        Row("wipe of a 1 GiB arena, one page of it touched, ms", ns(f["pass_sparse_gib"]),
            f["pass_sparse_gib"] / 1e6, 20),
        Row("noise: GB/s of keystream, entropy included", f"{keystream:.2f} GB/s", keystream, 1.5,
            at_least=True),
        rate("residue.find over 2 GiB, 32 bytes, parts and forms : memcpy", "residue_part_rate",
             0.5),
        rate("the same, the secret alone : memcpy", "residue_rate", 0.5),
        rate("limit: process_vm_readv of 64 KiB pieces, looked at by nobody : memcpy",
             "readv_rate", None),
    ]  # fmt: skip
    return [*peers, *isolated, *pooled, *consumers, *compared, *passes]


def processor() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()


def machine(f: Figures) -> str:
    return (
        f"{processor()}, Linux {platform.release()}, CPython {platform.python_version()}. "
        f"In the same run: mprotect there and back {ns(f['mprotect_pair'])}, first touch of a "
        f"secretmem page {ns(f['first_touch'])}, memcpy of 1,000 pages {ns(f['memcpy_1000'])}."
    )


def svg(rows: list[Row]) -> str:
    """Each ratio as a bar, on a scale on which 1 is the bar to be met."""
    wide, line, left = 900, 24, 560
    barred = [(r, r.bar) for r in rows if r.bar is not None]
    shares = [(r.what, bar / r.value if r.at_least else r.value / bar) for r, bar in barred]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" '
        f'height="{line * (len(shares) + 2)}" font-family="sans-serif" font-size="12">',
        f'<text x="{left}" y="16">share of what the bar allows (1.0 at the line)</text>',
    ]
    scale = (wide - left - 60) / 1.2
    for i, (what, share) in enumerate(shares):
        y = line * (i + 1)
        colour = "#2a7" if share <= 1 else "#c33"
        label = what.replace("&", "&amp;").replace("<", "&lt;")
        out.append(f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{label}</text>')
        out.append(
            f'<rect x="{left}" y="{y + 4}" width="{min(share, 1.2) * scale:.1f}" '
            f'height="{line - 8}" fill="{colour}"/>'
        )
        end = left + min(share, 1.2) * scale + 4
        out.append(f'<text x="{end:.1f}" y="{y + 16}">{share:.2f}</text>')
    x = left + scale
    out.append(
        f'<line x1="{x}" y1="{line}" x2="{x}" y2="{line * (len(shares) + 1)}" stroke="#333"/>'
    )
    return "\n".join([*out, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("core")
    parser.add_argument("limits")
    parser.add_argument("--memsec", default="", help="the library, where it could be built")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--markdown", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    figures = measure(options.core, options.limits, options.memsec)
    rows = table(figures)
    width = max(len(r.what) for r in rows)
    for r in rows:
        verdict = "" if r.bar is None else "ok" if r.met else "MISSED"
        print(f"{r.what:<{width}}  {r.figure:>22}  {r.value:>9,.3g}  {r.limit:<16}  {verdict}")
    print(machine(figures))
    if options.json:
        record = {
            "machine": machine(figures),
            "figures": figures,
            "rows": [{**vars(r), "met": r.met} for r in rows],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.svg:
        options.svg.write_text(svg(rows))
    for path in options.markdown:
        replace_between_markers(path, "figures", f"{markdown(rows)}\n\n{machine(figures)}")
    return 0 if all(r.met for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
