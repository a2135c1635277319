"""Looks at the built site in headless Chromium, at four widths, light and dark, and at its links.

    pages.py DIRECTORY [CHROMIUM [PICTURES]]

No page may scroll sideways; tables wider than the page scroll by themselves, their first column
in sight; drawings load, and are dark on a dark page; links and anchors lead somewhere. Each
look has a control page on which it must complain. Where there is no Chromium the links alone are
looked at. PICTURES: a directory for screenshots of all pages.
"""

import base64
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

WIDTHS = (360, 500, 1280, 1920)
SCHEMES = ("light", "dark")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

CONTROLS = {
    "sideways": '<div style="width: 3000px">wide</div>',
    "cut": '<div style="overflow: hidden"><table class="docutils"><tr>'
    '<td style="min-width: 3000px">wide</td></tr></table></div>',
    "moves": '<div style="overflow: auto"><table class="docutils"><tr><td>first</td>'
    '<td style="min-width: 3000px">wide</td></tr></table></div>',
    "picture": '<img src="nowhere.svg" alt="">',
    "bright": '<img alt="" src="data:image/svg+xml,<svg xmlns=\'http://www.w3.org/2000/svg\' '
    "width='90' height='90'><rect width='90' height='90' fill='white'/></svg>\">",
}
"""What must be found wanting, and on a page of its own is."""

LOOK = r"""
(() => {
  const bad = [], room = document.scrollingElement;
  if (room.scrollWidth > innerWidth)
    bad.push(`sideways: ${room.scrollWidth} pixels in ${innerWidth}`);
  for (const table of document.querySelectorAll("table.docutils")) {
    const name = JSON.stringify(table.innerText.slice(0, 30));
    let box = table.parentElement;
    while (box && box.scrollWidth <= box.clientWidth + 1) box = box.parentElement;
    if (!box || box === room || box === document.body || table.offsetWidth <= box.clientWidth)
      continue;
    if (!["auto", "scroll"].includes(getComputedStyle(box).overflowX)) {
      bad.push(`cut: the table ${name}`);
      continue;
    }
    const cell = table.rows[0].cells[0];
    box.scrollLeft = box.scrollWidth;
    const at = cell.getBoundingClientRect(), in_ = box.getBoundingClientRect();
    if (at.left < in_.left - 4 || at.width > in_.width * 0.75)
      bad.push(`moves: the first column of ${name}`);
    box.scrollLeft = 0;
  }
  for (const image of document.images)
    if (image.complete && !image.naturalWidth) bad.push(`picture: ${image.src} does not load`);
  return bad;
})()
"""

PLACES = """
[...document.images].filter(i => i.naturalWidth).map(i => {
  const at = i.getBoundingClientRect();
  const name = i.getAttribute("src").slice(0, 60);
  return [name, at.left + scrollX + 4, at.top + scrollY + at.height / 2];
})
"""


