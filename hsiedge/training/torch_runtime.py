"""PyTorch as a runtime: a checkpoint as it is, without an export.

It lies here, for it takes the nets; `hsiedge.runtimes` knows it by name, and imports it when it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from hsiedge.errors import ModelError
from hsiedge.runtimes.model import Session, TensorSpec
from hsiedge.training.checkpoint import load_checkpoint
from hsiedge.training.classifier import predict_logits


class TorchSession(Session):
    """A checkpoint in PyTorch, eager, on the CPU: it takes patches `(N, bands, p, p)` in the scene's stored dtype.

    Args:
        path: the checkpoint.
        threads: of the process; 0 for one a physical core.
        net: FILE.py:NAME of the net, where it is the user's own.

    Raises:
        ModelError: no checkpoint, or weights that are not those of the Card's net.
        CardError: no Card, or one that cannot be read.
        OptionError: `net` cannot be loaded.
    """

    provider = "CPU"
    runtime = f"PyTorch {torch.__version__}"

    def __init__(self, path: Path, threads: int = 0, net: str | None = None) -> None:
        checkpoint = load_checkpoint(path, net=net)
        torch.set_num_threads(threads or psutil.cpu_count(logical=False) or 1)
        card = checkpoint.card
        shape = (None, card.scene.bands, card.patch, card.patch)
        self._path, self._classifier = path, checkpoint.classifier
        self.inputs = [TensorSpec("counts", shape, np.dtype(card.scene.dtype))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Logits `(N, classes)`. Raises ModelError where the tensor does not fit the net."""
        try:
            logits: NDArray[Any] = predict_logits(self._classifier, tensors[0]).numpy()
        except (RuntimeError, TypeError) as error:
            raise ModelError(f"PyTorch could not run {self._path}: {str(error).strip().splitlines()[0][:200]}") from error
        return logits


open_session = TorchSession
