"""MkDocs hooks: the home page from README.md, the command line's reference, and files outside docs/ that pages link."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def home() -> str:
    """README.md as the site's first page."""
    return (ROOT / "README.md").read_text()


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the generated pages, and the repository's files that pages point at, and those that these point at."""
    for name, content in PAGES.items():
        files.append(File.generated(config, name, content=content()))
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        page = waiting.pop()
        for link in LINK.finditer(page.content_string):
            name = _target(link[3], page.src_uri)
            if name is None or name.partition("/")[0] != "files" or files.get_file_from_path(name) is not None:
                continue
            source = ROOT / name.removeprefix("files/").removesuffix(".txt")
            if source.is_file():
                hidden = InclusionLevel.NOT_IN_NAV
                files.append(copy := File.generated(config, name, abs_src_path=str(source), inclusion=hidden))
                waiting += [copy] * copy.is_documentation_page()
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site; one to what the site does not have is left as its name."""

    def answer(link: re.Match[str]) -> str:
        name, here = _target(link[3], page.file.src_uri), posixpath.dirname(page.file.src_uri) or "."
        if name is None:
            return link[0]
        if name.startswith("files/") and files.get_file_from_path(name) is None:
            place = name.removeprefix("files/").removesuffix(".txt")
            return f"`{place}`" if link[2].strip("`/") == place.strip("/") else f"{link[2]} (`{place}`)"
        return f"{link[1]}[{link[2]}]({posixpath.relpath(name, here)}{link[4] or ''})"

    return LINK.sub(answer, markdown)


def _target(link: str, page: str) -> str | None:
    """Place in the site of what a link of a page points at; None for an address elsewhere.

    A file outside docs/ lies below files/: a page as it is, any other as text.
    """
    if re.match(r"[a-z]+:", link):
        return None
    home_of = {"index.md": "README.md"}.get(page, page.removeprefix("files/") if page.startswith("files/") else f"docs/{page}")
    target = os.path.normpath(posixpath.join(posixpath.dirname(home_of), link))
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target == "README.md":
        return "index.md"
    shown = f"tutorials/{posixpath.basename(target).removesuffix('.ipynb').replace('_', '-')}.md"
    if target.endswith(".ipynb") and shown in PAGES:
        return shown
    return f"files/{target}" if target.endswith(".md") else f"files/{target}.txt"


def command_line() -> str:
    """The reference of all commands, from the parser itself."""
    from typer.main import get_command

    from hsiedge.cli.app import app

    parts = [
        "# Command line",
        "`hsiedge COMMAND --help` prints the same. All commands share their [exit codes](errors.md) and"
        " [environment variables](environment.md).",
        *_command("hsiedge", get_command(app)),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    """Markdown of a command and those below it."""
    context = command.make_context(name, [], resilient_parsing=True)
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record, heading = parameter.get_help_record(context), getattr(parameter, "rich_help_panel", None)
        if record:
            groups.setdefault(heading or "", []).append(f"| `{record[0].strip()}` | {_text(record[1])} |")
    yield f"## {name}"
    yield from (_text(" ".join(paragraph.split())) for paragraph in (command.help or "").split("\n\n"))
    yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"
    for heading, rows in groups.items():
        yield "\n".join([f"| {heading or 'argument or option'} | meaning |", "|---|---|", *rows])
    for word, inner in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {word}", inner)


def _text(words: str) -> str:
    """Plain words, with nothing that Markdown would take for its own."""
    return re.sub(r"([|<>*_`\[\]])", r"\\\1", words)


def notebook(name: str) -> str:
    """Page of examples/NAME.ipynb, with the outputs that stand in it."""
    from nbconvert import MarkdownExporter

    file = ROOT / "examples" / f"{name}.ipynb"
    page, _ = MarkdownExporter().from_filename(file)
    title, _, rest = page.strip().partition("\n")
    return f"{title}\n\nThis page is a notebook: [examples/{file.name}](../../examples/{file.name}).\n{rest}\n"


PAGES: dict[str, Callable[[], str]] = {
    "index.md": home,
    "reference/command-line.md": command_line,
    "tutorials/own-scene.md": partial(notebook, "own_scene"),
    "tutorials/shipped-model.md": partial(notebook, "shipped_model"),
}
"""Writers of the generated pages, by their place in the site."""
