"""Pass: the per-band affine of counts is one that 16-bit integers compute.

The input step is a third of the time of a small net on a whole scene. In float32 it takes seven passes over four bytes a
value; as `((x - first) * factor) >> 8` it takes six over two, and gives the same integers (`hsiedge.runtimes.affine`).
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine
from hsiedge.graphs.integer_input import affine_front, front_values
from hsiedge.graphs.nodes import attributes, put
from hsiedge.runtimes.affine import FRACTION, WholeSteps, factors, middle

_COARSEST = 2  # fractions of an integer that a count makes, at least: below, steps might be half as fine


def whole_steps(model: Any, ranges: Any, spectra: NDArray[Any]) -> Any:
    """The graph with an affine near its own that 16-bit integers compute; the first layer's weights undo the difference.

    Requires: a float graph that begins input -> (Cast) -> Sub -> Mul -> Conv, without padding or groups, and its calibrated
    ranges; counts of 16 bits.
    Does: makes each band's scale, in steps of the input's range, a whole number of 256ths: the nearest, but none with which
    the band's own spectra are clipped; shifts its offset by half a count at most. Of zero points, for each of which there
    are other such numbers, takes the one with which scales change least.
    Ensures: outputs are the same but for the rounding of sums, and `WholeSteps.of` takes the affine that `integer_input`
    will find. A graph that begins otherwise, or whose bands hold too many counts for 16 bits, is returned as it is.

    Args:
        ranges: onnxruntime's `TensorsData`; that of the affine becomes a whole number of steps on both sides of zero.
        spectra: those that calibrate, `(n, bands)` in the stored dtype.
    """
    from onnx import numpy_helper
    from onnxruntime.quantization.calibrate import TensorData

    front = affine_front(model)
    layer = None if front is None else _layer(model, front[-1].output[0])
    if front is None or layer is None or spectra.dtype not in (np.uint16, np.int16):
        return model
    value = front[-1].output[0]
    offset, scale = (np.array(entry) for entry in front_values(model, front))
    low, high = (float(np.ravel(limit)[0]) for limit in ranges[value].range_value)
    affine = _near(offset, scale, min(low, 0.0), max(high, 0.0), spectra)
    if affine is None:
        return model
    new_offset, new_scale = np.array(affine.offset), np.array(affine.scale)
    made = copy.deepcopy(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    weight = values[layer.input[1]].astype(np.float64)
    bias = values[layer.input[2]] if len(layer.input) > 2 else np.zeros(len(weight))
    bias = bias + weight.sum((2, 3)) @ ((new_offset - offset) * scale)
    changed = {
        front[-2].input[1]: new_offset.reshape(values[front[-2].input[1]].shape),
        front[-1].input[1]: new_scale.reshape(values[front[-1].input[1]].shape),
        layer.input[1]: weight * (scale / new_scale)[:, None, None],
        _bias(layer): bias,
    }
    _give(made.graph, [*front, layer], changed)
    lowest, highest = (np.array(steps * affine.step, np.float32) for steps in (-affine.zero_point, 255 - affine.zero_point))
    ranges.data[value] = TensorData(lowest=lowest, highest=highest)
    return made


def _layer(model: Any, value: str) -> Any:
    """The convolution that alone takes a value, all of its bands at each place; None where something else does."""
    takers = [node for node in model.graph.node if value in node.input]
    if [node.op_type for node in takers] != ["Conv"]:
        return None
    given = attributes(takers[0])
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    known = all(name in sizes for name in takers[0].input[1:]) and len(sizes[takers[0].input[1]]) == 4
    padded = any(given.get("pads", [])) or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID", "NOTSET", "VALID")
    return takers[0] if known and given.get("group", 1) == 1 and not padded else None


def _near(
    offset: NDArray[np.float64], scale: NDArray[np.float64], low: float, high: float, spectra: NDArray[Any]
) -> Affine | None:
    """The affine, of what the graph's own makes from `low` to `high`; None where there is none that is fine enough."""
    step = (high - low) / 255
    if not step > 0 or (FRACTION * scale[scale != 0] < _COARSEST * step).any():
        return None
    least, most = spectra.min(0), spectra.max(0)
    found = (_with_zero_point(zero, offset, scale, low, high, least, most) for zero in range(1, 255))
    affine = min(found, key=lambda made: _change(made, scale, step))
    return None if WholeSteps.of(affine, spectra.dtype) is None else affine


def _with_zero_point(
    zero: int,
    offset: NDArray[np.float64],
    scale: NDArray[np.float64],
    low: float,
    high: float,
    least: NDArray[Any],
    most: NDArray[Any],
) -> Affine:
    """That with so many integers below its zero point, for spectra from `least` to `most`."""
    fraction = _three_digits(max(-low / zero, high / (255 - zero)) / FRACTION)
    allowed, wanted = factors(zero), scale / fraction
    above, below = np.searchsorted(allowed, wanted, "left"), np.searchsorted(allowed, wanted, "right") - 1
    finer, coarser = (allowed[np.clip(place, 0, len(allowed) - 1)] for place in (above, below))
    first = np.rint(offset) - middle(zero) / finer
    fits = (first <= least) & (most < first + (1 << 16) / finer)
    factor = np.where(fits & (finer * coarser <= wanted**2), finer, coarser)
    return Affine(np.rint(offset).tolist(), (factor * fraction).tolist(), "uint8", zero, FRACTION * fraction)


def _change(affine: Affine, scale: NDArray[np.float64], step: float) -> float:
    """By how much steps differ from those that were wanted."""
    made, wanted = np.array(affine.scale) / affine.step, scale / step
    return float(np.abs(np.log(made[scale != 0] / wanted[scale != 0])).mean())


def _three_digits(value: float) -> float:
    """The next higher number of three digits: a Card keeps 200 multiples of it."""
    power = 10.0 ** (2 - int(np.floor(np.log10(value))))
    return float(np.ceil(value * power) / power)


def _give(graph: Any, nodes: list[Any], changed: dict[str, NDArray[np.float64]]) -> None:
    """Gives the nodes constants of their own, for others may share the old ones."""
    from onnx import numpy_helper

    outputs = {node.output[0] for node in nodes}
    for node in graph.node:
        if node.output[0] in outputs:
            names = [*node.input, *([_bias(node)] if node.op_type == "Conv" and len(node.input) == 2 else [])]
            del node.input[:]
            node.input.extend(f"{name}_whole" if name in changed else name for name in names)
    graph.initializer.extend(
        numpy_helper.from_array(values.astype(np.float32), f"{name}_whole") for name, values in changed.items()
    )
    put(graph, list(graph.node))


def _bias(layer: Any) -> str:
    return str(layer.input[2] if len(layer.input) > 2 else f"{layer.input[1]}_bias")
