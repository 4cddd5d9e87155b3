"""Sinks of labels: growing maps, maps at the end, label lines on stdout or to a host, events as lines of JSON."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.errors import HsiedgeError, OptionError, OutputError
from hsiedge.live.raw import host_and_port
from hsiedge.mapping.growing import GrowingMap
from hsiedge.mapping.writers import MapFacts, check_suffix, envi_files, files_of, writer

_SEND_SECONDS = 10.0  # that a host may take to accept labels
_COPIED_ROWS = 256
Event = Mapping[str, Any]
Drifts = tuple[tuple[int, int], ...]
"""First and last line of each stretch whose values lie beyond the calibrated range."""
_DRIFT_CLASS = {1: "beyond the calibrated range"}


@dataclass(frozen=True)
class Strip:
    """Labels of some lines.

    Attributes:
        first: number of the first line, from 0.
        labels: uint16 `(n, width)`, 0 where there is no data.
        confidence: probability of each label, float32 `(n, width)`; None where it is not asked for, or the engine has none.
    """

    first: int
    labels: NDArray[np.uint16]
    confidence: NDArray[np.float32] | None = None


class Sink:
    """A place where labels go. Every method may raise OutputError; the run then goes on without it.

    Attributes:
        title: what it is called.
    """

    title = ""

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Begins a map; `stem` is the name of its capture, "" where a source has but one. Its height is not known yet."""

    def take(self, strip: Strip) -> None:
        """Takes the next labels."""

    def event(self, event: Event) -> None:
        """Takes an event, as plain data."""

    def end(self, drift: Drifts = ()) -> list[Path]:
        """Ends the map, whose lines in `drift` are not to be trusted; the files that it left."""
        return []

    def close(self) -> None:
        """Lets go of what is held; called once."""


def drift_place(path: Path) -> Path:
    """Place of the map that marks a map's lines whose values lie beyond the calibrated range: NAME-drift beside NAME."""
    return path.with_name(f"{path.stem}-drift{path.suffix}")


