"""Opening of a live run: `run` opens the model, the source and the sinks, checks all of them, and lets the lines come."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from hsiedge import files
from hsiedge.arguments import PathLike, path_of
from hsiedge.errors import OptionError, needs_extra
from hsiedge.live.running import Run, Settings, Tell
from hsiedge.live.sinks import Sinks, drift_place, open_sink
from hsiedge.live.source import Source, SourceOptions, open_source
from hsiedge.live.summary import RunSummary
from hsiedge.live.watch import DRIFT, Condition
from hsiedge.mapping.writers import check_places
from hsiedge.runtimes import Model, load_for_rows
from hsiedge.scenes.references import BESIDE, References, ReferencesLike

if TYPE_CHECKING:
    from hsiedge.live.page import Page

BUFFER = 16 << 20
"""Bytes of lines that wait, where nobody says otherwise."""
_ROWS = 16


def run(
    model: Model | PathLike,
    source: Source | str,
    output: str | PathLike | Sequence[str | PathLike] = (),
    *,
    columns: int | None = None,
    bands: int | None = None,
    dtype: str = "uint16",
    interleave: str = "bil",
    idle: float = 10.0,
    line_rate: float | None = None,
    cube_key: str | None = None,
    references: ReferencesLike = BESIDE,
    units: str | None = None,
    late: str = "wait",
    rows: int | None = None,
    buffer: int | str = BUFFER,
    drift: float = DRIFT,
    watch: str | Sequence[str] = (),
    tile: int | None = None,
    page: int | str | None = None,
    page_token: str | None = None,
    on_event: Tell | None = None,
    on_page: Callable[[str], None] | None = None,
) -> RunSummary:
    """Labels the lines of a camera as they come, until the source ends, or at Ctrl-C or SIGTERM.

    Args:
        model: a model with a Card, or its file.
        source: "-", "tcp://HOST:PORT", "tcp-listen://[HOST:]PORT", "replay:CUBE@RATE", an ENVI file that grows, a folder in
            which captures appear, "FILE.py:NAME", or a Source of your own.
        output: sinks: a map's file (.hdr grows, and is valid at any moment; .tif, .png, .npy at the end), "-" for label lines
            on stdout, "tcp://HOST:PORT", or FILE.jsonl for events; a folder of maps where the source is one.
        columns, bands, dtype, interleave: of raw lines, as in `hsiedge.live.source.SourceOptions`.
        idle: seconds without a new line after which the source counts as ended.
        line_rate: lines a second that the camera delivers; the summary compares the rate reached with it.
        cube_key: variable of a cube in a file that may have several.
        references: dark and white reference, "beside" for those that lie beside a capture, None for none.
        units: "stored" or "physical", as for `classify`.
        late: "wait": lines that come while the buffer is full wait; "drop": they are dropped, and are no data in the map.
        rows: lines that are labelled at a time, where the model keeps up; by default 1 in the native engine and 16 in others,
            which compute what surrounds a push again with each.
        buffer: memory for lines that wait to be labelled, in bytes or as "16MiB".
        drift: share of values at the ends of the calibrated range, of 100 lines, above which they are marked.
        watch: conditions, "water > 20 % of 100 lines": an event where one begins to hold, and where it ends.
        tile: side in pixels of tiles whose class shares are events.
        page: [HOST:]PORT of a live page; without a host, for this machine alone.
        page_token: that the page asks of its clients, where a host is named; 16 characters or more.
        on_event: called with each event, in this thread.
        on_page: called with the page's address, without the token, once it is there.

    Raises:
        SourceError: the source cannot be opened, stalls, ends within a line or gives nonsense. What came before is in the maps,
            and its `summary` is that of the run.
        ModelError: lines that do not fit the model, or fewer than its patch is high.
        OptionError: an argument outside of what can be done.
        OutputError: a sink that cannot be opened; the last of them failed.
        SceneError: references or a cube that cannot be read, or do not fit.
        MissingExtraError: the page's package, or that of a map's format, is not installed.
    """
    opened = model if isinstance(model, Model) else load_for_rows(path_of(model, "model"))
    classes = opened.known.class_names
    conditions = tuple(Condition.parse(text, classes) for text in ([watch] if isinstance(watch, str) else watch))
    settings = Settings(units, late, _rows(opened, rows), _bytes(buffer), drift, references, conditions, tile)
    options = SourceOptions(columns, bands, dtype, interleave, idle, line_rate, cube_key)
    outputs = [output] if isinstance(output, (str, os.PathLike)) else list(output)
    with ExitStack() as stack:
        opened_source = source if isinstance(source, Source) else open_source(source, options)
        stack.callback(opened_source.close)
        sinks = Sinks()
        stack.callback(sinks.close)
        _open_sinks(sinks, [os.fspath(entry) for entry in outputs], opened, opened_source, settings)
        if tile is not None and not sinks.keep_events and on_event is None:
            raise OptionError("class shares of tiles are written as events", option="tile", use={"output": "FILE.jsonl"})
        name = _name_of(source)
        shown = None if page is None else _open_page(page, f"{opened.path.name}, {name}", classes, page_token)
        if shown is not None:
            sinks.add(shown)
            if on_page is not None:
                on_page(shown.address)
        return Run(opened, opened_source, name, sinks, settings, on_event, shown).go()


def _name_of(source: Source | str) -> str:
    if isinstance(source, Source):
        return source.title or type(source).__name__
    return "stdin" if source == "-" else source


def _open_page(place: int | str, title: str, classes: dict[int, str], token: str | None) -> Page:
    with needs_extra("the live page", "live"):
        from hsiedge.live.page import Page
    return Page(str(place), title, classes, token)


def _rows(model: Model, rows: int | None) -> int:
    if rows is None:
        return 1 if model.streams else _ROWS  # the native engine keeps what it has computed of earlier rows
    if not 1 <= rows <= 4096:
        raise OptionError("1 to 4096 was expected", option="rows", value=rows)
    return rows


def _bytes(buffer: int | str) -> int:
    size = files.parse_size(buffer, "buffer") if isinstance(buffer, str) else buffer
    if size < 1:
        raise OptionError("a size above 0 was expected", option="buffer", value=buffer)
    return size


def _open_sinks(sinks: Sinks, outputs: list[str], model: Model, source: Source, settings: Settings) -> None:
    """Opens each output. Raises OptionError and OutputError, before a line is read."""
    places = [Path(text) for text in outputs if text != "-" and not text.startswith("tcp://")]
    references = settings.references
    read = [model.path, *((references.dark, references.white) if isinstance(references, References) else ())]
    if source.several and any(place.resolve() == Path(source.address).resolve() for place in places):
        raise OptionError("maps would lie among the captures, and be taken for some: name another folder", option="output")
    if Path(source.address).is_file():
        read.append(Path(source.address))
    maps = [place for place in places if place.suffix]
    check_places([*maps, *(drift_place(place) for place in maps if place.suffix.lower() != ".jsonl")], read)
    for text in outputs:
        sinks.add(open_sink(text, source.several))
