"""MkDocs hooks: the home page from README.md, the command line's reference, and files outside docs/ that pages link."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def home() -> str:
    """README.md as the site's first page: its links begin in docs/."""
    return re.sub(r"\]\(docs/", "](", re.sub(r"\]\((?!docs/|https?:|#)", "](../", (ROOT / "README.md").read_text()))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the repository's files that pages point at."""
    for name, content in PAGES.items():
        files.append(File.generated(config, name, content=content()))
    for page in [file for file in files if file.is_documentation_page()]:
        for link in LINK.finditer(page.content_string):
            name = _outside(link[3], page.src_uri)
            if name is not None and (ROOT / name).is_file() and files.get_file_from_path(f"files/{name}.txt") is None:
                files.append(File.generated(config, f"files/{name}.txt", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links to files outside docs/ into links to their copies; one to a folder is left as its name."""

    def answer(link: re.Match[str]) -> str:
        name = _outside(link[3], page.file.src_uri)
        if name is None:
            return link[0]
        if not (ROOT / name).is_file():
            return f"{link[2]} (`{name}`)"
        here = posixpath.dirname(page.file.src_uri) or "."
        return f"{link[1]}[{link[2]}]({posixpath.relpath(f'files/{name}.txt', here)})"

    return LINK.sub(answer, markdown)


def _outside(link: str, page: str) -> str | None:
    """Name within the repository of what a link of a page points at outside docs/; None for any other."""
    if re.match(r"[a-z]+:", link):
        return None
    target = os.path.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if target.startswith("docs/") else target


def command_line() -> str:
    """The reference of all commands, from the parser itself."""
    from typer.main import get_command

    from hsiedge.cli.app import app

    parts = [
        "# Command line",
        "`hsiedge COMMAND --help` prints the same. What every command shares, its exit codes among it, is told under"
        " [errors and exit codes](errors.md) and [environment variables](environment.md).",
        *_command("hsiedge", get_command(app)),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    """Markdown of a command and those below it."""
    context = command.make_context(name, [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    yield f"## {name}"
    yield _text(re.sub(r"\s+", " ", command.help or ""))
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    yield "\n".join(
        [
            "| argument or option | meaning |",
            "|---|---|",
            *(f"| `{record[0]}` | {_text(record[1])} |" for record in records if record),
        ]
    )
    for word, inner in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {word}", inner)


def _text(words: str) -> str:
    """Plain words, with nothing that Markdown would take for its own."""
    return re.sub(r"([|<>*_`\[\]])", r"\\\1", words)


PAGES: dict[str, Callable[[], str]] = {"index.md": home, "reference/command-line.md": command_line}
"""Writers of the generated pages, by their place in the site."""
