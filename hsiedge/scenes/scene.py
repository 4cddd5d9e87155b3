"""Scene: a cube, its labels, and where they came from."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import OptionError, SceneError
from hsiedge.scenes.cubes import HELD, CubeLike, StackedCube, kept_open, reflected, spans_of
from hsiedge.scenes.io.align import placed
from hsiedge.scenes.io.cube import Cube, SceneWarning, fits
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.reader import LabelRaster, read_labels, whole

if TYPE_CHECKING:
    from hsiedge.scenes.splits import Split

UNNAMED = "class"  # "class 7" is what a class is called whose name no file gives
ROLES = ("train", "validate", "test")
_BLOCK = 32 << 20  # bytes of rows that are looked through at a time


@dataclass(frozen=True, eq=False)
class Scene:
    """A cube with its labels. Scenes of the same content are equal, wherever they were read from (`digest`).

    Attributes:
        name: catalog name, or the stem of the cube's file.
        cube: stored values `(height, width, bands)` (uint16, int16, float32, ...), without the bands that the file's bad-band
            list rules out; memory-mapped where the format allows, and read by rows where it does not and they are many
            (`hsiedge.scenes.cubes.CubeLike`).
        labels: uint16 `(height, width)` of label ids, 0 = unlabelled; None for an unlabelled cube.
        classes: label id -> name, ascending by id. A class's index is its place in it.
        wavelengths: nm; empty where the file does not say.
        nodata: the stored value that marks absent pixels, for all bands or for each; None where there is none.
        units: of the values, in the file's words.
        georeference: where the pixels lie; None where the file does not say.
        official: True if equal to the published scene, False if it differs, None if there is nothing to compare with.
        source: where it was read from.
        parts: uint8 `(height, width)`, 1, 2, 3 where the scene's own lists say that a pixel trains, validates, tests; None
            for a scene without lists.
        scale, offset: a band each, value = stored * scale + offset; None where the file names none.
        widths: nm, a band each; empty where the file does not say.
        quantity: "counts", "radiance" or "reflectance" where the file says so; else "".
        valid: bool `(height, width)`, False where the file's own mask says that there is no data; None without one.
        left_out: bands of the file that its bad-band list rules out, by their place in it.
        flights: the scenes that it is joined of, as they were opened (`hsiedge.join_flights`); empty for one scene.
        roles: "train", "validate" or "test" for each flight that does so as a whole; "" for one that has no role.
        data_dir: folder that was named for scenes of the catalog, where maps of published splits may lie, too.
    """

    name: str
    cube: CubeLike
    labels: NDArray[np.uint16] | None
    classes: dict[int, str]
    wavelengths: tuple[float, ...] = ()
    nodata: float | tuple[float | None, ...] | None = None
    units: str = ""
    georeference: Georeference | None = None
    official: bool | None = None
    source: str = ""
    parts: NDArray[np.uint8] | None = None
    scale: tuple[float, ...] | None = None
    offset: tuple[float, ...] | None = None
    widths: tuple[float, ...] = ()
    quantity: str = ""
    valid: NDArray[np.bool_] | None = None
    left_out: tuple[int, ...] = ()
    flights: tuple[Scene, ...] = ()
    roles: tuple[str, ...] = ()
    data_dir: Path | None = None

    @staticmethod
    def open(name: str | Path, labels: str | Path | None = None, data_dir: Path | None = None) -> Scene:
        """A scene of the catalog by name, or one's own from a file. See `open_scene`."""
        from hsiedge.scenes.open import open_scene  # which imports this file

        return open_scene(name, labels, data_dir)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.cube.shape[0], self.cube.shape[1]

    @property
    def bands(self) -> int:
        """Number of bands."""
        return int(self.cube.shape[2])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the decoded cube: dtype, shape and values in row-major order, so that .mat and .npy of one scene agree.

        Of flights, it is that of their own and of what makes them alike, in their order.
        """
        stored = self.cube.dtype.newbyteorder("<")
        sha = hashlib.sha256(f"{stored.str} {self.cube.shape}".encode())
        for flight in self.flights:
            sha.update(f"{flight.sha256} {flight.wavelengths} {flight.scale} {flight.offset} {flight.quantity}".encode())
        for _, rows in () if self.flights else self.blocks():
            sha.update(np.ascontiguousarray(rows, dtype=stored).tobytes())
        return sha.hexdigest()

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Rows of the cube, some at a time, each with the number of the first."""
        cube = self.as_cube()
        step = max(1, _BLOCK // (self.shape[1] * self.bands * self.cube.dtype.itemsize))
        for first in range(0, self.shape[0], step):
            yield first, cube.read(first, step)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides labels and accuracy: cube and its meaning, label map, classes and lists of pixels."""
        sha = hashlib.sha256(f"{self.sha256} {self.nodata} {sorted(self.classes.items())}".encode())
        sha.update((self.labels_sha256 or "unlabelled").encode())
        sha.update(b"no lists" if self.parts is None else np.ascontiguousarray(self.parts).tobytes())
        if self.scale is not None or self.valid is not None:
            sha.update(f"{self.scale} {self.offset}".encode() + (b"" if self.valid is None else self.valid.tobytes()))
        return sha.hexdigest()

    @cached_property
    def labels_sha256(self) -> str:
        """SHA-256 of the label map's size and ids; "" of an unlabelled cube."""
        return "" if self.labels is None else labels_digest(self.labels)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Scene) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        height, width = self.shape
        classes = f"{len(self.classes)} classes" if self.labels is not None else "no labels"
        return f"Scene({self.name!r}, {height} x {width} pixels, {self.bands} bands of {self.cube.dtype}, {classes})"

    def _repr_html_(self) -> str:
        from hsiedge.scenes.thumbnail import scene_html

        return scene_html(self)

    def split(
        self,
        kind: str | None = None,
        *,
        train: float = 0.1,
        seed: int = 0,
        guard: int | None = None,
        train_mask: str | Path | NDArray[Any] | None = None,
        test_mask: str | Path | NDArray[Any] | None = None,
        mask_labels: bool = False,
        folds: int | None = None,
        fold: int | None = None,
    ) -> Split:
        """Draws which labelled pixels train, validate and test; every machine draws the same.

        Args:
            kind: "random"; "blocks", whose test pixels lie farther than `guard` from all others; "lists", a mosaic's own;
                "flights", whole flights by their roles; "masks", given as two maps; a published split by name ("hong",
                "paoletti", or FILE.py:NAME of one's own). Left out, "flights" where flights have roles, else "random".
            train: share of each class's pixels that trains; half as many validate, the rest test.
            guard: pixels, for "blocks", which keeps 6 where it is left out; no other kind keeps any.
            train_mask, test_mask: maps `(height, width)`, or their files, nonzero where a pixel trains or tests. They make
                the split one of kind "masks".
            mask_labels: the masks' values, ids of the scene, are the labels, whatever the scene's own say.
            folds, fold: for "blocks": how many parts the scene's blocks are dealt into, and which of them tests, from 1.

        Raises:
            OptionError: no such kind, a share outside 0..1, a guard of a kind that keeps none, a scene without lists, one mask
                without the other, or an argument of another type.
            SplitError: the labels cannot be divided so.
            SceneError: the scene has no labels, or a mask cannot be read.
        """
        from hsiedge.scenes import splits  # splits are drawn on scenes: that file imports this one

        if train_mask is not None or test_mask is not None or kind == "masks":
            if train_mask is None or test_mask is None:
                raise OptionError("the two masks of a published split go together", use={"train_mask": "", "test_mask": ""})
            seed = splits.check_drawn("masks", seed, train, guard)
            maps = _mask(self, train_mask), _mask(self, test_mask)
            return splits.masks_split(self, *maps, seed, mask_labels=mask_labels)
        if mask_labels:
            raise OptionError("labels of masks need masks", use={"train_mask": "", "test_mask": ""})
        kind = kind or ("flights" if any(self.roles) else "random")
        return splits.draw(kind, self, seed, train, guard, folds=folds, fold=fold)

    def hold_out(self, *names: str) -> Scene:
        """The flights with some of them held out: these test, and the others that have no role train and validate.

        Raises:
            OptionError: no flight of that name.
        """
        titles = [flight.name for flight in self.flights]
        unknown = [name for name in names if name not in titles]
        if unknown:
            there = f"there are {', '.join(titles)}" if titles else f"{self.name} is one scene"
            raise OptionError(f"no flight is called so; {there}", option="hold_out", value=unknown[0])
        return replace(self, roles=tuple("test" if title in names else role for title, role in zip(titles, self.roles)))

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """Bool `(height, width)`: pixels without data in a band: nodata, not a finite number, or masked by the file."""
        if self.flights:
            return self.stacked([flight.empty for flight in self.flights])
        if self.nodata is None and self.valid is None and self.cube.dtype.kind != "f":
            return np.zeros(self.shape, bool)
        cube = self.as_cube()
        return np.concatenate([cube.without_data(rows, first) for first, rows in self.blocks()])

    def check_single(self, needed: str) -> None:
        """Raises SceneError for a scene of several flights, whose edges would be lost; `needed` says what is taken instead."""
        if self.flights:
            raise SceneError(f"{self.name} is {len(self.flights)} flights: {needed}")

    def stacked(self, maps: Sequence[NDArray[Any]], *, mirrored: bool = True) -> NDArray[Any]:
        """Maps `(height, width)` of the flights, one below the other; right of a narrower one its mirror image, or 0."""
        joined = np.zeros(self.shape, maps[0].dtype)
        for (top, height, width), entry in zip(spans_of(self.cube), maps):
            joined[top : top + height, :width] = entry
            if mirrored:
                joined[top : top + height] = entry[:, reflected(np.arange(self.shape[1]), width)]
        return joined

    def as_cube(self) -> Cube:
        """The scene's cube with its meaning, as a reader gives it."""
        nodata = self.nodata if isinstance(self.nodata, tuple) else (self.nodata,) * self.bands
        path = Path(self.source or self.name)
        plain = self.cube.as_cube(path) if isinstance(self.cube, StackedCube) else Cube.of_array(np.asarray(self.cube), path)
        return replace(
            plain,
            scale=self.scale,
            offset=self.offset,
            nodata=nodata,
            valid=None if self.valid is None and not self.flights else lambda first, count: self._valid_rows(first, count),
            wavelengths=self.wavelengths,
            widths=self.widths,
            units=self.units,
            quantity=self.quantity,
            georeference=self.georeference,
        ).checked()

    def _valid_rows(self, first: int, count: int) -> NDArray[np.bool_]:
        return (~self.empty if self.valid is None else self.valid)[first : first + count]

    def labelled(self) -> NDArray[np.uint16]:
        """The label map. Raises SceneError for an unlabelled cube."""
        if self.labels is None:
            raise SceneError(f"{self.name} has no labels", use={"labels": "FILE"})
        return self.labels

    @property
    def titles(self) -> list[str]:
        """Names of the classes, in the order of their labels."""
        return list(self.classes.values())


