"""Sites of several versions beside each other, as `make site` puts them."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_docs import ROOT, script

import secalloc


@pytest.fixture(scope="module")
def versions() -> Any:
    return script("versions")


def built(place: Path, version: str, *pages: str) -> Path:
    """A site as `make docs` leaves it, with the template's own words."""
    template = (ROOT / "docs/templates/versions.html").read_text()
    for page in ("index.html", *pages):
        path = place / version / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<p>{page}</p>{template.replace('{{ version }}', version)}<p>end</p>")
    return place / version


def links(page: Path) -> list[str]:
    return re.findall(r'href="([^"]*)"', page.read_text())


def test_each_page_leads_to_itself_in_other_versions(tmp_path: Path, versions: Any) -> None:
    site = tmp_path / "site"
    for version, pages in (
        ("0.9.0", ["old.html"]),
        ("0.10.0", ["new.html", "decisions/one.html"]),
        ("0.11.0rc1", ["new.html"]),
    ):
        assert versions.add(site, built(tmp_path / "built", version, *pages)) == version
    assert versions.versions(site) == ["0.11.0rc1", "0.10.0", "0.9.0"]
    assert sorted(p.name for p in site.iterdir()) == [
        *("0.10.0", "0.11.0rc1", "0.9.0", "index.html", "latest"),
    ]
    assert versions.version_of(site / "latest") == "0.10.0", "a release before what is none"
    assert links(site / "0.10.0/new.html") == ["../0.11.0rc1/new.html", "../0.9.0/index.html"]
    assert links(site / "0.10.0/decisions/one.html") == [
        *("../../0.11.0rc1/index.html", "../../0.9.0/index.html"),
    ]
    assert links(site / "latest/new.html") == links(site / "0.10.0/new.html")
    old = site / "0.9.0/index.html"
    assert links(old)[0] == "../latest/index.html"
    assert "newer version" in old.read_text()
    assert "newer version" not in (site / "0.11.0rc1/index.html").read_text()
    for page in site.rglob("*.html"):
        for link in links(page):
            assert (page.parent / link).is_file(), (page, link)


def test_a_version_that_is_built_again_takes_its_own_place(tmp_path: Path, versions: Any) -> None:
    site = tmp_path / "site"
    versions.add(site, built(tmp_path / "built", "0.1.0", "gone.html"))
    versions.add(site, built(tmp_path / "built", "0.2.0"))
    before = {p: p.read_text() for p in site.rglob("*.html")}
    versions.add(site, tmp_path / "built" / "0.2.0")
    assert {p: p.read_text() for p in site.rglob("*.html")} == before
    for name in ("gone.html", "index.html"):
        (tmp_path / "built/0.1.0" / name).unlink()
    versions.add(site, built(tmp_path / "built", "0.1.0"))
    assert not (site / "0.1.0/gone.html").exists()


def test_tags_that_have_no_site_yet(tmp_path: Path, versions: Any) -> None:
    tags = ["v0.10.0", "v0.9.0", "v0.1.0", "nightly"]
    assert versions.lacking(tmp_path / "none", tags) == ["v0.1.0", "v0.9.0", "v0.10.0"]
    versions.add(tmp_path / "site", built(tmp_path / "built", "0.9.0"))
    assert versions.lacking(tmp_path / "site", tags) == ["v0.1.0", "v0.10.0"]
    with pytest.raises(ValueError, match="no version"):
        versions.order("nightly")


def test_the_version_is_the_one_of_the_changelog(versions: Any) -> None:
    newest = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest == sorted(newest, key=versions.order, reverse=True)
    assert newest[0] == secalloc.__version__
