"""Pass: a line that is convolved, then pooled, as one wide convolution. Integer kernels want many outputs and few positions."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.graphs import query
from hsiedge.graphs.query import Links


def polyphase_pool(model: Any) -> Any:
    """Computes the places of each pooling window side by side, in channels (a polyphase form), and pools over those.

    What a kernel sees is laid out for a matrix product once a window, not once a place; and the product gets as many times
    wider. It pays where kernels see one channel: a spectrum.

    Requires: a QDQ graph whose convolutions of lines are 2-D (`conv3d_to_conv2d`).
    Does: where a Conv of one channel slides along a row, one place at a time, and its integers are taken by a MaxPool alone
    that slides by its own length, no longer than the kernel, neither padded: repeats the weights, each time one place further.
    Ensures: integers are the same.
    """
    made = copy.deepcopy(model)
    links = Links(made.graph)
    for conv in [node for node in made.graph.node if node.op_type == "Conv"]:
        rounded = links.taker(conv, "QuantizeLinear")
        seen = links.taker(rounded, "DequantizeLinear")
        weight = links.stored(conv.input[1])
        length = _window(conv, links.taker(seen, "MaxPool"), weight)
        if weight is None or length is None or any(links.stored(name) is None for name in conv.input[2:]):
            continue
        _repeat(made.graph, conv, length, links)
        _order(made.graph, rounded, seen, weight.shape[0], links)
    return made


def _window(conv: Any, pool: Any | None, weight: NDArray[Any] | None) -> int | None:
    """How long the pool's window is; None where the two are not what this pass is for."""
    if pool is None or len(pool.output) > 1 or weight is None or weight.ndim != 4 or weight.shape[1:3] != (1, 1):
        return None
    slide, window = _attributes(conv), _attributes(pool)
    rows, length = window["kernel_shape"]
    plain = all(not any(entry["pads"]) and list(entry["dilations"]) == [1, 1] for entry in (slide, window))
    by_itself = rows == 1 and list(window["strides"]) == [1, length] and list(slide["strides"]) == [1, 1]
    return int(length) if plain and by_itself and 1 < length <= weight.shape[3] and not window["ceil_mode"] else None


def _attributes(node: Any) -> dict[str, Any]:
    given = query.attributes(node)
    return {"strides": [1, 1], "dilations": [1, 1], "pads": [0] * 4, "ceil_mode": 0, **given}


def _repeat(graph: Any, conv: Any, length: int, links: Links) -> None:
    """Weights and biases, with their scales, for each place in a window; the kernel moves on by a window."""
    from onnx import helper, numpy_helper

    for name in conv.input[1:]:
        scaled = links.makers[name]
        for place, entry in enumerate(scaled.input):
            values = links.values[entry]
            if values.ndim:
                wide = _shifted(values, length) if values.ndim == 4 else np.tile(values, length)
                scaled.input[place] = f"{entry}_wide"
                graph.initializer.append(numpy_helper.from_array(wide, scaled.input[place]))
    slide = {"kernel_shape": [1, _attributes(conv)["kernel_shape"][1] + length - 1], "strides": [1, length]}
    conv.CopyFrom(helper.make_node("Conv", list(conv.input), list(conv.output), conv.name, **slide))


def _shifted(weight: NDArray[Any], length: int) -> NDArray[Any]:
    """Weights `(filters, 1, 1, k)`, once for each place in a window: `(length * filters, 1, 1, k + length - 1)`."""
    rest = [(0, 0)] * 3
    return np.concatenate([np.pad(weight, (*rest, (place, length - 1 - place))) for place in range(length)])


def _order(graph: Any, rounded: Any, seen: Any, filters: int, links: Links) -> None:
    """Of integers `(n, length * filters, rows, windows)` those that were before, `(n, filters, rows, places)`.

    Between the two, channels are last, where integer kernels keep them: onnxruntime cancels these transposes by its own.
    """
    from onnx import helper, numpy_helper

    integers = rounded.output[0]
    wide, last, apart, sizes = (f"{integers}_{name}" for name in ("wide", "last", "apart", "sizes"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, 0, -1, filters]), sizes))
    rounded.output[0] = wide
    moves = [
        helper.make_node("Transpose", [wide], [last], name=last, perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", [last, sizes], [apart], name=apart),
        helper.make_node("Transpose", [apart], [integers], name=f"{integers}_first", perm=[0, 3, 1, 2]),
    ]
    links.insert_before(seen, moves)
