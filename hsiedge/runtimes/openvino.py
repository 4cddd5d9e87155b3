"""OpenVINO behind the protocol: our ONNX files, float and INT8, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from hsiedge.device import int8
from hsiedge.errors import ModelError
from hsiedge.runtimes.int8_weights import has_wide_weights
from hsiedge.runtimes.model import Session, TensorSpec
from hsiedge.runtimes.onnx_file import check_whole


@cache
def _core() -> openvino.Core:
    """OpenVINO, once a process.

    Its CPU plugin has signals handled on a stack of its own, and gives back the one before when it goes. Of two the one that
    came first leaves the other a stack that is gone, and Ctrl-C then ends in a segmentation fault (src/plugins/intel_cpu).
    """
    return openvino.Core()


class OpenvinoSession(Session):
    """An ONNX file in OpenVINO's CPU plugin. Free dimensions stay free: shapes that were fixed would be no faster.

    Floats are computed as float32: left to itself the plugin takes bfloat16 where the CPU has it, and labels change. Where
    8-bit sums overflow on this processor (`hsiedge.device.int8`; oneDNN's kernels are made of the same instruction), integer
    layers are computed in float32 as well, of the same rounded values: labels are right, at the time of float.

    Args:
        path: the model file.
        threads: 0 leaves the choice to OpenVINO.
        fast_int8: leave out the latter.

    Raises:
        ModelError: OpenVINO does not load it.
    """

    provider = "CPU"
    runtime = f"OpenVINO {openvino.__version__.partition('-')[0]}"

    def __init__(self, path: Path, threads: int = 0, *, fast_int8: bool = False) -> None:
        check_whole(path)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        needed = int8.overflows_here() and has_wide_weights(path)
        self.exact_mode, self.overflows = needed and not fast_int8, needed and fast_int8
        if self.exact_mode:
            settings["LP_TRANSFORMS_MODE"] = "NO"
        if threads:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        try:
            core = _core()
            model = core.read_model(path)
            self._request = core.compile_model(model, self.provider, settings).create_infer_request()
            self.inputs = [_spec(port) for port in model.inputs]
        except RuntimeError as error:
            raise ModelError(f"{path}: {self.runtime} does not load it: {_reason(error)}") from error

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output. Raises ModelError where the tensors do not fit the graph."""
        for spec, tensor in zip(self.inputs, tensors):
            if tensor.dtype != spec.dtype:  # it would be cast, whatever it holds
                raise ModelError(f"OpenVINO could not run the model: {spec.name} is {spec.dtype}, it was given {tensor.dtype}")
        try:
            self._request.infer(dict(enumerate(tensors)), share_inputs=True)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO could not run the model: {_reason(error)}") from error
        output: NDArray[Any] = self._request.get_output_tensor(0).data.copy()  # the next run writes there
        return output


open_session = OpenvinoSession
_NO_REASON = ("Exception from", "Check '", "While validating", "FrontEnd API failed", "Model wasn't fully", "Summary:")


def _spec(port: Any) -> TensorSpec:
    sizes = tuple(int(size.get_length()) if size.is_static else None for size in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), sizes, np.dtype(port.get_element_type().to_dtype()))


def _reason(error: Exception) -> str:
    """The line that says what is wrong: before it OpenVINO tells where in its sources it was, and that it failed."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(_NO_REASON)] or lines or ["?"]
    return reasons[0] if len(reasons[0]) <= 200 else reasons[0][:200] + "..."
