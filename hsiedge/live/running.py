"""A live run under way: its captures one after the other, until the source ends or a signal stops it, and its summary."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsiedge.benchmark.warnings import OTHER_CORES, STOLEN_CORES, MeasurementWarning
from hsiedge.device import energy, facts
from hsiedge.errors import HsiedgeError, SourceError
from hsiedge.live.capture_run import CaptureRun
from hsiedge.live.latency import Latencies
from hsiedge.live.sinks import Event, Sinks
from hsiedge.live.source import Capture, Source, own_error
from hsiedge.live.summary import RunSummary
from hsiedge.live.watch import Condition
from hsiedge.runtimes import Model
from hsiedge.scenes.references import ReferencesLike

if TYPE_CHECKING:
    from hsiedge.live.page import Page

Tell = Callable[[Event], None]


@dataclass(frozen=True)
class Settings:
    """Settings of a run that each capture needs."""

    units: str | None
    late: str
    rows: int
    buffer: int
    drift: float
    references: ReferencesLike
    conditions: tuple[Condition, ...]
    tile: int | None


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


class Run:
    """A run, from its first line to its summary."""

    def __init__(
        self,
        model: Model,
        source: Source,
        name: str,
        sinks: Sinks,
        settings: Settings,
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
        try:
            with _stopping(self.stop):
                self._captures()
        except HsiedgeError as raised:
            error = raised
        finally:  # whatever ends it, the meter's thread ends with it
            seconds = time.perf_counter() - began
            used = None if meter is None else (meter.source, meter.end(seconds))
        if self.stop.is_set():
            self.summary.ended = "stopped"
        elif error is not None:
            self.summary.ended = str(error)
        self._finish_summary(seconds, used)
        self.summary.warnings += _of_load(cpu, time.process_time() - spent, seconds, throttled)
        if error is not None:
            if isinstance(error, SourceError):
                error.summary = self.summary
            raise error
        return self.summary

    def _captures(self) -> None:
        captures = self.source.captures()
        while (capture := self._next(captures)) is not None:
            run = CaptureRun(self, capture)
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
            raise own_error(self.summary.source, box[0])
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
