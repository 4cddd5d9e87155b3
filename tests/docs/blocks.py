"""Code blocks of Markdown pages: what each is, how it is run, and how its output is compared. CONTRIBUTING.md tells writers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEYS = ("not run", "not compared", "file", "output", "prepare")
"""What a marker, `<!-- KEY: text -->` on a line of its own, may say of the block below it; `prepare` is itself one."""

_MARKER = re.compile(rf"\s*<!-- ({'|'.join(KEYS)})(?:: (.+?))? -->\s*")
_INCLUDED = re.compile(r'--8<-- "(.+)"')  # a file of the repository, as the site includes it
_FENCE = re.compile(r"( *)(`{3,})(\w*)\s*")
_INTERPRETER = """
import ast, json, sys, traceback
names = {"__name__": "__main__"}
sys.path.insert(0, "")
for line in sys.stdin:
    code = 0
    try:
        *statements, last = ast.parse(json.loads(line)).body
        shown = isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements if shown else [*statements, last], []), "<page>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<page>", "eval"), names) if shown else None
        print("" if value is None else repr(value))
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        code = 1
    print(f"\\0{code}", flush=True)
"""


class BlockError(Exception):
    """A block that no test runs and nothing excuses, that fails, or that prints something else than its page shows."""


@dataclass
class Block:
    """One block of a page, or a command that prepares the next."""

    line: int
    language: str
    text: str
    markers: dict[str, str] = field(default_factory=dict)


def blocks(page: Path) -> Iterator[Block]:
    """The page's blocks in order. Raises BlockError for one that is neither run nor marked, and for one that is no fence."""
    markers: dict[str, str] = {}
    lines = enumerate(page.read_text().splitlines(), 1)
    before = ""
    for number, line in lines:
        if (marker := _MARKER.fullmatch(line)) and marker[1] == "prepare":
            yield Block(number, "bash", marker[2])
        elif marker:
            markers[marker[1]] = marker[2] or ""
        elif fence := _FENCE.fullmatch(line):
            text = []
            for _, inner in lines:
                if inner.strip() == fence[2]:
                    break
                included = _INCLUDED.fullmatch(inner.strip())
                text.append((ROOT / included[1]).read_text().rstrip("\n") if included else inner.removeprefix(fence[1]))
            block = Block(number, fence[3], "\n".join(text) + "\n", markers)
            _check(block)
            yield block
            markers = {}
        elif re.match(r"    \S", line) and not before.strip():
            raise BlockError(f"line {number}: an indented block: write a fence with its language")
        elif line.strip() and markers:
            raise BlockError(f"line {number}: a marker without a block")
        before = line if not line.startswith("    ") and not re.match(r" *([-*]|\d+\.) ", line) else "in a list"


def _check(block: Block) -> None:
    """Raises BlockError."""
    for key in ("not run", "not compared", "file"):
        if not block.markers.get(key, "x"):
            raise BlockError(f"line {block.line}: the marker {key!r} says nothing")
    runs = block.language in ("console", "bash", "python") or {"file", "output"} & set(block.markers)
    if "8 < --" in block.text:
        raise BlockError(f"line {block.line}: a line that includes a file was taken apart; see [tool.ruff.format]")
    if not runs and "not run" not in block.markers:
        raise BlockError(
            f"line {block.line}: {block.language or 'a block without a language'} needs a marker: {', '.join(KEYS[:4])}"
        )


def run(page: Path, folder: Path) -> int:
    """Runs a page's blocks in order, in one folder; their number. Raises BlockError at one that is not as the page says."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "CHECKOUT": str(ROOT),
        "HSIEDGE_SHARED": os.environ.get("HSIEDGE_SHARED", str(ROOT.parent / "shared")),
        "COLUMNS": "100",
        "NO_COLOR": "1",
    }
    count, printed = 0, ""
    with Interpreter(folder, environment).running() as interpreter:
        for block in blocks(page):
            try:
                if "not run" in block.markers:
                    continue
                if "file" in block.markers:
                    _write(folder, block)
                elif "output" in block.markers:
                    compare(block.text, printed)
                elif block.language == "python":
                    printed = interpreter.run(block.text)
                else:
                    printed = _shell(block, folder, environment)
            except BlockError as error:
                raise BlockError(f"line {block.line}: {error}") from None
            count += 1
    return count


def _write(folder: Path, block: Block) -> None:
    path = folder / block.markers["file"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BlockError(f"{path} lies outside the page's folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def _shell(block: Block, folder: Path, environment: Mapping[str, str]) -> str:
    """Runs a script, or the commands of a console one by one, each beside the output that is shown for it."""
    if block.language == "bash":
        return _command(block.text, folder, environment, 0)
    printed = ""
    for command, shown in _commands(block.text):
        output = _command(command, folder, environment, 2 if "hsiedge: error:" in shown else 0)
        if "not compared" not in block.markers:
            compare(shown, output)
        printed += output
    return printed


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands of a console, with what is shown below each."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command = re.match(r"(?:.*\\\n)*.*\n", part)
        assert command is not None
        yield command[0], part[command.end() :]


def _command(script: str, folder: Path, environment: Mapping[str, str], code: int) -> str:
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=3600,
    )  # fmt: skip
    if result.returncode != code:
        raise BlockError(f"{script.strip()}: exit code {result.returncode}, not {code}\n{result.stdout[-3000:]}")
    return result.stdout


def compare(shown: str, printed: str) -> None:
    """Holds the lines that a page shows against those printed: each is there, in order, but for figures. "..." stands for any.

    Raises:
        BlockError: a line that was not printed.
    """
    rest = iter([_masked(line) for line in printed.splitlines()])
    for line in shown.splitlines():
        masked = _masked(line)
        if not masked or masked == "...":
            continue
        cut = masked.removesuffix("...")
        if not any(candidate == masked or (cut != masked and candidate.startswith(cut)) for candidate in rest):
            raise BlockError(f"not printed: {line}\nprinted was:\n{printed[-3000:]}")


def _masked(line: str) -> str:
    """A line without its figures, and with single blanks."""
    return re.sub(r"─+", "─", re.sub(r"\s+", " ", re.sub(r"\d[\d,.]*(e[+-]?\d+)?", "0", line))).strip()


class Interpreter:
    """Python that runs one block after the other, and shows the value of a last expression, as a notebook does."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._process: subprocess.Popen[str] | None = None

    @contextmanager
    def running(self) -> Iterator[Interpreter]:
        """Ends it with the block."""
        try:
            yield self
        finally:
            if self._process is not None:
                self._process.communicate()

    def run(self, text: str) -> str:
        """What the block prints. Raises BlockError, with the traceback."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _INTERPRETER], cwd=self._folder, env=self._environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        printed = ""
        for line in self._process.stdout:
            if line.startswith("\0"):
                if line.strip("\0\n") == "0":
                    return printed
                break
            printed += line
        raise BlockError(f"python:\n{printed[-3000:]}")
