"""Pass: the per-band affine of counts is one that 16-bit integers compute.

The input step is a third of the time of a small net on a whole scene. In float32 it takes seven passes over four bytes a
value; as `((x - first) * factor) >> 8` it takes six over two, and gives the same integers (`hsiedge.runtimes.input_affine`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine
from hsiedge.graphs.passes.extract_input_affine import affine_front, preprocessing_values
from hsiedge.graphs.passes.standardize_input import takes_input
from hsiedge.graphs.preprocessing.match import Front, find_front
from hsiedge.graphs.preprocessing.rewrite import written
from hsiedge.runtimes.input_affine import FRACTION, WholeSteps, factors, middle

_COARSEST = 2  # fractions of an integer that a count makes, at least: below, steps might be half as fine


def fixed_point_input(model: Any, ranges: Any, spectra: NDArray[Any]) -> Any:
    """The graph with an affine near its own that 16-bit integers compute; the first layer's weights undo the difference.

    Requires: a float graph that begins input -> (Cast) -> Sub -> Mul -> first layer, which does not pad and takes bands as
    channels, and its calibrated ranges; counts of 16 bits.
    Does: makes each band's scale, in steps of the input's range, a whole number of 256ths: the nearest, but none with which
    the band's own spectra are clipped; shifts its offset by half a count at most. Of zero points, for each of which there
    are other such numbers, takes the one with which scales change least.
    Ensures: outputs are the same but for the rounding of sums, and `WholeSteps.of` takes the affine that `extract_input_affine`
    will find. A graph that begins otherwise, or whose bands hold too many counts for 16 bits, is returned as it is.

    Args:
        ranges: onnxruntime's `TensorsData`; that of the affine becomes a whole number of steps on both sides of zero.
        spectra: those that calibrate, `(n, bands)` in the stored dtype.
    """
    from onnxruntime.quantization.calibrate import TensorData

    old, front = affine_front(model), find_front(model)
    if old is None or front is None or not _fits(model, front) or spectra.dtype not in (np.uint16, np.int16):
        return model
    low, high = (float(np.ravel(limit)[0]) for limit in ranges[old[-1].output[0]].range_value)
    offset, scale = (np.array(entry) for entry in preprocessing_values(model, old))
    affine = _near(offset, scale, min(low, 0.0), max(high, 0.0), spectra)
    if affine is None:
        return model
    offset, scale = np.array(affine.offset), np.array(affine.scale)
    made, _ = written(model, front, front.linear.behind(offset, scale), offset, scale)
    new = affine_front(made)
    assert new is not None
    lowest, highest = (np.array(steps * affine.step, np.float32) for steps in (-affine.zero_point, 255 - affine.zero_point))
    ranges.data[new[-1].output[0]] = TensorData(lowest=lowest, highest=highest)
    return made


def _fits(model: Any, front: Front) -> bool:
    """Whether the front is all that the input goes to, and its bands go straight into a layer that can undo any affine."""
    able = front.layer is None or not (front.layer.padded or front.layer.shared)
    return takes_input(model, front) and able and not front.moves and not front.selects


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