class Browser:
    """Chromium, told what to do over its pipe."""

    def __init__(self, program: str, profile: str) -> None:
        ours, self._to = os.pipe()
        self._from, theirs = os.pipe()
        shell = (
            f"exec {program} --headless --no-sandbox --disable-gpu --hide-scrollbars "
            f"--disable-dev-shm-usage --user-data-dir={profile} --remote-debugging-pipe "
            f"about:blank 3<&{ours} 4>&{theirs}"
        )
        self._child = subprocess.Popen(  # noqa: S603
            ["/bin/bash", "-c", shell],
            pass_fds=(ours, theirs),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours)
        os.close(theirs)
        self._answers, self._count, self._rest = list[dict[str, Any]](), 0, b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self.ask("Page.enable")

    _session: str | None = None

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 16)
            if not part:
                raise SystemExit("pages: Chromium ended")
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(message)
        assert isinstance(told, dict)
        return told

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; events meanwhile are kept."""
        self._count += 1
        message: dict[str, Any] = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            told = self._read()
            if told.get("id") == self._count:
                if "error" in told:
                    raise SystemExit(f"pages: {method}: {told['error']}")
                return dict(told["result"])
            self._answers.append(told)

    def go(self, url: str) -> None:
        """Open a page, and wait until it has all that it shows."""
        self._answers.clear()
        self.ask("Page.navigate", url=url)
        while not any(told.get("method") == "Page.loadEventFired" for told in self._answers):
            self._answers.append(self._read())

    def run(self, script: str) -> Any:
        """What a script gives."""
        told = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in told:
            raise SystemExit(f"pages: {told['exceptionDetails']}")
        return told["result"].get("value")

    def show(self, width: int, scheme: str) -> None:
        """A window of that width, for a person who prefers that scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", features=[feature])

    def pixel(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour at a place of the page."""
        clip = {"x": x, "y": y, "width": 1, "height": 1, "scale": 1}
        told = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        png, at, data = base64.b64decode(told["data"]), 8, b""
        while at < len(png):
            size = int.from_bytes(png[at : at + 4], "big")
            if png[at + 4 : at + 8] == b"IDAT":
                data += png[at + 8 : at + 8 + size]
            at += size + 12
        red, green, blue = zlib.decompress(data)[1:4]  # of one pixel, whatever its filter
        return red, green, blue

    def picture(self) -> bytes:
        """The whole page."""
        height = self.run("document.scrollingElement.scrollHeight")
        width = self.run("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 8000), "scale": 1}
        told = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(told["data"])

    def end(self) -> None:
        """Let it go."""
        self._session = None
        os.write(self._to, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def dark_drawings(browser: Browser) -> list[str]:
    """Complaints of drawings that are bright on a dark page."""
    bad = []
    for name, x, y in browser.run(PLACES):
        colour = browser.pixel(x, y)
        if sum(colour) > 3 * 128:
            bad.append(f"bright: {name} is {colour} on a dark page")
    return bad


# ---- links --------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page links to, and what can be linked to on it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links = list[str]()
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.links += [
            given[name]
            for name in ("href", "src", "data")
            if name in given and not (tag == "link" and given.get("rel") == "canonical")
        ]


def broken(directory: Path) -> list[str]:
    """Complaints of links within the site that lead nowhere."""
    pages = {
        path: Page(path.read_text())
        for path in directory.rglob("*.html")
        if "_static" not in path.parts
    }
    bad = []
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:|//", link):
                continue
            there, anchor = urldefrag(re.sub(r"\?[^#]*", "", link))
            to = (path.parent / unquote(there)).resolve() if there else path
            to = to / "index.html" if to.is_dir() else to
            if not to.is_file():
                bad.append(f"{path.relative_to(directory)}: {link} leads nowhere")
            elif to in pages and unquote(anchor) not in pages[to].anchors:
                bad.append(f"{path.relative_to(directory)}: {link} names no place there")
    return sorted(bad)


def links_of(directory: Path) -> list[str]:
    """The same, after a site on which it has to complain."""
    with tempfile.TemporaryDirectory() as place:
        page = '<p id="here"><a href="{}">x</a>'
        for link, wrong in (("#here", 0), ("#there", 1), ("index.html", 0), ("gone.html", 1)):
            (Path(place) / "index.html").write_text(page.format(link))
            assert len(broken(Path(place).resolve())) == wrong, f"the control: {link}"
    return broken(directory)


# ---- pages --------------------------------------------------------------------------------


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """The address of a directory's files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def look(browser: Browser, url: str, pictures: Path | None = None) -> list[str]:
    """Complaints of a page, at each width and in each scheme."""
    bad = []
    browser.show(WIDTHS[0], "light")
    browser.go(url)
    name = url.rpartition("/")[2].removesuffix(".html")
    for width in WIDTHS:
        for scheme in SCHEMES:
            browser.show(width, scheme)
            found = browser.run(LOOK) if scheme == "light" else []
            if scheme == "dark" and width in (WIDTHS[0], WIDTHS[2]):
                found = dark_drawings(browser)
            bad += [f"{name} at {width}, {scheme}: {text}" for text in found]
            if pictures:
                (pictures / f"{name}-{width}-{scheme}.png").write_bytes(browser.picture())
    return bad


def controls(browser: Browser) -> None:
    """Pages of which each look must complain."""
    with tempfile.TemporaryDirectory() as place, served(Path(place)) as address:
        frame = "<!doctype html><meta name=viewport content='width=device-width'><body>{}"
        for kind, content in {"well": "<p>well", **CONTROLS}.items():
            (Path(place) / f"{kind}.html").write_text(frame.format(content))
            found = look(browser, f"{address}/{kind}.html")
            kinds = {text.split(": ")[1] for text in found}
            assert kinds == ({kind} - {"well"}), f"the control {kind} gave {found}"


def main() -> int:
    directory = Path(sys.argv[1]).resolve()
    bad = links_of(directory)
    pages = sorted(p for p in directory.rglob("*.html") if "_static" not in p.parts)
    told = f"{len(pages)} pages, links"
    given = sys.argv[2:3] or [found for name in BROWSERS if (found := shutil.which(name))]
    if given:
        pictures = Path(sys.argv[3]) if len(sys.argv) > 3 else None
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(given[0], profile)
            try:
                controls(browser)
                with served(directory) as address:
                    for page in pages:
                        bad += look(browser, f"{address}/{page.relative_to(directory)}", pictures)
            finally:
                browser.end()
        told += f", at {WIDTHS} pixels, light and dark; {len(CONTROLS)} controls"
    else:
        told += "; no Chromium: not looked at"
    print("\n".join(bad))
    print(f"ok: {told}" if not bad else f"{len(bad)} complaints")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
