"""A capture on its way through the classifier: its lines calibrated, labelled, watched, and given to the sinks."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.device import facts
from hsiedge.errors import ModelError
from hsiedge.live.buffer import Batch, LineBuffer
from hsiedge.live.sinks import Strip
from hsiedge.live.source import Capture, own_error
from hsiedge.live.watch import ClassCounts, Drift, Tiles, Watch
from hsiedge.mapping.line_classifier import LineClassifier
from hsiedge.mapping.writers import MapFacts
from hsiedge.scenes.references import calibration_for

if TYPE_CHECKING:
    from hsiedge.live.running import Run

_ROWS, _MOST_ROWS, _GAP_ROWS = 16, 64, 8


class CaptureRun:
    """A capture's way through the classifier."""

    def __init__(self, run: Run, capture: Capture) -> None:
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
            self._buffer.end(own_error(self._summary.source, error))

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
