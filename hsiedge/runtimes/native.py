"""The native engine behind the protocol: INT8 scene graphs of ONNX files, streamed row by row by kernels of our own.

A file's graph is data: it becomes a program of layers, which the library checks; nothing of it is compiled or executed. Labels
are those of onnxruntime, to the bit, on every processor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.native.input_step import ReferenceTables
from hsiedge.native.library import Network, Stream
from hsiedge.runtimes.model import RowStream, Session, TensorSpec
from hsiedge.runtimes.native_graph import Lowered, lower

_NARROWEST = 48  # columns of a thread: of fewer, more than a quarter would be halo
_SMALLEST = 1 << 21  # multiply-accumulates of a push that are worth waking a second thread


class NativeSession(Session):
    """An INT8 scene graph in the native engine.

    Args:
        path: the ONNX file.
        threads: parts that columns are split into; 0 for one a physical core.

    Raises:
        UnsupportedNodeError: a graph of other than integers, or with a node that the engine does not compute; it is named.
        LibraryMissingError: the library was not built.
        CardError: the file has no Card.
    """

    streams = takes_raw_rows = True

    def __init__(self, path: Path, threads: int = 0) -> None:
        from hsiedge import __version__
        from hsiedge.runtimes import require_card

        card = require_card(path)
        self._lowered = lower(path, card)
        self._network = Network(self._lowered.program)
        self._path, self._card, self._radius = path, card, card.radius
        self._threads = threads or psutil.cpu_count(logical=False) or 1
        self.runtime, self.provider = f"hsiedge native {__version__}", self._network.kernels
        integers = np.dtype(np.int8 if self._lowered.program.input.signed else np.uint8)
        self.inputs = [TensorSpec("counts", (1, None, None, card.scene.bands), integers)]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Logits `(1, classes, h, w)` of integers `(1, h + 2 radius, w + 2 radius, bands)`."""
        (rows,) = tensors[0]
        radius = self._radius
        if min(rows.shape[:2]) <= 2 * radius:
            raise ModelError(f"{self._path}: {rows.shape[0]} x {rows.shape[1]} pixels are all halo")
        stream = Stream(self._network, rows.shape[1] - 2 * radius, left=radius, right=radius, above=0)
        return self._lowered.logits(stream.push(rows, values=True)).transpose(2, 0, 1)[None]

    def stream(self, width: int, above: int, *, logits: bool = False, references: ReferenceTables | None = None) -> RowStream:
        """A stream of rows as the sensor stores them; raw ones where there are references."""
        columns = _Columns(*self._rows, width, above, self._threads, logits, references)
        return columns.alone or columns

    @cached_property
    def _rows(self) -> tuple[Lowered, Network]:
        """Program for rows as the sensor stores them, packed when they first come; the file need not be there any more."""
        lowered = self._lowered.for_rows(self._card, np.dtype(self._card.scene.dtype))
        return lowered, Network(lowered.program)


class _Columns:
    """A scene's columns, split between threads, each with its halo."""

    def __init__(
        self,
        lowered: Lowered,
        network: Network,
        width: int,
        above: int,
        threads: int,
        logits: bool,
        references: ReferenceTables | None,
    ) -> None:
        radius = lowered.program.radius
        parts = max(1, min(threads, width // max(_NARROWEST, 4 * radius)))
        edges = [width * i // parts for i in range(parts + 1)]
        self._inner = [slice(max(0, a - radius), min(width, b + radius)) for a, b in pairwise(edges)]
        self._streams = [
            Stream(
                network,
                b - a,
                left=a - inner.start,
                right=inner.stop - b,
                above=above,
                references=None if references is None else references.part(inner),
            )
            for a, b, inner in zip(edges[:-1], edges[1:], self._inner)
        ]
        self._lowered, self._work = lowered, width * lowered.program.macs
        self._values = logits
        self._pool = ThreadPoolExecutor(parts - 1, "hsiedge-native") if parts > 1 else None

    @property
    def alone(self) -> Stream | None:
        """The one stream, where it gives labels and no other works beside it: a push of a row is too short for another call."""
        return self._streams[0] if self._pool is None and not self._values else None

    def push(self, rows: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """See `RowStream`."""
        pieces = [(rows[:, inner], None if empty is None else empty[:, inner]) for inner in self._inner]
        return self._joined(len(rows), [partial(s.push, *p, values=self._values) for s, p in zip(self._streams, pieces)])

    def finish(self) -> NDArray[Any]:
        """See `RowStream`."""
        return self._joined(1, [partial(s.finish, values=self._values) for s in self._streams])

    def _joined(self, rows: int, tasks: list[Callable[[], NDArray[Any]]]) -> NDArray[Any]:
        if self._pool is None or rows * self._work < _SMALLEST:
            done = [task() for task in tasks]
        else:
            others = [self._pool.submit(task) for task in tasks[1:]]
            done = [tasks[0](), *(other.result() for other in others)]
        whole = done[0] if len(done) == 1 else np.concatenate(done, axis=1)
        return self._lowered.logits(whole).transpose(2, 0, 1) if self._values else whole

    def __del__(self) -> None:
        pool = getattr(self, "_pool", None)
        if pool is not None:
            pool.shutdown(wait=False)


open_session = NativeSession
