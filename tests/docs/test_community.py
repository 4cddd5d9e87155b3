"""CHANGELOG.md, CITATION.cff and the pages at the top of the repository: their form, and that what they point at is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hsiedge import __version__

ROOT = Path(__file__).parents[2]
if not (ROOT / "CHANGELOG.md").is_file():
    pytest.skip("these pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
SECTIONS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def test_the_changelog_has_sections() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "Deprecated" in text.partition("\n## ")[0], "the policy stands at its top"
    versions = re.split(r"^## ", text, flags=re.M)[1:]
    assert versions[0].startswith(f"{__version__} ")
    for version in versions:
        title, *sections = re.split(r"^### ", version, flags=re.M)
        assert "\n- " not in title, f"{title.split()[0]}: a change without a section"
        names = [section.partition("\n")[0] for section in sections]
        assert names == [name for name in SECTIONS if name in names]
        assert all("\n- " in section for section in sections)


def test_the_citation_is_of_this_version() -> None:
    yaml = pytest.importorskip("yaml", reason="YAML is read by PyYAML, which comes with the manual's packages")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(citation)
    assert citation["version"] == __version__


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text())
    assert links or name not in ("README.md", "CONTRIBUTING.md")
    for link in links:
        assert (ROOT / link).exists(), link
