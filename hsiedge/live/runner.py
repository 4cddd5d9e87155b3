"""The live run: lines of a source, calibrated and labelled as they come, to every sink."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.arguments import PathLike, path_of
from hsiedge.benchmark.warnings import OTHER_CORES, STOLEN_CORES, MeasurementWarning
from hsiedge.device import energy, facts
from hsiedge.errors import HsiedgeError, ModelError, OptionError, SourceError, needs_extra
from hsiedge.live.buffer import Batch, LineBuffer
from hsiedge.live.latency import Latencies
from hsiedge.live.sinks import Event, Sinks, Strip, drift_place, open_sink
from hsiedge.live.source import Capture, Source, SourceOptions, open_source
from hsiedge.live.summary import RunSummary
from hsiedge.live.watch import DRIFT, ClassCounts, Condition, Drift, Tiles, Watch
from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.mapping.writers import MapFacts, check_places
from hsiedge.runtimes import Model, load_for_rows
from hsiedge.scenes.references import BESIDE, References, ReferencesLike, calibration_for

if TYPE_CHECKING:
    from hsiedge.live.page import Page

BUFFER = 16 << 20
"""Bytes of lines that wait, where nobody says otherwise."""
_ROWS, _MOST_ROWS, _GAP_ROWS = 16, 64, 8
Tell = Callable[[Event], None]


@dataclass(frozen=True)
class _Settings:
    """Settings of a run that each capture needs."""

    units: str | None
    late: str
    rows: int
    buffer: int
    drift: float
    references: ReferencesLike
    conditions: tuple[Condition, ...]
    tile: int | None


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
    settings = _Settings(units, late, _rows(opened, rows), _bytes(buffer), drift, references, conditions, tile)
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
        return _Run(opened, opened_source, name, sinks, settings, on_event, shown).go()


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
    size = files.parse_size(buffer) if isinstance(buffer, str) else buffer
    if size < 1:
        raise OptionError("a size above 0 was expected", option="buffer", value=buffer)
    return size


def _open_sinks(sinks: Sinks, outputs: list[str], model: Model, source: Source, settings: _Settings) -> None:
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


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Has Ctrl-C and SIGTERM end the run in good order inside the block; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in handlers.items() if handler is not None}  # None is not Python's own

    def handle(number: int, frame: Any) -> None:
        stop.set()
        for each, handler in before.items():
            signal.signal(each, handler)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """A run, from its first line to its summary."""

    def __init__(
        self,
        model: Model,
        source: Source,
        name: str,
        sinks: Sinks,
        settings: _Settings,
        on_event: Tell | None,
        page: Page | None,
    ) -> None:
        self.model, self.source, self.sinks, self.settings, self.on_event = model, source, sinks, settings, on_event
        self.page = page
        self.classes = model.known.class_names
        self.latencies, self.stop = Latencies(), threading.Event()
        self._stems: set[str] = set()
        session = model.session
        self.summary = RunSummary(
            model.path.name, session.runtime, session.provider, name, model.known.radius, line_rate=source.line_rate
        )

    def go(self) -> RunSummary:
        """Runs it; the summary. Raises what ended it, where that is an error."""
        meter, cpu, spent = energy.find_meter(throughout=True), facts.cpu_seconds(), time.process_time()
        throttled, began = facts.throttle_state(), time.perf_counter()
        if meter is not None:
            meter.begin()
        error: HsiedgeError | None = None
        with _stopping(self.stop):
            try:
                self._captures()
            except HsiedgeError as raised:
                error = raised
        if self.stop.is_set():
            self.summary.ended = "stopped"
        elif error is not None:
            self.summary.ended = str(error)
        seconds = time.perf_counter() - began
        self._finish_summary(seconds, None if meter is None else (meter.source, meter.end(seconds)))
        self.summary.warnings += _of_load(cpu, time.process_time() - spent, seconds, throttled)
        if error is not None:
            if isinstance(error, SourceError):
                error.summary = self.summary
            raise error
        return self.summary

    def _captures(self) -> None:
        captures = self.source.captures()
        while (capture := self._next(captures)) is not None:
            run = _CaptureRun(self, capture)
            try:
                run.go()
            finally:
                self.summary.captures += 1
            if self.stop.is_set():
                return

    def _next(self, captures: Iterator[Capture]) -> Capture | None:
        """The next capture, for which a thread waits: this one looks whether it is to stop."""
        box: list[Any] = []

        def wait() -> None:
            try:
                box.append(next(captures, None))
            except Exception as error:
                box.append(error)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
            if self.stop.is_set():
                self.source.stopped.set()
        if isinstance(box[0], Exception):
            raise _own_error(self.summary.source, box[0])
        capture: Capture | None = box[0]
        return capture

    def stem_of(self, path: Path) -> str:
        """Stem of a capture's map: that of its file, or its whole name where another capture has had that stem."""
        stem = path.name if path.stem in self._stems else path.stem
        self._stems.add(stem)
        return stem

    def event(self, event: Event) -> None:
        """Sends an event, with the time, to the sinks and to who listens."""
        dated = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), **event}
        self.summary.events += 1
        self.sinks.event(dated)
        if self.on_event is not None:
            self.on_event(dated)

    def _finish_summary(self, seconds: float, metered: tuple[str, float | None] | None) -> None:
        summary = self.summary
        summary.latency_ms = self.latencies.in_ms
        summary.temperature_c = facts.temperature_c()
        source, joules = metered or ("", None)
        if joules is not None and summary.labelled:
            summary.energy = {"source": source, "joules": joules, "mj_per_line": 1e3 * joules / summary.labelled}
        if summary.dropped:
            summary.warnings.append(f"{summary.dropped:,} lines were dropped: they came faster than they were labelled")
        if summary.waited_s > 0.1 * seconds:
            share = summary.waited_s / seconds
            summary.warnings.append(f"the source had to wait {share:.0%} of the time: lines come faster than they are labelled")
        for first, last in summary.drift:
            summary.warnings.append(f"lines {first} to {last}: many values lie beyond the calibrated range; do not trust them")
        summary.written += self.sinks.written
        summary.warnings += [*self.sinks.warnings, *self.model.warnings]


