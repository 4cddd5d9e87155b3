"""LiteRT behind the protocol: TFLite files, on XNNPACK's kernels where it has them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.runtimes.model import Session, TensorSpec


class LitertSession(Session):
    """A TFLite file in LiteRT, on the CPU.

    Args:
        path: the model file.
        threads: 0 for one a physical core.

    Raises:
        ModelError: LiteRT does not load it.
    """

    provider = "XNNPACK"

    def __init__(self, path: Path, threads: int = 0) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.runtime = f"LiteRT {metadata.version('ai-edge-litert')}"
        self._path = path
        try:
            with unsaid():
                self._interpreter = Interpreter(str(path), num_threads=threads or psutil.cpu_count(logical=False) or 1)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: {self.runtime} does not load it: {_first_line(error)}") from error
        self._inputs, self._outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._shapes = [tuple(entry["shape"]) for entry in self._inputs]
        self.inputs = [_spec(entry) for entry in self._inputs]

    @property
    def scales(self) -> list[tuple[float, int]]:
        """Scale and zero point of each input; (0, 0) of one that is not integer."""
        return [(float(scale), int(zero_point)) for scale, zero_point in (entry["quantization"] for entry in self._inputs)]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output. Raises ModelError where the tensors do not fit the graph."""
        interpreter = self._interpreter
        try:
            shapes = [tensor.shape for tensor in tensors]
            if shapes != self._shapes:
                for entry, shape in zip(self._inputs, shapes):
                    interpreter.resize_tensor_input(entry["index"], shape, strict=True)
                with unsaid():
                    interpreter.allocate_tensors()
                self._shapes = shapes
            for entry, tensor in zip(self._inputs, tensors):
                interpreter.set_tensor(entry["index"], tensor.astype(entry["dtype"], copy=False))
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            self._shapes = []
            raise ModelError(f"LiteRT could not run {self._path}: {_first_line(error)}") from error
        output: NDArray[Any] = interpreter.get_tensor(self._outputs[0]["index"])
        return output

    def values(self, output: NDArray[Any]) -> NDArray[Any]:
        """Values that integers stand for, float32; other outputs as they are."""
        scale, zero_point = self._outputs[0]["quantization"]
        if not scale or output.dtype.kind not in "iu":
            return output
        values = output.astype(np.float32)
        values -= np.float32(zero_point)
        values *= np.float32(scale)
        return values


open_session = LitertSession


def _spec(entry: dict[str, Any]) -> TensorSpec:
    shape = tuple(int(size) if size >= 0 else None for size in entry["shape_signature"])
    return TensorSpec(entry["name"], shape, np.dtype(entry["dtype"]))


@contextmanager
def unsaid() -> Iterator[None]:
    """Keeps from the user's terminal what LiteRT and TensorFlow say there past Python: of delegates, processors and cards."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
