"""A process that labels by C that was compiled into a library: `python -m bars.c_process`, behind the protocol of our runtimes.

"rows": exported C, or a loop by hand, takes rows as stored and gives labels. "strip": a generator's C takes the input of the
graph and gives logits; what lies around it is what lies around onnxruntime.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.benchmark import worker
from hsiedge.native.input_step import ReferenceTables
from hsiedge.runtimes import Model, require_card
from hsiedge.runtimes.model import RowStream, Session, TensorSpec


class _Rows:
    """Rows through C that keeps what it needs of them in memory of ours."""

    def __init__(self, library: ctypes.CDLL, width: int) -> None:
        library.c_bytes.restype = ctypes.c_size_t
        self._memory = ctypes.create_string_buffer(library.c_bytes(width))
        self._push, self._width = library.c_push, width
        if library.c_start(self._memory, ctypes.c_size_t(len(self._memory)), width):
            raise RuntimeError("the C does not start")

    def push(self, rows: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        labels = np.empty(rows.shape[:2], np.uint16)
        rows = np.ascontiguousarray(rows)
        done = self._push(ctypes.c_void_p(rows.ctypes.data), len(rows), self._width, ctypes.c_void_p(labels.ctypes.data))
        return labels[:done]

    def finish(self) -> NDArray[Any]:
        return np.empty((0, self._width), np.uint16)  # its last rows are not asked for


class CSession(Session):
    """C in a library; `shape` and `dtype` are of the graph's input where it takes strips, of which it gives `logits`."""

    provider = "compiled C"

    def __init__(self, command: dict[str, Any]) -> None:
        card = require_card(Path(command["path"]))
        self._library = ctypes.CDLL(command["library"])
        self.runtime, self.streams = str(command["title"]), command["takes"] == "rows"
        self._logits = tuple(command.get("logits", ()))
        shape = tuple(command["input"]) if not self.streams else (1, None, None, card.scene.bands)
        self.inputs = [TensorSpec("counts", shape, np.dtype(command.get("dtype", "uint8")))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        (spec,), rows = self.inputs, np.ascontiguousarray(tensors[0])
        assert (rows.shape, rows.dtype) == (spec.shape, spec.dtype)
        logits = np.empty(self._logits, np.float32)
        self._library.model(ctypes.c_void_p(rows.ctypes.data), ctypes.c_void_p(logits.ctypes.data))
        return logits

    def stream(
        self, width: int, above: int, *, logits: bool = False, references: ReferenceTables | None = None
    ) -> RowStream | None:
        return _Rows(self._library, width) if self.streams else None


def opened(command: dict[str, Any]) -> Model:
    """The C that a command names, with the Card of the graph that it was made of."""
    path = Path(command["path"])
    return Model(path, CSession(command), require_card(path))


if __name__ == "__main__":
    worker.main(opened, lambda command: None)
