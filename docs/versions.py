"""Puts built sites of several versions side by side: `make site`.

    versions.py SITE BUILT               BUILT, as `make docs` left it, becomes SITE/VERSION
    git tag | versions.py --tags SITE    the tags of versions that SITE has not yet

SITE/latest is a copy of the newest release, or of the newest version where none is released;
SITE/index.html leads there. On each page a list leads to the same page of each other version, or
to that version's first page where it has no such page. No page needs a script for it.
"""

import html
import os
import re
import shutil
import sys
from pathlib import Path

BEGIN, END = "<!-- versions -->", "<!-- end of versions -->"
VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:\.?(dev|a|b|rc)(\d+))?$")
LATEST = "latest"
FRONT = """\
<!doctype html>
<meta charset="utf-8">
<title>secalloc</title>
<meta http-equiv="refresh" content="0; url=latest/index.html">
<p><a href="latest/index.html">The documentation of secalloc</a></p>
"""


def order(name: str) -> tuple[object, ...]:
    """Which of two versions is the newer one: 0.10 after 0.9, and 1.0rc1 before 1.0."""
    found = VERSION.match(name)
    if not found:
        raise ValueError(f"{name} is no version")
    major, minor, patch, kind, count = found.groups()
    return int(major), int(minor), int(patch or 0), kind is None, kind or "", int(count or 0)


def versions(site: Path) -> list[str]:
    """What is there, the newest first."""
    found = [path.name for path in site.iterdir() if path.is_dir() and VERSION.match(path.name)]
    return sorted(found, key=order, reverse=True)


def newest(there: list[str]) -> str:
    """What `latest` is."""
    return next((name for name in there if order(name)[3]), there[0])


def version_of(built: Path) -> str:
    """Of which version a built site is, as its pages say."""
    found = re.search(
        rf'{BEGIN}<span data-version="([^"]+)"', (built / "index.html").read_text(encoding="utf-8")
    )
    if not found:
        raise SystemExit(f"versions: {built}/index.html does not tell its version")
    return found[1]


def listed(page: Path, root: Path, site: Path, there: list[str]) -> str:
    """The list on a page below `root`, which is one of the site's directories."""
    name = page.relative_to(root)
    own = version_of(root)
    rows = []
    for version in there:
        if version == own:
            rows.append(f"<li><strong>{html.escape(version)}</strong></li>")
            continue
        to = site / version / name
        to = to if to.is_file() else site / version / "index.html"
        link = Path(os.path.relpath(to, page.parent)).as_posix()
        rows.append(f'<li><a href="{html.escape(link)}">{html.escape(version)}</a></li>')
    old = ""
    if order(own) < order(newest(there)):
        to = site / LATEST / name
        to = to if to.is_file() else site / LATEST / "index.html"
        link = Path(os.path.relpath(to, page.parent)).as_posix()
        old = f'<p>There is a <a href="{html.escape(link)}">newer version</a>.</p>'
    head = f'<span data-version="{html.escape(own)}">Version {html.escape(own)}</span>'
    others = f"<details><summary>All versions</summary><ul>{''.join(rows)}</ul></details>"
    return f"{BEGIN}{head}{old}{others if len(there) > 1 else ''}{END}"


def renew(site: Path) -> None:
    """Write the lists of all pages, and `latest`, anew."""
    there = versions(site)
    shutil.rmtree(site / LATEST, ignore_errors=True)
    shutil.copytree(site / newest(there), site / LATEST)
    for root in (site / name for name in (*there, LATEST)):
        for page in root.rglob("*.html"):
            text = page.read_text(encoding="utf-8")
            if BEGIN in text:
                before, _, rest = text.partition(BEGIN)
                after = rest.partition(END)[2]
                page.write_text(before + listed(page, root, site, there) + after, encoding="utf-8")
    (site / "index.html").write_text(FRONT)


def add(site: Path, built: Path) -> str:
    """Put a built site in its place; its version."""
    version = version_of(built)
    order(version)
    site.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(site / version, ignore_errors=True)
    shutil.copytree(built, site / version, ignore=shutil.ignore_patterns(".buildinfo*"))
    renew(site)
    return version


def lacking(site: Path, tags: list[str]) -> list[str]:
    """The tags of versions that the site has not, the oldest first."""
    there = versions(site) if site.is_dir() else []
    return sorted(
        (tag for tag in tags if VERSION.match(tag) and tag.removeprefix("v") not in there),
        key=order,
    )


def main() -> int:
    if sys.argv[1] == "--tags":
        print("\n".join(lacking(Path(sys.argv[2]), sys.stdin.read().split())))
        return 0
    print(f"ok: version {add(Path(sys.argv[1]), Path(sys.argv[2]))} of {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
