"""A runtime with a file format of its own: one linear layer on the spectrum of a pixel, and the Card, in an .npz."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.runtimes import Engine, Session, TensorSpec

SUFFIX = ".linear"


class LinearSession(Session):
    """Weights `(bands, classes)` and biases, on patches `(N, bands, 1, 1)` in the dtype that the file names."""

    provider = "numpy"
    runtime = "example linear 1.0"

    def __init__(self, path: Path, threads: int = 0) -> None:
        arrays = _read(path)
        self._weights, self._biases, dtype = arrays["weights"], arrays["biases"], str(arrays["dtype"])
        self.inputs = [TensorSpec("counts", (None, len(self._weights), 1, 1), np.dtype(dtype))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Logits `(N, classes)`. Raises ModelError where the tensor does not fit the weights."""
        counts = tensors[0]
        if counts.ndim != 4 or counts.shape[1:] != (len(self._weights), 1, 1) or counts.dtype != self.inputs[0].dtype:
            raise ModelError(f"the linear model takes {self.inputs[0]}, not {counts.dtype} {counts.shape}")
        logits: NDArray[Any] = counts[:, :, 0, 0].astype(np.float32) @ self._weights + self._biases
        return logits


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file. Raises ModelError."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in ("weights", "biases", "dtype", "card")}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path}: not a linear model ({error})") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in a file, by name."""
    return {"hsiedge.card": str(_read(path)["card"])}


open_session = LinearSession
ENGINE = Engine("Example linear", (SUFFIX,), __name__, "numpy")