class _CaptureRun:
    """A capture's way through the classifier."""

    def __init__(self, run: _Run, capture: Capture) -> None:
        self._run, self._summary, settings = run, run.summary, run.settings
        model, self._capture = run.model, capture
        quantity = model.known.scene.quantity or "counts"
        self._present: NDArray[np.bool_] | None = None  # which pixels of the lines that are pushed hold data; None for all
        size = capture.cube.shape
        stored = replace(capture.cube, valid=self._valid, shape=(max(size), size[1]))
        calibration, cube = calibration_for(stored, settings.references, quantity, capture.path)
        self._cube = cube
        self._summary.warnings += [f"{cube.path.name}: {note}" for note in cube.notes]
        if calibration is not None:
            self._summary.dead_elements += calibration.dead_elements
        self._classifier = LineClassifier(
            model, size[1], like=cube, units=settings.units, raw=True, confident=bool(settings.conditions)
        )
        self._drift = Drift(model, cube, settings.units, settings.drift)
        counts = ClassCounts(run.classes)
        self._counts, self._watches = counts, [Watch(condition, counts) for condition in settings.conditions]
        self._tiles = None if settings.tile is None else Tiles(settings.tile, cube.shape[1], counts)
        self._buffer = LineBuffer(capture.cube, settings.buffer, settings.late)
        self._arrived: deque[float] = deque()
        self._pushed = self._labelled = self._there = 0
        self._began = self._until = 0.0  # time of the first line, and of the last label
        self._told = time.perf_counter(), 0

    def go(self) -> None:
        """Labels all its lines. Raises what ended it, once all that came before is in the maps."""
        run, buffer = self._run, self._buffer
        stem = run.stem_of(self._cube.path) if run.source.several else ""
        if run.page is not None:
            run.page.show(self._cube)
        run.sinks.begin(MapFacts((1, self._cube.shape[1]), run.classes, self._cube.georeference), stem)
        feeder = threading.Thread(target=self._feed, daemon=True)
        feeder.start()
        try:
            rows = run.settings.rows
            while (batch := buffer.take(rows, max(rows, min(4 * rows, _MOST_ROWS), _ROWS))) is not None:
                self._take(batch)
                self._tell("running")
                if run.sinks.error is not None:
                    raise run.sinks.error
                if run.stop.is_set():
                    run.source.stopped.set()
                    buffer.close()
            self._finish()
        finally:
            run.source.stopped.set() if not run.source.several or run.stop.is_set() else None
            buffer.close()
            feeder.join(2)
            self._drift.end(self._labelled)
            run.sinks.end(tuple((first, last) for first, last in self._drift.marked))
            summary = self._summary
            summary.lines_in += buffer.lines_in
            summary.dropped += buffer.dropped
            summary.waited_s += buffer.waited
            summary.seconds += max(0.0, self._until - self._began)
            summary.drift += self._drift.marked
            summary.outside_range = self._drift.outside
            self._tell(str(buffer.error) if buffer.error else "stopped" if run.stop.is_set() else "ended", ended=True)
        if buffer.error is not None and not run.stop.is_set():
            raise buffer.error

    def _tell(self, state: str, *, ended: bool = False) -> None:
        """Tells the page the figures, now and then."""
        run, buffer, now = self._run, self._buffer, time.perf_counter()
        if run.page is None or not (ended or run.page.due):
            return
        rate = (self._there - self._told[1]) / max(1e-9, now - self._told[0])
        self._told = now, self._there
        latency, clock, celsius = run.latencies.in_ms, run.source.line_rate, facts.temperature_c()
        outside = self._drift.outside
        figures = [
            ("lines in", f"{buffer.lines_in:,}", False),
            ("lines labelled", f"{self._there:,}", False),
            ("lines dropped", f"{buffer.dropped:,}", buffer.dropped > 0),
            ("lines a second", f"{rate:,.0f}" + (f" of {clock:,.0f}" if clock else ""), bool(clock and rate < 0.9 * clock)),
            ("latency p50", _ms(latency["p50"]), False),
            ("latency p99", _ms(latency["p99"]), False),
            ("lines waiting", f"{buffer.waiting:,}", False),
        ]
        if outside is not None:
            figures.append(("out of range", f"{outside:.2%}", self._drift.drifts))
        if celsius is not None:
            figures.append(("temperature", f"{celsius:.0f} \u00b0C", False))
        run.page.tell(figures, state, bad=buffer.error is not None, ended=ended)

    def _feed(self) -> None:
        """Fills the buffer, in a thread of its own, until the source ends."""
        try:
            for lines in self._capture.lines:
                if not self._buffer.put(lines):
                    break
            self._buffer.end()
        except Exception as error:
            self._buffer.end(_own_error(self._summary.source, error))

    def _take(self, batch: Batch) -> None:
        if batch.dropped:
            width, bands = self._cube.shape[1], self._cube.bands
            nothing = np.zeros((min(batch.dropped, _GAP_ROWS), width, bands), self._capture.cube.dtype)
            for first in range(0, batch.dropped, _GAP_ROWS):
                count = min(_GAP_ROWS, batch.dropped - first)
                self._present = np.zeros((count, width), bool)
                self._push(nothing[:count], [np.nan] * count)
        elif len(batch.lines):
            self._began = self._began or float(batch.arrived[0])
            valid = self._capture.cube.valid
            self._present = None if valid is None else valid(self._pushed, len(batch.lines))
            for event in self._drift.take(batch.lines, self._pushed):
                self._run.event(event)
            self._push(batch.lines, batch.arrived.tolist())

    def _valid(self, first: int, count: int) -> NDArray[np.bool_]:
        """Mask of the lines that are being pushed, as of a cube."""
        return np.ones((count, self._capture.cube.shape[1]), bool) if self._present is None else self._present

    def _push(self, lines: NDArray[Any], arrived: list[float]) -> None:
        if self._run.page is not None:
            raw = self._cube.raw
            self._run.page.see(lines if raw is None else raw.reflectance(lines, self._pushed))
        self._pushed += len(lines)
        self._arrived.extend(arrived)
        self._give(self._classifier.push(lines))

    def _give(self, labels: NDArray[np.uint16]) -> None:
        """Gives labels to the sinks, and looks at them."""
        if not len(labels):
            return
        strip = Strip(self._labelled, labels, self._classifier.confidence)
        self._labelled += len(labels)
        self._run.sinks.take(strip)
        self._until = time.perf_counter()
        arrived = np.array([self._arrived.popleft() for _ in range(len(labels))])
        there = ~np.isnan(arrived)
        self._run.latencies.add(self._until - arrived[there])
        self._there += int(there.sum())
        self._summary.labelled += int(there.sum())
        self._summary.pixels += int(there.sum()) * labels.shape[1]
        if self._watches:
            counted = self._counts.of(strip)
            for watch in self._watches:
                for event in watch.take(strip, counted):
                    self._run.event(event)
        if self._tiles is not None:
            for event in self._tiles.take(strip):
                self._run.event(event)

    def _finish(self) -> None:
        """Labels the last lines, reflected at the end of the map."""
        if not self._pushed and (self._buffer.error is not None or self._run.stop.is_set()):
            return
        try:
            self._give(self._classifier.finish())
        except ModelError:
            if self._buffer.error is None and not self._run.stop.is_set():
                raise
        if self._tiles is not None:
            for event in self._tiles.end():
                self._run.event(event)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms"


def _own_error(source: str, error: Exception) -> HsiedgeError:
    """An error of ours for whatever a source raised."""
    if isinstance(error, HsiedgeError):
        return error
    reason = next(iter(str(error).splitlines()), "")
    return SourceError(f"{source}: failed ({type(error).__name__}{': ' if reason else ''}{reason})")


def _of_load(before: facts.CpuSeconds | None, ours: float, seconds: float, throttled: facts.Throttle | None) -> list[str]:
    """Warnings of what else kept the processor busy, or held it back."""
    after, lines = facts.cpu_seconds(), []
    if before is not None and after is not None and seconds > 0:
        others, stolen = (after.busy - before.busy - ours) / seconds, (after.stolen - before.stolen) / seconds
        if others >= OTHER_CORES:
            lines.append(MeasurementWarning.OTHERS.say(cores=others))
        if stolen >= STOLEN_CORES:
            lines.append(MeasurementWarning.STOLEN.say(cores=stolen))
    state = facts.throttle_state()
    if throttled is not None and state is not None and (reasons := state.since(throttled)):
        lines.append(MeasurementWarning.HELD_BACK.say(why=", ".join(reasons)))
    return lines