def _mask(scene: Scene, mask: str | Path | NDArray[Any]) -> NDArray[Any]:
    if isinstance(mask, np.ndarray):
        return mask
    cube = scene.as_cube()
    return placed(read_labels(Path(mask), cube=cube), cube).array


def build_scene(
    name: str,
    cube: Cube,
    labels: LabelRaster | None,
    classes: dict[int, str] | None = None,
    official: bool | None = None,
    source: str = "",
    *,
    align: bool = False,
    reopen: Callable[[], AbstractContextManager[Cube]] | None = None,
) -> Scene:
    """Puts a cube and its labels together, believing neither.

    Args:
        classes: label id -> name; left out, the ids found, with the names that the label file gives them.
        align: resample a label map that lies elsewhere than the cube; see `align.placed`.
        reopen: opens the cube again, to be read by rows as long as the scene lives where it is large and cannot be mapped.

    Raises:
        SceneError: sizes differ, or the label map lies elsewhere than the cube; labels are not whole numbers from 0 to 65535,
            or not of `classes`, or one of `classes` has no pixel; no pixel holds data.
    """
    good = cube.good_bands
    array = _values(cube, good, reopen)
    label_map = None
    if labels is not None:
        labels = placed(labels, cube, align=align)
        label_map = _label_map(source, labels, cube.shape)
        present = [int(label) for label in np.unique(label_map) if label]
        names = {label: labels.class_names.get(label) or f"{UNNAMED} {label}" for label in present}
        classes = _same_classes(source, classes or names, present)
    nodata = tuple(cube.nodata[band] for band in good) if cube.nodata else ()
    scene = Scene(
        name=name,
        cube=array,
        labels=label_map,
        classes=dict(sorted((classes or {}).items())),
        wavelengths=_of_bands(cube.wavelengths, good),
        nodata=None if not nodata else nodata[0] if len({str(value) for value in nodata}) == 1 else nodata,
        units=cube.units,
        georeference=cube.georeference,
        official=official,
        source=source,
        scale=None if cube.scale is None else _of_bands(cube.scale, good),
        offset=None if cube.offset is None else _of_bands(cube.offset, good),
        widths=_of_bands(cube.widths, good),
        quantity=cube.quantity,
        valid=None if cube.valid is None else cube.valid(0, cube.shape[0]),
        left_out=tuple(band for band in range(cube.bands) if band not in set(good.tolist())),
    )
    _say(scene, cube)
    return scene


