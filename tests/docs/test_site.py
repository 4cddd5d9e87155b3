"""The site of docs/: it builds without a warning, asks nobody else for anything, and its generated pages are complete."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import browser

ROOT = Path(__file__).parents[2]
if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("the site is made in a checkout, not beside an installed wheel", allow_module_level=True)
pytest.importorskip("mkdocs", reason="mkdocs makes the site, and is not installed")
pytest.importorskip("mkdocstrings", reason="mkdocstrings makes the site, and is not installed")

LOADED = r"<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=\"?(https?:[^\" >]+)|<link\b[^>]*\bhref=\"?(https?:[^\" >]+)"


def build(folder: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    result = build(folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        assert not re.findall(LOADED, page.read_text()), page.relative_to(site)
        assert 'class="mermaid"' not in page.read_text(), "the theme would fetch mermaid.js"
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:|@import", sheet.read_text()), sheet.relative_to(site)


@pytest.mark.slow
def test_the_command_lines_reference_has_every_command_and_option(site: Path) -> None:
    from typer.main import get_command

    from hsiedge.cli.app import app

    text = (site / "reference" / "command-line.html").read_text()
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert {"train", "run", "compare"} <= set(commands)
    for name, command in commands.items():
        section = text.partition(f">hsiedge {name}<")[2].partition("<h2")[0]
        for option in [option for parameter in command.params for option in parameter.opts if option.startswith("-")]:
            assert option in section, (name, option)


@pytest.mark.slow
def test_the_python_reference_has_every_public_name(site: Path) -> None:
    import hsiedge.testing

    text = (site / "reference" / "python.html").read_text() + (site / "reference" / "errors.html").read_text()
    for name in hsiedge.__all__:
        assert f'id="hsiedge.{name}"' in text or name == "errors", name
    for name in hsiedge.testing.__all__:
        assert f'id="hsiedge.testing.{name}"' in text, name
    assert "hsiedge.errors.SourceError" in text


@pytest.mark.parametrize(
    ("page", "option", "home", "registry"),
    [
        ("nets", "net", "hsiedge.nets", "NETS"),
        ("nets", "recipe", "hsiedge.graphs.quantization.recipes", "RECIPES"),
        ("runtimes", "runtime", "hsiedge.runtimes", "ENGINES"),
    ],
)
def test_lists_are_those_of_the_registries(page: str, option: str, home: str, registry: str) -> None:
    text = (ROOT / "docs" / "reference" / f"{page}.md").read_text()
    rows = text.partition(f"| `--{option}` |")[2].partition("\n\n")[0]
    entries = getattr(importlib.import_module(home), registry)
    assert set(re.findall(r"^\| `(\w+)`", rows, re.M)) == {name for name in entries if entries.origin(name) is None}


def test_the_environments_page_has_every_variable_that_is_read() -> None:
    page = (ROOT / "docs" / "reference" / "environment.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)`", page, re.M))
    read = {name for path in (ROOT / "hsiedge").rglob("*.py") for name in variables(path.read_text())}
    assert "HSIEDGE_DATA" in read
    assert "HSIEDGE_NATIVE_KERNELS" in read
    assert read <= listed


def variables(source: str) -> set[str]:
    """Names that stand in an expression with `environ`, as they are or by a constant of the file."""
    tree = ast.parse(source)
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
    }
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Call, ast.Subscript)) and "environ" in ast.unparse(node)[:40]:
            key = node.slice if isinstance(node, ast.Subscript) else (node.args or [ast.Constant("")])[0]
            value = key.value if isinstance(key, ast.Constant) else constants.get(getattr(key, "id", ""), "")
            named |= {str(value)} if re.fullmatch(r"[A-Z][A-Z_0-9]+", str(value)) else set()
    return named


@pytest.mark.slow
def test_a_link_to_nowhere_is_an_error(tmp_path: Path) -> None:
    """Else the strictness of the build would say nothing."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[gone](gone.md)\n")
    config = tmp_path / "mkdocs.yml"
    overridden = ("hooks: []", "plugins: []", "extra_css: []", "exclude_docs: ''", "nav: null")
    config.write_text("\n".join([f"INHERIT: {ROOT / 'mkdocs.yml'}", *overridden]))
    result = build(tmp_path / "site", config)
    assert result.returncode != 0
    assert "gone.md" in result.stderr


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where the site is served: search needs a server, as every browser refuses its worker to a file."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("width", [390, *(pytest.param(width, marks=pytest.mark.release) for width in (820, 1440))])
def test_pages_fit_and_are_quiet(site: Path, address: str, tab: browser.Page, width: int) -> None:
    tab.errors.clear()
    for path in sorted(site.rglob("*.html")):
        for dark in (False, True) if width == 820 else (False,):
            tab.visit(f"{address}{path.relative_to(site)}", width, dark=dark, home=address)
            tab.run("localStorage.clear()")  # the theme keeps the taste of the first visit
            assert tab.run("document.documentElement.scrollWidth") <= width, path.relative_to(site)
    assert not tab.errors


def test_search_finds_pages(address: str, tab: browser.Page) -> None:
    tab.errors.clear()
    tab.visit(f"{address}index.html?q=calibration", 1440, home=address)
    links = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    until = time.monotonic() + 30
    while not (hits := tab.run(links)) and time.monotonic() < until:
        time.sleep(0.2)
    assert any("reference/" in hit for hit in hits), hits
    assert not tab.errors
