"""PyTorch, eager and compiled: the graph as torch.export keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bars.peer import Asked
from hsiedge.runtimes import Session, TensorSpec


class TorchSession(Session):
    """One thread, no gradients."""

    provider = "CPU"

    def __init__(self, asked: Asked) -> None:
        torch.set_num_threads(1)
        module = torch.export.load(asked.exported).module()
        self._module = torch.compile(module) if asked.compiled else module
        self.runtime = f"torch {torch.__version__}, {'compiled' if asked.compiled else 'eager'}"
        self.inputs = [TensorSpec("counts", asked.shape, np.dtype(np.uint16))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        with torch.inference_mode():
            output: NDArray[Any] = self._module(torch.from_numpy(tensors[0].astype(np.float32))).numpy()
        return output


def prepare(asked: Asked) -> None:
    """Runs once where it compiles: torch.compile keeps what it made in a cache of its own."""
    if asked.compiled:
        TorchSession(asked).run([np.zeros(asked.shape, np.uint16)])


open_session = TorchSession
