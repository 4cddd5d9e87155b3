"""ExecuTorch with XNNPACK: float32, and INT8 by its own quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from executorch.extension.pybindings import portable_lib
from numpy.typing import NDArray

from bars.peer import Asked
from hsiedge.runtimes import Session, TensorSpec


class ExecuTorchSession(Session):
    """One thread, shapes fixed."""

    provider = "XNNPACK"
    runtime = f"ExecuTorch {version('executorch')}"

    def __init__(self, asked: Asked) -> None:
        portable_lib._unsafe_reset_threadpool(1)
        self._module = portable_lib._load_for_executorch(str(asked.own(".pte")))
        self.inputs = [TensorSpec("counts", asked.shape, np.dtype(np.uint16))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        output: NDArray[Any] = self._module.forward([torch.from_numpy(tensors[0].astype(np.float32))])[0].numpy()
        return output


def prepare(asked: Asked) -> None:
    """Lowers the exported program to XNNPACK; INT8 per channel, calibrated first."""
    path = asked.own(".pte")
    if path.exists():
        return
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(asked.exported)
    if asked.precision == "int8":
        program = _quantized(program, asked)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lowered.buffer)


def _quantized(program: torch.export.ExportedProgram, asked: Asked) -> torch.export.ExportedProgram:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer, get_symmetric_quantization_config
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    observed = prepare_pt2e(program.module(), quantizer)
    with torch.no_grad():
        for piece in asked.calibrating():
            observed(torch.from_numpy(piece))
    return torch.export.export(convert_pt2e(observed), (torch.zeros(asked.shape),))


open_session = ExecuTorchSession
