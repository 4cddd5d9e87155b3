"""TFLite Micro behind the protocol: TFLite files as a microcontroller computes them, on an x86 host, and the arena they take.

Its kernels trust their file, which is compiled into a firmware as a rule: here LiteRT looks at it first.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray
from tflite_micro.python.tflite_micro.runtime import Interpreter as MicroInterpreter

from hsiedge.errors import ModelError
from hsiedge.runtimes.litert import unsaid
from hsiedge.runtimes.model import Session, TensorSpec
from hsiedge.runtimes.tflite_file import graph_of

_LEAST_ARENA, _MOST_ARENA = 1 << 16, 1 << 30  # bytes
_TOO_SMALL = re.compile(r"Requested: \d+, available|too small|Failed to allocate")
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")


class TflmSession(Session):
    """A TFLite file in TFLite Micro, on one thread; its inputs are taken one after another.

    Args:
        path: the model file.
        threads: not used; there is one.

    Attributes:
        arena_bytes: memory that the interpreter takes for tensors and its own records, as it counts them itself.

    Raises:
        ModelError: LiteRT or TFLite Micro does not load it, or it takes an arena of more than 1 GiB.
    """

    provider = "reference kernels"

    def __init__(self, path: Path, threads: int = 0) -> None:
        self.runtime = f"TFLite Micro {metadata.version('tflite-micro')}"
        self._path = path
        graph = graph_of(path)
        self._verify(graph)
        self._interpreter, self.arena_bytes = self._opened(graph)
        self._input, self._output = self._interpreter.get_input_details(0), self._interpreter.get_output_details(0)
        batch, *shape = (int(size) for size in self._input["shape"])
        self._batch = batch
        free = None if batch == 1 else batch
        self.inputs = [TensorSpec("input", (free, *shape), np.dtype(self._input["dtype"]))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output. Raises ModelError where the tensors do not fit the graph."""
        (tensor,) = tensors
        rows = tensor.astype(self._input["dtype"], copy=False)
        outputs = []
        try:
            with _stderr() as lines:
                for first in range(0, len(rows), self._batch):
                    self._interpreter.set_input(rows[first : first + self._batch], 0)
                    self._interpreter.invoke()
                    outputs.append(self._interpreter.get_output(0))
            return np.concatenate(outputs)
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"TFLite Micro could not run {self._path}: {_line(lines, error)}") from error

    def values(self, output: NDArray[Any]) -> NDArray[Any]:
        """Values that integers stand for, float32; other outputs as they are."""
        affine = self._output["quantization_parameters"]
        if not len(affine["scales"]) or output.dtype.kind not in "iu":
            return output
        values: NDArray[np.float32] = (output.astype(np.float32) - np.float32(affine["zero_points"][0])) * affine["scales"][0]
        return values

    def _verify(self, graph: bytes) -> None:
        try:
            with unsaid():
                Interpreter(
                    model_content=graph, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                ).allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self._path}: LiteRT, which looks at it first, does not load it: {str(error)[:200]}") from error

    def _opened(self, graph: bytes) -> tuple[Any, int]:
        """An interpreter in the smallest arena of a power of two, and what it takes of it in bytes."""
        arena = _LEAST_ARENA
        while arena <= _MOST_ARENA:
            try:
                with _stderr() as lines:
                    interpreter = MicroInterpreter.from_bytes(graph, arena_size=arena)
                    interpreter.print_allocations()
                return interpreter, next(int(total[1]) for total in map(_TOTAL.search, lines) if total)
            except RuntimeError as error:
                if not any(map(_TOO_SMALL.search, lines)):
                    raise ModelError(f"{self._path}: {self.runtime} does not load it: {_line(lines, error)}") from error
            arena *= 2
        raise ModelError(f"{self._path}: takes an arena of more than {_MOST_ARENA >> 30} GiB in {self.runtime}")


open_session = TflmSession


@contextmanager
def _stderr() -> Iterator[list[str]]:
    """Keeps from the user's terminal what is written there past Python: its lines, once the block has ended."""
    lines: list[str] = []
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def _line(lines: Sequence[str], error: Exception) -> str:
    """The first of the lines, else the error itself."""
    return [*lines, str(error)][0][:200]
