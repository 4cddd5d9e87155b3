"""Pass: the per-band affine of counts is one that 16-bit integers compute.

The input step is a third of the time of a small net on a whole scene. In float32 it takes seven passes over four bytes a
value; as `((x - first) * factor) >> 8` it takes six over two, and gives the same integers (`hsiedge.runtimes.input_affine`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hsiedge.card import Affine
from hsiedge.graphs.edit import name_of
from hsiedge.graphs.passes.extract_input_affine import affine_nodes, affine_values
from hsiedge.graphs.passes.graph_pass import GraphPass
from hsiedge.graphs.passes.standardize_input import takes_input
from hsiedge.graphs.preprocessing.match import Preprocessing, find_preprocessing
from hsiedge.graphs.preprocessing.rewrite import rewrite
from hsiedge.runtimes.input_affine import FRACTION, WholeSteps, factors, middle

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest number that a value takes, in float32, by the value's name."""

_COARSEST = 2  # fractions of an integer that a count makes, at least: below, steps might be half as fine
_KEY = "hsiedge.input_range"


class FixedPointInput(GraphPass):
    """Gives the graph an affine near its own that 16-bit integers compute; the first layer's weights undo the difference.

    Requires: nothing; a graph that begins otherwise, or whose bands hold too many counts for 16 bits, stays as it is.
    Does: in a float graph that begins input -> (Cast) -> Sub -> Mul -> first layer, which does not pad and takes bands as
    channels, for counts of 16 bits, makes each band's scale, in steps of the input's range, a whole number of 256ths: the
    nearest, but none with which the band's own spectra are clipped; shifts its offset by half a count at most. Of zero
    points, for each of which there are other such numbers, takes the one with which scales change least.
    Ensures: outputs are the same but for the rounding of sums, and `WholeSteps.of` takes the affine that `ExtractInputAffine`
    will find. The range of that affine is a whole number of steps on both sides of zero: `adjusted_ranges` has it.

    Args:
        ranges: the calibrated ones, lowest and highest by the name of a value.
        spectra: those that calibrate, `(n, bands)` in the stored dtype.
    """

    def __init__(self, ranges: Ranges, spectra: NDArray[Any]) -> None:
        self._ranges, self._spectra = ranges, spectra

    def rewrite(self, model: ir.Model) -> str:
        """Works on the model itself, and leaves the range of its affine in the model's `meta`."""
        preprocessing = self._fitting_preprocessing(model)
        affine = None if preprocessing is None else self._fixed_point_affine(model)
        if affine is None or preprocessing is None:
            return ""
        offset, scale = np.array(affine.offset), np.array(affine.scale)
        rewrite(model, preprocessing, preprocessing.linear.behind(offset, scale), offset, scale)
        limits = (-affine.zero_point, 255 - affine.zero_point)
        model.meta[_KEY] = tuple(float(np.float32(steps * affine.step)) for steps in limits)
        return f"16-bit integers compute the input's affine, in steps of {affine.step:g} with zero at {affine.zero_point}"

    def fault(self, model: ir.Model) -> str:
        return "the graph has lost its affine" if _KEY in model.meta and affine_nodes(model.graph) is None else ""

    def _fitting_preprocessing(self, model: ir.Model) -> Preprocessing | None:
        """The per-band affine that the graph begins with; None where it or the counts are not fit for 16-bit integers."""
        if affine_nodes(model.graph) is None or self._spectra.dtype not in (np.uint16, np.int16):
            return None
        preprocessing = find_preprocessing(model)
        return preprocessing if preprocessing is not None and _fits(model, preprocessing) else None

    def _fixed_point_affine(self, model: ir.Model) -> Affine | None:
        """The affine near the graph's own; None where there is none that is fine enough."""
        nodes = affine_nodes(model.graph)
        assert nodes is not None
        low, high = self._ranges[name_of(nodes[-1].outputs[0])]
        offset, scale = (np.array(values) for values in affine_values(nodes))
        return _near(offset, scale, min(low, 0.0), max(high, 0.0), self._spectra)


def adjusted_ranges(model: ir.Model, ranges: Ranges) -> Ranges:
    """Ranges with that of the affine that `FixedPointInput` has put in; as they were where it has not."""
    limits, nodes = model.meta.get(_KEY), affine_nodes(model.graph)
    return ranges if limits is None or nodes is None else {**ranges, name_of(nodes[-1].outputs[0]): limits}


def _fits(model: ir.Model, preprocessing: Preprocessing) -> bool:
    """Tells whether it is all that takes the input, and bands go straight into a layer that can undo any affine."""
    layer = preprocessing.layer
    if not takes_input(model.graph, preprocessing) or preprocessing.shape_ops or preprocessing.selects:
        return False
    return layer is None or not (layer.padded or layer.shared)


def _near(
    offset: NDArray[np.float64], scale: NDArray[np.float64], low: float, high: float, spectra: NDArray[Any]
) -> Affine | None:
    """The affine, of what the graph's own makes from `low` to `high`; None where there is none that is fine enough."""
    step = (high - low) / 255
    if not step > 0 or (FRACTION * scale[scale != 0] < _COARSEST * step).any():
        return None
    least, most = spectra.min(0), spectra.max(0)
    affines = (_with_zero_point(zero, offset, scale, low, high, least, most) for zero in range(1, 255))
    affine = min(affines, key=lambda candidate: _change(candidate, scale, step))
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
    """The affine with so many integers below its zero point, for spectra from `least` to `most`."""
    fraction = _three_digits(max(-low / zero, high / (255 - zero)) / FRACTION)
    allowed, wanted = factors(zero), scale / fraction
    above, below = np.searchsorted(allowed, wanted, "left"), np.searchsorted(allowed, wanted, "right") - 1
    finer, coarser = (allowed[np.clip(place, 0, len(allowed) - 1)] for place in (above, below))
    first = np.rint(offset) - middle(zero) / finer
    fits = (first <= least) & (most < first + (1 << 16) / finer)
    factor = np.where(fits & (finer * coarser <= wanted**2), finer, coarser)
    return Affine(np.rint(offset).tolist(), (factor * fraction).tolist(), "uint8", zero, FRACTION * fraction)


def _change(affine: Affine, scale: NDArray[np.float64], step: float) -> float:
    """Difference of steps from those that were wanted."""
    fixed, wanted = np.array(affine.scale) / affine.step, scale / step
    return float(np.abs(np.log(fixed[scale != 0] / wanted[scale != 0])).mean())


def _three_digits(value: float) -> float:
    """The next higher number of three digits: a Card keeps 200 multiples of it."""
    power = 10.0 ** (2 - int(np.floor(np.log10(value))))
    return float(np.ceil(value * power) / power)
