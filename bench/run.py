"""Run every benchmark in one go and set the figures side by side.

    python bench/run.py CORE [--json FILE] [--svg FILE] [--markdown FILE ...]

CORE is bench/core.c, built as a shared library. Both it and bench/python.py run PASSES times in
turn, so that what disturbs one disturbs the other; figures are medians over all.
Exit status 1 where a bar is missed.
"""

import argparse
import ctypes.util
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyperf
from table import Row, markdown, replace_between_markers

PASSES = 3
PAIR = "mprotect_pair"
HERE = Path(__file__).parent
Figures = dict[str, float]


def libraries() -> dict[str, str]:
    """Where libsodium (from PyNaCl's wheel) and OpenSSL are, for the C program."""
    sodium = importlib.util.find_spec("nacl._sodium")
    crypto = ctypes.util.find_library("crypto")
    if sodium is None or sodium.origin is None or crypto is None:
        raise SystemExit("bench: PyNaCl and OpenSSL's libcrypto are needed")
    return {"SODIUM": sodium.origin, "CRYPTO": crypto}


def core_figures(library: str) -> Figures:
    """Run inside an interpreter, whose symbols PyNaCl's libsodium wants."""
    call = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).main())"
    command = [sys.executable, "-c", call, library]
    where = os.environ | libraries()
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=where).stdout
    figures: Figures = json.loads(out)
    return figures


def python_figures() -> Figures:
    """Medians in nanoseconds."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "suite.json"
        command = [sys.executable, "-P", str(HERE / "python.py"), "--quiet"]
        options = ["--processes=3", "--values=5", "--warmups=1", "--min-time=0.02"]
        subprocess.run([*command, *options, "-o", str(out)], check=True)
        suite = pyperf.BenchmarkSuite.load(str(out))
    return {b.get_name(): b.median() * 1e9 for b in suite.get_benchmarks()}


def measure(core: str) -> Figures:
    runs = []
    for turn in range(PASSES):
        print(f"pass {turn + 1} of {PASSES}", file=sys.stderr)
        runs.append({**core_figures(core), **python_figures()})
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def ns(value: float) -> str:
    for unit, scale in (("ms", 1e6), ("us", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.3g} ns"


def table(f: Figures) -> list[Row]:
    def ratio(what: str, ours: str, theirs: str, bar: float) -> Row:
        figure = f"{ns(f[ours])} : {ns(f[theirs])}"
        return Row(what, figure, f[ours] / f[theirs], bar)

    pair = 1.8 if "Xeon" in processor() else 1.3
    slots = 1.25 * f["memcpy_1000"] + 1000 * 50
    rate = f["noise_bytes"] / f["rekey"]
    return [
        ratio(
            "isolated arena, 32 bytes: make, write, close; C : sodium_malloc, sodium_free",
            "isolated",
            "sodium",
            0.13,
        ),
        ratio("the same from Python : the C pair of libsodium", "py_isolated", "sodium", 0.16),
        ratio(
            "pooled arena, 32 bytes: make, close; C : OpenSSL secure malloc, clear_free",
            "pooled",
            "openssl",
            0.25,
        ),
        ratio("the same from Python : the C pair of libsodium", "py_pooled", "sodium", 1 / 50),
        Row(
            "locked bytes a live 32-byte secret in a pool",
            f"{f['pool_bytes_a_secret']:.1f}",
            f["pool_bytes_a_secret"],
            96,
        ),
        Row(
            "isolated arenas before failure, lock limit lifted",
            f"{f['most_isolated']:.0f}",
            f["most_isolated"],
            30000,
            at_least=True,
        ),
        ratio("make, close with 30,000 live : with 10", "isolated_30000", "isolated_10", 1.5),
        ratio("isolated, make of 32 bytes, close; C : two mprotects", "isolated", PAIR, pair),
        ratio("the same from Python : two mprotects", "py_isolated", PAIR, 1.6),
        ratio("with sealed.open('r'): pass : two mprotects", "py_block", PAIR, 1.5),
        ratio("pooled, make and close from Python : bytearray(32)", "py_pooled", "bytearray_32", 2),
        ratio("pool.random(32) : os.urandom(32)", "py_random", "urandom_32", 1.35),
        ratio("hmac.digest with an arena : with bytes", "hmac_arena", "hmac_bytes", 1.08),
        ratio("sha256 of 32 bytes, an arena : bytes", "sha_arena", "sha_bytes", 1.08),
        ratio("AESGCM with an arena : with bytes", "aead_arena", "aead_bytes", 1.08),
        ratio("rotate, its rekey kept : make and close, isolated", "py_rotate", "py_isolated", 2),
        ratio("lockdown of 100,000 pooled : memset", "lockdown_100000", "memset_100000", 1.5),
        ratio("is_secure with 10,000 live : with 1", "is_secure_10000", "is_secure_1", 1.2),
        Row(
            "wipe of 1,000 pages : 1.25 memcpy + 50 ns a slot",
            f"{ns(f['pass_1000'])} : {ns(slots)}",
            f["pass_1000"] / slots,
            1,
        ),
        Row(
            "wipe of a 1 GiB arena, one page of it touched, ms",
            ns(f["pass_sparse_gib"]),
            f["pass_sparse_gib"] / 1e6,
            20,
        ),
        ratio(
            "compare_digest, 1 MiB : hmac.compare_digest",
            "py_compare_mib",
            "hmac_compare_mib",
            1 / 8,
        ),
        ratio(
            "compare_digest, 32 bytes, two bytes objects : hmac.compare_digest",
            "py_compare_bytes",
            "hmac_compare_32",
            1,
        ),
        ratio(
            "the same, an arena and a bytes object, given to both",
            "py_compare_32",
            "hmac_compare_arena",
            1,
        ),
        ratio(
            "the same, an arena : a bytes object",
            "py_compare_32",
            "hmac_compare_32",
            1,
        ),
        ratio("sha256 of 64 KiB, arena : bytes", "sha256_arena", "sha256_bytes", 1.02),
        ratio("memoryview of arena : of bytearray", "view_arena", "view_bytearray", 1.3),
        Row(
            "noise: GB/s of keystream, entropy included",
            f"{rate:.2f} GB/s",
            rate,
            1.5,
            at_least=True,
        ),
    ]


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
    shares = [(r.what, r.bar / r.value if r.at_least else r.value / r.bar) for r in rows]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" '
        f'height="{line * (len(rows) + 2)}" font-family="sans-serif" font-size="12">',
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
    out.append(f'<line x1="{x}" y1="{line}" x2="{x}" y2="{line * (len(rows) + 1)}" stroke="#333"/>')
    return "\n".join([*out, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("core")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--markdown", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    figures = measure(options.core)
    rows = table(figures)
    width = max(len(r.what) for r in rows)
    for r in rows:
        verdict = "ok" if r.met else "MISSED"
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