class MapSink(Sink):
    """A map file: one that grows (.hdr, .img), or one that is written when all lines are known.

    Lines that are not to be trusted keep their labels. A second map in the same place and format marks them with 1, so that it
    can be laid over the first; ENVI headers and GeoTIFFs also name them, as "drift lines".

    Args:
        path: the file; or a folder of maps, NAME-map.FORMAT, for a source of several captures.
    """

    def __init__(self, path: Path, format_: str | None = None) -> None:
        self.title = str(path)
        self._path, self._format = path, format_
        self._place, self._facts = path, MapFacts((0, 0), {}, None)
        self._growing: GrowingMap | None = None
        self._spool: BinaryIO | None = None
        self._lines = 0

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Begins a map, at its place or in the folder. Raises OutputError, OptionError, MissingExtraError."""
        self._place = self._path / f"{stem}-map.{self._format}" if self._format is not None else self._path
        self._facts, self._lines = facts, 0
        files.check_writable(self._place)
        if self._place.suffix.lower() in (".hdr", ".img"):
            self._growing = GrowingMap(self._place, facts)
            return
        _try_writer(self._place, facts)
        self._place.parent.mkdir(parents=True, exist_ok=True)
        self._spool = tempfile.TemporaryFile(dir=self._place.parent)  # noqa: SIM115 - it has no name, and dies with the process

    def take(self, strip: Strip) -> None:
        """Appends lines. Raises OutputError where the disk is full."""
        if self._growing is not None and not self._lines:
            self._forget_drift()
        self._lines += len(strip.labels)
        if self._growing is not None:
            self._growing.take(strip.labels)
        elif self._spool is not None:
            try:
                self._spool.write(strip.labels.astype(self._facts.dtype).tobytes())
            except OSError as error:
                raise OutputError(f"cannot write {self._place}: {error.strerror}") from error

    def end(self, drift: Drifts = ()) -> list[Path]:
        """Closes a growing map, or writes the other; the files that there are. Raises OutputError."""
        growing, spool = self._growing, self._spool
        self._growing = self._spool = None
        drift = tuple((first, min(last, self._lines - 1)) for first, last in drift if first < self._lines)
        if growing is not None:
            growing.close(drift)
            written = [growing.header, growing.data] if growing.lines else []
        elif spool is None:
            return []
        else:
            try:
                if not self._lines:
                    return []
                self._copy(spool, drift)
            finally:
                with suppress(OSError):
                    spool.close()
            written = [self._place]
        return written + (self._mark(drift) if written else [])

    def _mark(self, drift: Drifts) -> list[Path]:
        """Writes the map of marked lines; takes away that of an older map where there are none."""
        if not drift:
            self._forget_drift()
            return []
        place, width = drift_place(self._place), self._facts.shape[1]
        facts = MapFacts((self._lines, width), _DRIFT_CLASS, self._facts.georeference)
        with writer(place, facts) as take:
            for first in range(0, self._lines, _COPIED_ROWS):
                lines = np.arange(first, min(first + _COPIED_ROWS, self._lines))
                marked = np.any([(lines >= begin) & (lines <= last) for begin, last in drift], axis=0)
                take(np.broadcast_to(marked[:, None], (len(lines), width)).astype(facts.dtype))
        return list(envi_files(place)) if self._place.suffix.lower() in (".hdr", ".img") else [place]

    def _forget_drift(self) -> None:
        for path in files_of(drift_place(self._place)):
            path.unlink(missing_ok=True)

    def _copy(self, spool: BinaryIO, drift: Drifts) -> None:
        width, dtype = self._facts.shape[1], self._facts.dtype
        try:
            spool.seek(0)  # what is buffered is written here
        except OSError as error:
            raise OutputError(f"cannot write {self._place}: {error.strerror}") from error
        with writer(self._place, replace(self._facts, shape=(self._lines, width), drift=drift)) as take:
            for first in range(0, self._lines, _COPIED_ROWS):
                count = min(_COPIED_ROWS, self._lines - first) * width
                take(np.frombuffer(spool.read(count * dtype.itemsize), dtype, count).reshape(-1, width))

    def close(self) -> None:
        """Lets go of a map that was not ended."""
        if self._growing is not None:
            self._growing.close()
        if self._spool is not None:
            self._spool.close()


def _try_writer(path: Path, facts: MapFacts) -> None:
    """Writes a map of one line elsewhere: what keeps it from being written is known before the flight, not after it."""
    with files.temporary_folder() as folder, writer(folder / path.name, replace(facts, shape=(1, facts.shape[1]))) as take:
        take(np.zeros((1, facts.shape[1]), facts.dtype))


class Lines(Sink):
    """Label lines as raw bytes, little-endian, a byte a pixel, or two where an id is above 255; on stdout."""

    title = "-"

    def __init__(self) -> None:
        self._dtype = np.dtype(np.uint8)

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Begins a map: tells how many bytes a label has."""
        self._dtype = facts.dtype.newbyteorder("<")

    def take(self, strip: Strip) -> None:
        """Writes the lines at once. Raises OutputError where nobody reads them any more."""
        try:
            self._write(strip.labels.astype(self._dtype).tobytes())
        except OSError as error:
            raise OutputError(f"{self.title}: {error.strerror or error}") from error

    def _write(self, data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class TcpLines(Lines):
    """Label lines to a host that listens; one that accepts nothing for ten seconds is given up."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.title = f"tcp://{address}"
        try:
            self._socket = socket.create_connection(host_and_port(address), _SEND_SECONDS)
        except OSError as error:
            raise OutputError(f"{self.title}: cannot be connected to ({error.strerror or error})") from error

    def _write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        """Closes the connection."""
        self._socket.close()


class Events(Sink):
    """Events as lines of JSON, each written as it happens; the file is made as the first map begins."""

    def __init__(self, path: Path) -> None:
        self.title = str(path)
        files.check_writable(path)
        self._path = path
        self._file: TextIO | None = None

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Makes the file, once. Raises OutputError."""
        if self._file is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", buffering=1)
            except OSError as error:
                raise OutputError(f"cannot write {self._path}: {error.strerror}") from error

    def event(self, event: Event) -> None:
        """Writes a line. Raises OutputError where the disk is full."""
        assert self._file is not None
        try:
            self._file.write(json.dumps(event, allow_nan=False) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def open_sink(text: str, several: bool) -> Sink:
    """The sink that a text names: "-", tcp://HOST:PORT, FILE.jsonl, a map's file; for several captures a folder of maps.

    Raises:
        OptionError: no such format; one file for several maps, or a folder for one.
        OutputError: it cannot be written, or connected to.
    """
    if text == "-":
        return Lines()
    if text.startswith("tcp://"):
        return TcpLines(text.removeprefix("tcp://"))
    path = Path(text)
    if path.suffix.lower() == ".jsonl":
        return Events(path)
    folder = path.is_dir() or not path.suffix
    if folder != several:
        wanted = "each capture is a map of its own: name a folder" if several else "one map: name its file"
        raise OptionError(wanted, option="output", value=text)
    if not folder:
        check_suffix(path)
        files.check_writable(path)
    return MapSink(path, "hdr" if folder else None)


class Sinks:
    """All sinks of a run. One that fails is left out from then on, and said; the last one's failure is the run's.

    Attributes:
        warnings: a line for each that failed.
        written: files of maps that are whole.
    """

    def __init__(self) -> None:
        self._sinks: list[Sink] = []
        self.warnings: list[str] = []
        self.written: list[Path] = []
        self.error: HsiedgeError | None = None

    def add(self, sink: Sink) -> None:
        """Adds one."""
        self._sinks.append(sink)

    @property
    def keep_events(self) -> bool:
        """Whether events go to a file."""
        return any(isinstance(sink, Events) for sink in self._sinks)

    def begin(self, facts: MapFacts, stem: str) -> None:
        """Begins a map in each. Raises what keeps one from it: nothing has flown yet."""
        for sink in self._sinks:
            sink.begin(facts, stem)

    def take(self, strip: Strip) -> None:
        """Gives labels to each."""
        for sink in list(self._sinks):
            try:
                sink.take(strip)
            except HsiedgeError as error:
                self._leave_out(sink, error)

    def event(self, event: Event) -> None:
        """Gives an event to each."""
        for sink in list(self._sinks):
            try:
                sink.event(event)
            except HsiedgeError as error:
                self._leave_out(sink, error)

    def end(self, drift: Drifts = ()) -> None:
        """Ends the map of each."""
        for sink in list(self._sinks):
            try:
                self.written += sink.end(drift)
            except HsiedgeError as error:
                self._leave_out(sink, error)

    def close(self) -> None:
        """Closes all."""
        for sink in self._sinks:
            sink.close()
        self._sinks = []

    def _leave_out(self, sink: Sink, error: HsiedgeError) -> None:
        self._sinks.remove(sink)
        with suppress(HsiedgeError, OSError):  # what it could keep is kept
            sink.close()
        self.warnings.append(f"{error}; the run went on without {sink.title}")
        if not self._sinks:
            self.error = error
