"""Comparison of a graph with what it was made of, on one patch and on several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hsiedge.errors import CheckError, ModelError
from hsiedge.graphs.normalize.layout import Layout

if TYPE_CHECKING:
    from onnx import ModelProto

LIMIT = 1e-4  # of the logits' range
_HALF = 2e-2  # the same where weights are float16: its sums are taken in another order for another batch


def limit_of(model: ModelProto) -> float:
    """Share of their range by which logits of one graph may differ for other batches, by rounding alone."""
    from onnx import TensorProto

    half = any(tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16) for tensor in model.graph.initializer)
    return _HALF if half else LIMIT


def session(model: ModelProto, *, optimized: bool = True) -> onnxruntime.InferenceSession:
    """A session of onnxruntime. Raises ModelError where it does not load the graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common base
        raise ModelError(f"onnxruntime does not load it ({_line(error)})") from error


def feed_of(opened: onnxruntime.InferenceSession, patches: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Patches as the one input of a graph, in its dtype."""
    entry = opened.get_inputs()[0]
    kind = entry.type.removeprefix("tensor(").removesuffix(")")
    return {entry.name: patches.astype({"float": "float32", "double": "float64"}.get(kind, kind))}


def run(opened: onnxruntime.InferenceSession, feed: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The first output of a graph, float32. Raises ModelError where onnxruntime does not run it."""
    try:
        return np.asarray(opened.run(None, feed)[0], np.float32)
    except Exception as error:  # onnxruntime's own have no common base
        count = len(next(iter(feed.values())))
        raise ModelError(f"onnxruntime does not run it for {count} patches ({_line(error)})") from error


def outputs_one_by_one(
    model: ModelProto, layouts: Sequence[Layout], patches: NDArray[Any], limit: float
) -> NDArray[np.float32]:
    """Outputs of a stranger's graph for each patch by itself, float32 `(n, classes)`.

    Raises:
        ModelError: it does not run, or gives something else for a patch among others.
    """
    opened = session(model)
    feeds = [{layout.name: layout(patches[place : place + 1]) for layout in layouts} for place in range(len(patches))]
    single = np.concatenate([run(opened, feed).reshape(1, -1) for feed in feeds])
    if not np.isfinite(single).all():
        raise ModelError(
            "it gives numbers that are not finite for patches of the scene; look for NaN among its weights, and for bands that "
            "it takes scaled"
        )
    try:
        together = run(opened, {layout.name: layout(patches) for layout in layouts})
    except ModelError:  # a batch fixed at 1: there are no others
        return single
    if together.reshape(len(together), -1).shape == single.shape and _differs(together.reshape(single.shape), single, limit):
        raise ModelError("what it gives for a patch depends on the others of its batch; export the net after net.eval()")
    return single


def check_same(model: ModelProto, expected: NDArray[np.float32], patches: NDArray[Any], *, softmax: bool, limit: float) -> None:
    """Raises CheckError unless a normalized graph gives what is expected, for one patch and for several.

    Args:
        softmax: whether `expected` went through a Softmax that the graph has no more.
    """
    opened = session(model)
    for count in (1, len(patches)):
        ours = run(opened, feed_of(opened, patches[:count]))
        if ours.shape != expected[:count].shape:
            raise CheckError(f"the normalized graph gives {ours.shape} for {count} patches, not {expected[:count].shape}")
        if softmax:
            powers = np.exp(ours - ours.max(1, keepdims=True))
            ours = powers / powers.sum(1, keepdims=True)
            wanted = np.exp(expected) if (expected <= 0).all() else expected
        else:
            wanted = expected
        if _differs(ours, wanted[:count], limit):
            worst = np.abs(ours - wanted[:count]).max() / max(float(np.ptp(wanted)), 1e-30)
            raise CheckError(f"the normalized graph is not the net: logits differ by {worst:.1e} of their range")


def _differs(one: NDArray[np.float32], other: NDArray[np.float32], limit: float) -> bool:
    return not bool(np.abs(one - other).max() <= limit * max(float(np.ptp(other)), 1e-30))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
