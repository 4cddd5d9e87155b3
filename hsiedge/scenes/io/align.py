"""Label maps on their cube's grid: refused where they lie elsewhere, or resampled by nearest neighbour (`align`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import SceneError
from hsiedge.scenes.io.cube import Cube, SceneWarning, fits
from hsiedge.scenes.io.georeference import Georeference, Transform, difference, inverse, same_crs, transformed
from hsiedge.scenes.io.reader import LabelRaster

_BLOCK = 1 << 18  # pixels that are placed at a time
_BORDER = 1e-6  # of a pixel: a centre that lies on the border of two goes to the later one, whatever rounding makes of it


def placed(labels: LabelRaster, cube: Cube, *, align: bool = False) -> LabelRaster:
    """A label map that lies on the cube's grid, as far as their files can tell.

    Args:
        align: resample it where it lies elsewhere: each pixel of the cube takes the id at its centre, 0 where there is none. A
            warning says how many labelled pixels were taken over.

    Raises:
        SceneError: it lies elsewhere, and is not to be resampled; or it is, and one of the two has no coordinates, or no
            labelled pixel lies on the cube.
        MissingExtraError: coordinate reference systems are to be compared, and rasterio is not installed.
    """
    if align:
        return _aligned(labels, cube)
    off = difference(labels.georeference, cube.georeference, labels.array.shape[:2])
    if not off and labels.array.shape[:2] != cube.shape and None not in (_transform(labels), _transform(cube)):
        off = f"they are {' x '.join(map(str, labels.array.shape))} pixels, the cube {' x '.join(map(str, cube.shape))}"
    if off:
        raise SceneError(f"{cube.path}: the labels do not lie on the cube's grid: {off}", use={"align": ""})
    return labels


def _transform(raster: LabelRaster | Cube) -> Transform | None:
    return None if raster.georeference is None else raster.georeference.transform


def _aligned(labels: LabelRaster, cube: Cube) -> LabelRaster:
    """The label map, resampled where it does not lie on the grid already."""
    theirs, own = _place("its labels", labels.georeference, cube), _place("the cube", cube.georeference, cube)
    if cube.shape == labels.array.shape and not difference(labels.georeference, cube.georeference, cube.shape):
        return labels
    fits(cube.path, cube.shape, labels.array.dtype.itemsize)
    array, used = np.zeros(cube.shape, labels.array.dtype), np.zeros(labels.array.shape, bool)
    for rows, column, row in _positions(own, theirs, cube.shape):
        height, width = labels.array.shape
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        across, down = column[inside].astype(np.intp), row[inside].astype(np.intp)
        array[rows][inside] = labels.array[down, across]
        used[down, across] = True
    labelled = labels.array != 0
    if labelled.any() and not array.any():
        raise SceneError(f"{cube.path}: none of the {int(labelled.sum()):,} labelled pixels lies on the cube", option="align")
    warnings.warn(
        f"{cube.path}: {int((used & labelled).sum()):,} of {int(labelled.sum()):,} labelled pixels were taken over onto the "
        f"cube's grid, where they label {int((array != 0).sum()):,}",
        SceneWarning,
        stacklevel=4,
    )
    return replace(labels, array=array, georeference=cube.georeference)


def _place(what: str, place: Georeference | None, cube: Cube) -> Georeference:
    if place is None or place.transform is None:
        reason = "only control points" if place is not None and place.points else "no coordinates"
        raise SceneError(f"{cube.path}: {what} cannot be aligned: the file has {reason}", option="align")
    return place


def _positions(
    own: Georeference, theirs: Georeference, shape: tuple[int, int]
) -> Iterator[tuple[slice, NDArray[np.float64], NDArray[np.float64]]]:
    """Rows of a grid, block by block, and the column and row of another grid at which the centres of their pixels lie."""
    assert own.transform is not None
    assert theirs.transform is not None
    a, b, c, d, e, f = own.transform
    back = inverse(theirs.transform)
    other = bool(own.crs and theirs.crs) and not same_crs(own.crs, theirs.crs)
    step = max(1, _BLOCK // shape[1])
    for first in range(0, shape[0], step):
        rows = slice(first, min(first + step, shape[0]))
        row, column = np.mgrid[rows, : shape[1]] + 0.5
        x, y = a * column + b * row + c, d * column + e * row + f
        if other:
            x, y = transformed(own.crs, theirs.crs, x, y)
        yield rows, _floor(back[0] * x + back[1] * y + back[2]), _floor(back[3] * x + back[4] * y + back[5])


def _floor(values: NDArray[Any]) -> NDArray[np.float64]:
    """Pixels in which coordinates lie; -1 for those that are no numbers, where a projection ends."""
    whole: NDArray[np.float64] = np.floor(np.where(np.isfinite(values), values, -1) + _BORDER)
    return whole
