"""OpenVINO on the CPU: float32, its default (bf16 where the CPU has it), and INT8 by NNCF.

It is given the graph with float32 counts: its CPU plugin takes no uint16 input of quantized convolutions (2026.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from bars.peer import Asked
from hsiedge.runtimes import Session, TensorSpec

SETTINGS = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}


class OpenVinoSession(Session):
    """One stream, one thread, shapes fixed."""

    provider = "CPU"
    runtime = f"OpenVINO {ov.__version__.split('-')[0]}"

    def __init__(self, asked: Asked) -> None:
        core = ov.Core()
        model = core.read_model(asked.own(".xml", shaped=False) if asked.precision == "int8" else asked.floats)
        model.reshape(list(asked.shape))
        precise = {"INFERENCE_PRECISION_HINT": "f32"} if asked.precision == "float32" else {}
        compiled = core.compile_model(model, "CPU", {**SETTINGS, **precise})
        self.runtime = f"{self.runtime} ({compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()})"
        self._request = compiled.create_infer_request()
        self.inputs = [TensorSpec("counts", asked.shape, np.dtype(np.uint16))]

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        self._request.infer({0: tensors[0].astype(np.float32)}, share_inputs=True)
        output: NDArray[Any] = self._request.get_output_tensor(0).data.copy()  # the next run writes there
        return output


def prepare(asked: Asked) -> None:
    """NNCF's post-training quantization, ranges from min to max: its default, moving averages, costs accuracy on spectra."""
    path = asked.own(".xml", shaped=False)
    if asked.precision != "int8" or path.exists():
        return
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    patches = np.load(asked.calibration).astype(np.float32)
    step = 1 if asked.shape[0] == 1 else 64  # a scene graph takes one patch at a time
    pieces = [patches[first : first + step] for first in range(0, len(patches), step)]
    ranges = RangeEstimatorParametersSet.MINMAX
    quantized = nncf.quantize(
        ov.Core().read_model(asked.floats),
        nncf.Dataset(pieces),
        subset_size=len(pieces),
        advanced_parameters=AdvancedQuantizationParameters(
            activations_range_estimator_params=ranges, weights_range_estimator_params=ranges
        ),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    ov.save_model(quantized, path, compress_to_fp16=False)


open_session = OpenVinoSession
