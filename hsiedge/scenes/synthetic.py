"""Random counts that look like a scene's, as far as a Card tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import SceneFacts

_TWELVE_BITS = 4095


def draw_rows(scene: SceneFacts, shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    """Random counts `(rows, columns, bands)` in the stored dtype, each band within its 1st and 99th percentile in the Card.

    Drawn row by row: the temporary must not be what sets a memory mark.
    """
    dtype = np.dtype(scene.dtype)
    low, high = (np.nan_to_num(np.asarray(bound, np.float64)) for bound in _bounds(scene, dtype))
    rows = np.empty((*shape, scene.bands), dtype)
    for row in rows:
        values = low + (high - low) * rng.random(row.shape, np.float32)
        row[...] = np.rint(values) if dtype.kind in "iu" else values
    return rows


def _bounds(scene: SceneFacts, dtype: np.dtype[Any]) -> tuple[Sequence[float], Sequence[float]]:
    if "1" in scene.percentiles and "99" in scene.percentiles:
        return scene.percentiles["1"], scene.percentiles["99"]
    most = float(min(np.iinfo(dtype).max, _TWELVE_BITS)) if dtype.kind in "iu" else 1.0
    return [0.0] * scene.bands, [most] * scene.bands
