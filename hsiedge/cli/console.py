"""Output for the user: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hsiedge.progress import PREFIX, Progress
from hsiedge.words import LONGEST_LINE, printable, shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


_LONG_SECONDS, _PAUSE_SECONDS = 10.0, 30.0  # until a log has the first line of a step, and between two of them


def stdout() -> Console:
    """Console for results, of 100 columns where the terminal does not say."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Console for everything but results."""
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    from hsiedge.cli.screen import Screen

    return Screen(file)


def write(text: str) -> None:
    """Lines of a result to stdout, which holds nothing that a terminal would obey."""
    sys.stdout.write("\n".join(map(printable, text.split("\n"))))


def say(text: str) -> None:
    """A line to the user, that is no result; lines where our own text has several."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr)  # noqa: T201


def warn(texts: Sequence[str]) -> None:
    """A line for each reason not to trust a result."""
    for text in texts:
        say(f"warning: {shown(text, LONGEST_LINE)}")


def fail(text: str) -> None:
    """The one line of an error."""
    say(f"hsiedge: error: {shown(' '.join(text.split()), LONGEST_LINE)}")


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A Python warning, as one line."""
    say(f"hsiedge: warning: {shown(' '.join(str(message).split()), LONGEST_LINE)}")


def check_json(target: str | None, taken: Iterable[Path | str | None] = ()) -> None:
    """Raises OutputError before the work whose result `write_json` could not write.

    Args:
        taken: what the command reads or writes besides, whose place the result must not take: files and folders, names of
            scenes, FILE.py:NAME.
    """
    from hsiedge import files
    from hsiedge.errors import OutputError

    if target is None or target == "-":
        return
    place = Path(target)
    if not place.parent.is_dir():
        raise OutputError(f"--json {target}: there is no folder {place.parent}")
    files.check_writable(place)
    special = place.exists() and not place.is_file()
    if not special and any(files.same_file(place, path) for path in _all_files(taken)):
        raise OutputError(f"--json {target}: this command reads or writes that file besides; choose another place")


def _all_files(taken: Iterable[Path | str | None]) -> Iterator[Path]:
    """Each file of cubes, models and maps: of ENVI its header and data, of a folder its tiles, of FILE.py:NAME the file."""
    from hsiedge.mapping import writers
    from hsiedge.scenes.io import reader

    for entry in taken:
        if entry is None or entry == "-":
            continue
        text = str(entry)
        path = Path(f"{text.partition('.py:')[0]}.py" if ".py:" in text else text)
        yield from (path.glob("*.tif*") if path.is_dir() else {path, *reader.files_of(path), *writers.files_of(path)})


def show(tables: Sequence[RenderableType], data: dict[str, Any], json: str | None) -> None:
    """Shows a result: its tables, unless its JSON goes to stdout, and the JSON where one is asked for. Raises OutputError."""
    if json is not None:
        write_json(data, json)
    if json != "-":
        stdout().print(*tables, sep="\n")


def write_json(data: dict[str, Any], target: str) -> None:
    """Writes to a file, or to stdout where `target` is "-". Raises OutputError."""
    from hsiedge import files

    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    if target == "-":
        sys.stdout.write(text)
    else:
        files.write_bytes(Path(target), text.encode())


@contextmanager
def progress(title: str, count: int = 0, unit: str = "") -> Iterator[Progress]:
    """A bar on stderr with the time left, for what takes over two seconds; lines where stderr is no terminal (`_log_lines`).

    It is drawn when it is told to, and at no other time: a thread that redraws would be measured along with a model.

    Args:
        count: how many `unit` all the work is, where the pace is to be seen in them.
    """
    if os.environ.get("HSIEDGE_PROGRESS"):
        yield _progress_lines()
        return
    if not sys.stderr.isatty():
        with _log_lines(title) as update:
            yield update
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    pace = TextColumn("{task.fields[pace]}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), pace, TimeRemainingColumn())
    with Bar(*columns, console=stderr(), transient=True, auto_refresh=False) as bar:
        task, began, drawn = bar.add_task(title, total=1.0, pace=""), time.monotonic(), 0.0
        bar.refresh()

        def update(share: float) -> None:
            nonlocal drawn
            now = time.monotonic()
            due = now - drawn >= 0.1 or share >= 1
            drawn = now if due else drawn
            rate = f"{share * count / max(now - began, 1e-9):,.0f} {unit} a second" if count else ""
            bar.update(task, completed=share, pace=rate, refresh=due)

        yield update


def _progress_lines() -> Progress:
    """The share as lines, two a second at most, for the program that runs this one."""
    written = 0.0

    def update(share: float) -> None:
        nonlocal written
        if time.monotonic() - written >= 0.5 or share >= 1:
            written = time.monotonic()
            say(f"{PREFIX}{share:.4f}")

    return update


@contextmanager
def _log_lines(title: str) -> Iterator[Progress]:
    """Lines for a log, of work that takes over ten seconds: how far it is, now and then, and how long it took."""
    began = time.monotonic()
    due, first = began + _LONG_SECONDS, (began, 0.0)

    def update(share: float) -> None:
        nonlocal due, first
        now = time.monotonic()
        if first[1] == 0.0 and share < 1:
            first = now, share  # work that goes on where it was stopped begins at a share, whose time is not this run's
        if now >= due and share < 1:
            due = now + _PAUSE_SECONDS
            pace = (now - first[0]) / (share - first[1]) if share > first[1] else 0.0
            say(f"{title}: {share:.0%} after {now - began:.0f} s{f', about {_rounded(pace * (1 - share))} left' * (pace > 0)}")

    yield update
    if time.monotonic() - began >= _LONG_SECONDS:
        say(f"{title}: done in {time.monotonic() - began:.0f} s")


def _rounded(seconds: float) -> str:
    """A time as it can be guessed: in seconds, minutes, or hours with a half."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{round(seconds / 1800) / 2:g} h"


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """A spinner on stderr, for work that cannot tell how far it is; a line in a log once it is done, if it was long."""
    if os.environ.get("HSIEDGE_PROGRESS"):
        yield
    elif not sys.stderr.isatty():
        with _log_lines(title):
            yield
    else:
        from rich.text import Text

        with stderr().status(Text(title)):
            yield


class _SayHandler(logging.Handler):
    """Says what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


@contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Shows what the package logs, from `level` on, as lines on stderr inside the block."""
    handler = _SayHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    logger = logging.getLogger("hsiedge")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
