"""What each kind of API leaves of a secret: outside, sheltered, under `run`, and both.

    python tests/checks/shelter/leftovers.py

Prints a table of how many copies were found afterwards. Exit status 1: an unsheltered call was not
seen to leave any; something freed was found in the shelter; or more is left than the bars below
allow, or where no reason is known.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

SHELTER = Path(__file__).resolve().parents[2] / "shelter"
sys.path.insert(0, str(SHELTER))

from kinds import KINDS, is_there  # noqa: E402

MOST_LEFT = {"sheltered": 15, "sheltered under run": 6}
LEAST_KINDS = 50

PLAIN = [sys.executable, "-P"]
RUN = [*PLAIN, "-m", "secalloc", "run"]
WAYS = {
    "outside": (PLAIN, "plain"),
    "sheltered": (PLAIN, "sheltered"),
    "run": (RUN, "plain"),
    "sheltered under run": (RUN, "sheltered"),
}
Saw = dict[str, dict[str, Any]]


def look(way: str) -> Saw:
    command, how = WAYS[way]
    if how == "plain" and command == RUN:
        how = "once"
    child = [*command, str(SHELTER / "kinds_child.py"), how]
    env = {**os.environ, "PYTHONPATH": str(SHELTER)}
    done = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True, env=env)  # noqa: S603
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["kind"]: line for line in lines if "kind" in line}


def objections(saw: dict[str, Saw]) -> list[str]:
    kinds = [kind for kind in KINDS if is_there(kind)]
    said = [
        f"{k.name}: the control left nothing" for k in kinds if not saw["outside"][k.name]["left"]
    ]
    for way, most in MOST_LEFT.items():
        left = [k for k in kinds if saw[way][k.name]["left"]]
        if len(left) > most:
            said.append(f"{way}: {len(left)} kinds leave copies")
        known = [k for k in left if (k.leaves if way == "sheltered" else k.under_run)]
        said += [f"{way}: {k.name} leaves copies" for k in left if k not in known]
        said += [f"{way}: {k.name}: freed and found" for k in kinds if saw[way][k.name]["freed"]]
    live = sum(saw["sheltered"][k.name]["live"] > 0 for k in kinds)
    if live < len(kinds) * 2 // 3:
        said.append(f"the shelter was seen to hold results of {live} kinds alone")
    if len(kinds) < LEAST_KINDS:
        said.append(f"{len(kinds)} kinds alone: install the group shelter")
    return said


def main() -> int:
    kinds = [kind for kind in KINDS if is_there(kind)]
    saw = {way: look(way) for way in WAYS}
    print(f"{'copies left by':<40}" + "".join(f"{way:>21}" for way in WAYS))
    for kind in kinds:
        counts = [sum(saw[way][kind.name]["left"].values()) for way in WAYS]
        line = f"{kind.name:<40}" + "".join(f"{count or '-':>21}" for count in counts)
        kept = ", kept in a cache" if saw["sheltered"][kind.name]["kept"] else ""
        print(f"{line}  {kind.leaves if counts[1] else ''}{kept}")
    total = [sum(bool(saw[way][k.name]["left"]) for k in kinds) for way in WAYS]
    print(f"{f'of {len(kinds)} kinds, leave some':<40}" + "".join(f"{n:>21}" for n in total))
    print(
        f"{'freed and found in the shelter':<40}"
        + f"{sum(saw['sheltered'][k.name]['freed'] for k in kinds):>42}"
    )
    said = objections(saw)
    print("\n".join(f"MISSED: {line}" for line in said) or "ok")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