def _values(cube: Cube, good: NDArray[np.intp], reopen: Callable[[], AbstractContextManager[Cube]] | None) -> CubeLike:
    """Stored values of the good bands: mapped, in memory, or read by rows where they are many and can be neither."""
    every = len(good) == cube.bands
    mapped = cube.array is not None and every and cube.array.dtype.isnative
    large = cube.shape[0] * cube.shape[1] * len(good) * cube.dtype.itemsize > HELD
    if reopen is not None and large and not mapped and not cube.whole:
        return kept_open(reopen, good)
    array = whole(cube)
    if not every:
        fits(cube.path, (*cube.shape, len(good)), cube.dtype.itemsize)
        array = array[:, :, good]
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    # .mat is column-major: spectra and patches would be gathered byte by byte
    return array if isinstance(array, np.memmap) else np.ascontiguousarray(array)


def _of_bands(values: tuple[float, ...], good: NDArray[np.intp]) -> tuple[float, ...]:
    return tuple(values[band] for band in good) if values else ()


def _say(scene: Scene, cube: Cube) -> None:
    """Warns of what a file says and cannot be honoured, and of values that are no numbers.

    Raises:
        SceneError: no pixel holds data.
    """
    for note in cube.notes:
        warnings.warn(f"{scene.source}: {note}", SceneWarning, stacklevel=4)
    if scene.cube.dtype.kind != "f" and scene.nodata is None and scene.valid is None:
        return
    if scene.empty.all():
        raise SceneError(f"{scene.source}: each pixel has no data, NaN or infinite values in one of its {scene.bands} bands")
    if scene.cube.dtype.kind == "f" and scene.nodata is None and scene.valid is None and scene.empty.any():
        share = f"{int(scene.empty.sum()):,} pixels hold NaN or infinite values"
        warnings.warn(f"{scene.source}: {share}, and are left out", SceneWarning, stacklevel=4)


