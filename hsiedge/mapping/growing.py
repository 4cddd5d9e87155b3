"""Growing map: an ENVI classification that can be opened while it is written, up to its last whole row.

Rows are written first, and then the number of them into the header, in its place, where room was kept for its digits: a
process that is killed between the two leaves a map that is one push shorter, and whole.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OutputError
from hsiedge.mapping.writers import MapFacts, drift_lines, envi_files, envi_header

_DIGITS = 12


class GrowingMap:
    """Label map that grows by rows; its files are made with the first of them, over what lay there before.

    Args:
        path: its header, .hdr, or its data, .img.
        facts: of the map; their height is of no account.
    """

    def __init__(self, path: Path, facts: MapFacts) -> None:
        self.header, self.data = envi_files(path)
        self.lines = 0
        self._facts = facts
        self._files: list[int] = []

    def take(self, rows: NDArray[Any]) -> None:
        """Appends rows `(n, width)` of label ids. Raises OutputError where they cannot be written."""
        if not len(rows):
            return
        try:
            begun = bool(self._files)
            if not begun:
                self._open()
            _write_all(self._files[0], np.ascontiguousarray(rows, self._facts.dtype.newbyteorder("<")).tobytes())
            self.lines += len(rows)
            if begun:
                os.pwrite(self._files[1], b"%0*d" % (_DIGITS, self.lines), self._place)
            else:
                self._write_header()
        except OSError as error:
            raise OutputError(f"cannot write {self.data}: {error.strerror}") from error

    def close(self, drift: tuple[tuple[int, int], ...] = ()) -> None:
        """Brings the map to the disk; with `drift`, its header names these lines. Raises OutputError where the disk is full."""
        files, self._files = self._files, []
        try:
            if files and drift:
                os.lseek(files[1], 0, os.SEEK_END)
                _write_all(files[1], f"drift lines = {{{drift_lines(drift)}}}\n".encode())
            for file in files:
                os.fsync(file)
        except OSError as error:
            raise OutputError(f"cannot write {self.data}: {error.strerror}") from error
        finally:
            for file in files:
                os.close(file)

    def _open(self) -> None:
        self.data.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.header, self.data):  # of an older map, which another program may have open
            path.unlink(missing_ok=True)
        for path in (self.data, self.header):
            self._files.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))

    def _write_header(self) -> None:
        text = envi_header(replace(self._facts, shape=(self.lines, self._facts.shape[1])))
        before, _, after = text.partition(f"\nlines = {self.lines}\n")
        start = f"{before}\nlines = ".encode()
        self._place = len(start)
        _write_all(self._files[1], start + b"%0*d" % (_DIGITS, self.lines) + f"\n{after}".encode())


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