def labels_digest(labels: NDArray[np.uint16]) -> str:
    """SHA-256 of a label map's size and ids, whatever dtype its file keeps them in."""
    return hashlib.sha256(f"{labels.shape}".encode() + np.ascontiguousarray(labels, "<u2").tobytes()).hexdigest()


def _label_map(source: str, labels: LabelRaster, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """The ids of a label map as they are kept; errors name its file, where it has one."""
    whole, file = np.asarray(labels.array), labels.path or source
    if whole.shape != shape:
        where = f" ({labels.path})" if labels.path else ""
        raise SceneError(
            f"{source}: the cube is {shape[0]} x {shape[1]} pixels, its labels {whole.shape[0]} x {whole.shape[1]}{where}"
        )
    if whole.dtype.kind == "f" and (odd := np.argwhere(~np.isfinite(whole) | (whole != np.round(whole)))).size:
        row, column = odd[0]
        raise SceneError(f"{file}: its labels are not whole numbers: {whole[row, column]:g} at row {row}, column {column}")
    if whole.min() < 0 or whole.max() > 65535:
        raise SceneError(f"{file}: its labels go from {whole.min()} to {whole.max()}; 0 to 65535 is allowed, 0 = unlabelled")
    if whole.max() == 0:
        raise SceneError(f"{file}: no pixel is labelled")
    return np.ascontiguousarray(whole, dtype=np.uint16)


def _same_classes(source: str, classes: dict[int, str], present: list[int]) -> dict[int, str]:
    unknown = sorted(set(present) - set(classes))
    if unknown:
        raise SceneError(f"{source}: label ids {unknown} are not among the scene's classes {sorted(classes)}")
    empty = [f"{label} ({classes[label]})" for label in classes if label not in present]
    if empty:
        raise SceneError(f"{source}: no pixel of class {', '.join(empty)}; a class without pixels cannot be learnt")
    return classes
