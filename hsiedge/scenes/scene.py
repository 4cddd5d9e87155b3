"""Scene: a cube, its labels, and where they came from."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.archive import open_zip
from hsiedge.errors import OptionError, OutputError, SceneError
from hsiedge.scenes.catalog import CATALOG, CatalogEntry, RemoteFile, lookup
from hsiedge.scenes.io import arrays

if TYPE_CHECKING:
    from hsiedge.scenes.splits import Split

_MAX_FACTS = 1 << 20  # of a pack; those of a 400-band scene take some 10 kB


UNNAMED = "class"  # "class 7" is what a class is called whose name no file gives


class SceneWarning(UserWarning):
    """A scene that can be used, but not believed in every respect."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A cube with its labels. Scenes of the same content are equal, wherever they were read from (`digest`).

    Attributes:
        name: catalog name, or the stem of the cube's file.
        cube: `(height, width, bands)`, the stored dtype (uint16, int16, float32, ...); memory-mapped where the format allows.
        labels: uint16 `(height, width)` of label ids, 0 = unlabelled; None for an unlabelled cube.
        classes: label id -> name, ascending by id. A class's index is its place in it.
        wavelengths: nm; empty where the file does not say.
        nodata: the value that marks absent pixels, in stored units, or None.
        units: of the counts, in the file's words.
        georeference: what the file says of it, in its own words.
        official: True if equal to the published scene, False if it differs, None if there is nothing to compare with.
        source: where it was read from.
        parts: uint8 `(height, width)`, 1, 2, 3 where the scene's own lists say that a pixel trains, validates, tests; None
            for a scene without lists.
    """

    name: str
    cube: NDArray[Any]
    labels: NDArray[np.uint16] | None
    classes: dict[int, str]
    wavelengths: tuple[float, ...] = ()
    nodata: float | None = None
    units: str = ""
    georeference: dict[str, str] = field(default_factory=dict)
    official: bool | None = None
    source: str = ""
    parts: NDArray[np.uint8] | None = None

    @staticmethod
    def open(name: str | Path, labels: str | Path | None = None, data_dir: Path | None = None) -> Scene:
        """A scene of the catalog by name, or one's own from a file. See `open_scene`."""
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
        """SHA-256 of the decoded cube: dtype, shape and values in row-major order, so that .mat and .npy of one scene agree."""
        stored = self.cube.dtype.newbyteorder("<")
        sha = hashlib.sha256(f"{stored.str} {self.cube.shape}".encode())
        for row in self.cube:
            sha.update(np.ascontiguousarray(row, dtype=stored).tobytes())
        return sha.hexdigest()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides labels and accuracy: cube, nodata, label map, classes and lists of pixels."""
        sha = hashlib.sha256(f"{self.sha256} {self.nodata} {sorted(self.classes.items())}".encode())
        sha.update(b"unlabelled" if self.labels is None else labels_digest(self.labels).encode())
        sha.update(b"no lists" if self.parts is None else np.ascontiguousarray(self.parts).tobytes())
        return sha.hexdigest()

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
        kind: str = "random",
        *,
        train: float = 0.1,
        seed: int = 0,
        guard: int = 6,
        train_mask: str | Path | NDArray[Any] | None = None,
        test_mask: str | Path | NDArray[Any] | None = None,
        mask_labels: bool = False,
        folds: int | None = None,
        fold: int | None = None,
    ) -> Split:
        """Draws which labelled pixels train, validate and test; every machine draws the same.

        Args:
            kind: "random"; "blocks", whose test pixels lie farther than `guard` from all others; "lists", a mosaic's own;
                "masks", given as two maps; a published split by name ("hong", "paoletti", or FILE.py:NAME of one's own).
            train: share of each class's pixels that trains; half as many validate, the rest test.
            guard: pixels, for "blocks".
            train_mask, test_mask: maps `(height, width)`, or their files, nonzero where a pixel trains or tests. They make
                the split one of kind "masks".
            mask_labels: the masks' values, ids of the scene, are the labels, whatever the scene's own say.
            folds, fold: for "blocks": how many parts the scene's blocks are dealt into, and which of them tests, from 1.

        Raises:
            OptionError: no such kind, a share outside 0..1, a scene without lists, or one mask without the other.
            SplitError: the labels cannot be divided so.
            SceneError: the scene has no labels, or a mask cannot be read.
        """
        from hsiedge.scenes import splits  # splits are drawn on scenes: that file imports this one

        if train_mask is not None or test_mask is not None or kind == "masks":
            if train_mask is None or test_mask is None:
                raise OptionError("the two masks of a published split go together", use={"train_mask": "", "test_mask": ""})
            return splits.masks_split(self, _mask(train_mask), _mask(test_mask), seed, mask_labels=mask_labels)
        if mask_labels:
            raise OptionError("labels of masks need masks", use={"train_mask": "", "test_mask": ""})
        return splits.draw(kind, self, seed, train, guard, folds=folds, fold=fold)

    @cached_property
    def empty(self) -> NDArray[np.bool_]:
        """`(height, width)`: pixels that are nodata in all bands."""
        if self.nodata is None:
            return np.zeros(self.shape, bool)
        return np.array([(row == self.nodata).all(-1) for row in self.cube])

    def labelled(self) -> NDArray[np.uint16]:
        """The label map. Raises SceneError for an unlabelled cube."""
        if self.labels is None:
            raise SceneError(f"{self.name} has no labels", use={"labels": "FILE"})
        return self.labels

    @property
    def titles(self) -> list[str]:
        """Names of the classes, in the order of their labels."""
        return list(self.classes.values())


def _mask(mask: str | Path | NDArray[Any]) -> NDArray[Any]:
    return mask if isinstance(mask, np.ndarray) else arrays.read(Path(mask), ndim=2).array


def build_scene(
    name: str,
    cube: arrays.Raster,
    labels: arrays.Raster | None,
    classes: dict[int, str] | None = None,
    official: bool | None = None,
    source: str = "",
) -> Scene:
    """Puts a cube and its labels together, believing neither.

    Args:
        classes: label id -> name; left out, the ids found, with the names that the label file gives them.

    Raises:
        SceneError: sizes differ; counts are NaN or infinite; labels are not whole numbers from 0 to 65535, or not of
            `classes`, or one of `classes` has no pixel.
    """
    array = cube.array
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not isinstance(array, np.memmap):
        array = np.ascontiguousarray(array)  # .mat is column-major: spectra and patches would be gathered byte by byte
    _finite(source, array)
    label_map = None
    if labels is not None:
        label_map = _label_map(source, labels.array, array.shape[:2])
        present = [int(label) for label in np.unique(label_map) if label]
        names = {label: labels.class_names.get(label, f"{UNNAMED} {label}") for label in present}
        classes = _same_classes(source, classes or names, present)
    return Scene(
        name=name,
        cube=array,
        labels=label_map,
        classes=dict(sorted((classes or {}).items())),
        wavelengths=cube.wavelengths if len(cube.wavelengths) == array.shape[2] else (),
        nodata=cube.nodata,
        units=cube.units,
        georeference=cube.georeference,
        official=official,
        source=source,
    )


def open_scene(
    name: str | Path,
    labels: str | Path | None = None,
    data_dir: Path | None = None,
    cube_key: str | None = None,
    labels_key: str | None = None,
) -> Scene:
    """Opens a scene by its catalog name or alias, from a file, or from a folder of GeoTIFF tiles.

    Files are .mat, .npy, .npz, ENVI, GeoTIFF, or what `scenes pack` wrote. A catalog scene is looked for in `data_dir`, then
    `$HSIEDGE_DATA`, then the user's cache, then (indian_pines) an installed tensorly. Nothing is downloaded: `fetch` does that.

    Raises:
        SceneError: not found, not readable, or not believable.
    """
    text = str(name)
    if labels is None and not _looks_like_file(text):
        return _open_catalog(lookup(text), data_dir)
    path = Path(text)
    if path.is_dir() and _looks_like_file(text):
        return _open_mosaic(path, Path(labels) if labels is not None else None)
    if not _looks_like_file(text):
        raise SceneError(
            f"{text} is a scene of the catalog, and has its labels; others go with a cube of your own", option="labels"
        )
    if labels is None and path.suffix == ".npz" and (packed := _open_packed(path)):
        return packed
    cube = arrays.read(path, cube_key, 3)
    label_raster = arrays.read(Path(labels), labels_key, 2) if labels is not None else None
    return build_scene(path.stem, cube, label_raster, source=str(path))


def search_path(data_dir: Path | None = None) -> list[Path]:
    """The folders in which catalog scenes are looked for, first to last."""
    folders = [data_dir, os.environ.get("HSIEDGE_DATA")]
    return [Path(folder) for folder in folders if folder] + [cache_dir()]


def cache_dir() -> Path:
    """Folder of downloads, in the user's cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hsiedge", appauthor=False))


def pack(scene: Scene, path: Path) -> None:
    """Writes the scene as one compressed .npz (cube, labels, facts), which `open_scene` reads on a device without scipy.

    Raises:
        OutputError: `path` cannot be written.
    """
    facts = {
        "name": scene.name,
        "classes": [[label, title] for label, title in scene.classes.items()],
        "wavelengths": list(scene.wavelengths),
        "nodata": scene.nodata,
        "units": scene.units,
        "georeference": scene.georeference,
        "official": scene.official,
    }
    arrays = {"cube": np.ascontiguousarray(scene.cube), "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    if scene.labels is not None:
        arrays["labels"] = scene.labels
    if scene.parts is not None:
        arrays["parts"] = scene.parts
    with files.atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        with open_zip(temporary) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise OutputError(f"cannot write {path}: {broken} does not read back as it was written; is the disk full?")


def _open_mosaic(folder: Path, labels: Path | None) -> Scene:
    """A folder of tiles: its own, or those in `images`; labels in `labels` or elsewhere; lists of tiles where there are any."""
    from hsiedge.scenes.io import geotiff

    try:
        cube = geotiff.read_mosaic(folder / "images" if (folder / "images").is_dir() else folder, 3)
        own = folder / "labels" if (folder / "labels").is_dir() else None
        label_folder = labels or own
        if label_folder is not None and not label_folder.is_dir():
            raise SceneError(f"{label_folder}: the labels of a mosaic are a folder of tiles, too")
        label_raster = geotiff.read_mosaic(label_folder, 2, cube.grid).raster if label_folder is not None else None
        parts = geotiff.read_lists(folder, cube)
    except OSError as error:
        raise SceneError(f"{folder}: cannot be read ({error.strerror or error})") from error
    scene = build_scene(folder.resolve().name, cube.raster, label_raster, source=str(folder))
    return dataclasses.replace(scene, parts=parts)


def _open_packed(path: Path) -> Scene | None:
    """Opens what `pack` wrote; None for any other .npz."""
    if not path.is_file():
        raise SceneError(f"{path}: no such file")
    try:
        with open_zip(path) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
        if "facts.npy" not in members:
            return None
        if members["facts.npy"] > _MAX_FACTS:
            raise SceneError(f"{path}: its facts take {members['facts.npy']} bytes; this pack was not written by hsiedge")
        facts = json.loads(arrays.read(path, "facts", 1).array.tobytes())
        classes = {int(label): str(title) for label, title in facts["classes"]}
        cube = arrays.read(path, "cube", 3)
        raster = arrays.Raster(
            cube.array,
            tuple(float(value) for value in facts["wavelengths"]),
            None if facts["nodata"] is None else float(facts["nodata"]),
            str(facts["units"]),
            georeference={str(key): str(value) for key, value in facts["georeference"].items()},
        )
        official = facts["official"]
        if official is not None and not isinstance(official, bool):
            raise ValueError(f"official: {official!r}")
        labels = arrays.read(path, "labels", 2) if "labels.npy" in members else None
        scene = build_scene(str(facts["name"]), raster, labels, classes, official, str(path))
        if "parts.npy" in members:
            scene = dataclasses.replace(scene, parts=_believable_parts(arrays.read(path, "parts", 2).array, scene.shape))
    except SceneError:
        raise
    except Exception as error:
        raise SceneError(f"{path}: not a whole scene pack ({error}); make it again with: hsiedge scenes pack") from error
    if scene.official is False:
        _warn(scene.source, scene.name)
    return scene


def _pairs(entry: CatalogEntry) -> list[tuple[str, str]]:
    """File names of a catalog scene: the published .mat pair, and the same arrays as .npy."""
    published = (entry.cube.name, entry.labels.name)
    return [published, (published[0].replace(".mat", ".npy"), published[1].replace(".mat", ".npy"))]


def _believable_parts(parts: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
    if parts.dtype != np.uint8 or parts.shape != shape or parts.max() > 3:
        raise ValueError("its lists of pixels are none")
    return parts


def locate(entry: CatalogEntry, data_dir: Path | None = None) -> Path | None:
    """The folder, pack or package in which a catalog scene is found first; None where it is not on this machine."""
    for folder in search_path(data_dir):
        if any((folder / cube).is_file() and (folder / labels).is_file() for cube, labels in _pairs(entry)):
            return folder
        if (folder / f"{entry.name}.npz").is_file():
            return folder / f"{entry.name}.npz"
    return _tensorly() if entry.name == "indian_pines" else None


def missing(name: str, data_dir: Path | None = None) -> CatalogEntry | None:
    """The catalog entry of `name` where that is one that is not on this machine; else None. Raises SceneError."""
    if _looks_like_file(name):
        return None
    entry = lookup(name)
    return entry if locate(entry, data_dir) is None else None


def _open_catalog(entry: CatalogEntry, data_dir: Path | None) -> Scene:
    place = locate(entry, data_dir)
    if place is None:
        places = ", ".join(str(folder) for folder in search_path(data_dir))
        carried = "  (or pip install tensorly, which carries it)" if entry.name == "indian_pines" else ""
        raise SceneError(
            f"{entry.name}: {entry.cube.name} and {entry.labels.name} are not in {places}; "
            f"download them with: hsiedge scenes fetch {entry.name}{carried}"
        )
    if place.is_file():
        packed = open_scene(place)
        if (packed.name, packed.bands, packed.classes) != (entry.name, entry.shape[2], entry.classes):
            raise SceneError(f"{place}: holds {packed.name}, {packed.bands} bands, not {entry.title} with its classes")
        return packed
    if (place / entry.cube.name).is_file():
        return open_entry(entry, place)
    names = _pairs(entry)[1]
    cube, labels = arrays.read(place / names[0]), arrays.read(place / names[1], ndim=2)
    return _judge(entry, build_scene(entry.name, cube, labels, entry.classes, source=str(place)), None)


def open_entry(entry: CatalogEntry, folder: Path) -> Scene:
    """The catalog scene whose official file names are in `folder`; one that differs from the official file warns."""
    cube = _read_official(entry.cube, folder, 3)
    labels = _read_official(entry.labels, folder, 2)
    scene = build_scene(entry.name, cube, labels, entry.classes, source=str(folder / entry.cube.name))
    return _judge(entry, scene, files.digest(folder / entry.cube.name))


def _read_official(file: RemoteFile, folder: Path, ndim: int) -> arrays.Raster:
    return arrays.read(folder / file.name, file.key, ndim)


def _judge(entry: CatalogEntry, scene: Scene, file_sha256: str | None) -> Scene:
    """The scene, marked official or not, with a warning where it is not."""
    if scene.bands != entry.shape[2]:
        raise SceneError(
            f"{scene.source}: has {scene.bands} bands, {entry.title} has {entry.shape[2]}; is it the corrected cube?"
        )
    official = file_sha256 == entry.cube.sha256 or scene.sha256 == entry.decoded_sha256
    official = official and entry.labels_sha256 in (None, labels_digest(scene.labelled()))
    if not official:
        _warn(scene.source, entry.title)
    return dataclasses.replace(scene, official=official)


def labels_digest(labels: NDArray[np.uint16]) -> str:
    """SHA-256 of a label map's size and ids, whatever dtype its file keeps them in."""
    return hashlib.sha256(f"{labels.shape}".encode() + np.ascontiguousarray(labels, "<u2").tobytes()).hexdigest()


def _warn(source: str, title: str) -> None:
    warnings.warn(
        f"{source} differs from the official {title}: what is measured on it says nothing of that scene",
        SceneWarning,
        stacklevel=5,
    )


def _tensorly() -> Path | None:
    spec = importlib.util.find_spec("tensorly")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "datasets" / "data"
    return folder if (folder / "Indian_pines_corrected.npy").is_file() else None


def _looks_like_file(text: str) -> bool:
    known = any(text.lower() in (entry.name, *entry.aliases) for entry in CATALOG.values())
    return not known and (Path(text).suffix != "" or os.sep in text or Path(text).exists())


def _finite(source: str, cube: NDArray[Any]) -> None:
    if cube.dtype.kind != "f":
        return
    for index, row in enumerate(cube):
        if not np.isfinite(row).all():
            raise SceneError(f"{source}: row {index} holds NaN or infinite counts; mend or mask them first")


def _label_map(source: str, labels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.uint16]:
    if labels.shape != shape:
        raise SceneError(
            f"{source}: the cube is {shape[0]} x {shape[1]} pixels, its labels {labels.shape[0]} x {labels.shape[1]}"
        )
    whole = np.asarray(labels)
    if whole.dtype.kind == "f" and not (np.isfinite(whole).all() and (whole == np.round(whole)).all()):
        raise SceneError(f"{source}: its labels are not whole numbers")
    if whole.min() < 0 or whole.max() > 65535:
        raise SceneError(f"{source}: its labels go from {whole.min()} to {whole.max()}; 0 to 65535 is allowed, 0 = unlabelled")
    if whole.max() == 0:
        raise SceneError(f"{source}: no pixel is labelled")
    return np.ascontiguousarray(whole, dtype=np.uint16)


def _same_classes(source: str, classes: dict[int, str], present: list[int]) -> dict[int, str]:
    unknown = sorted(set(present) - set(classes))
    if unknown:
        raise SceneError(f"{source}: label ids {unknown} are not among the scene's classes {sorted(classes)}")
    empty = [f"{label} ({classes[label]})" for label in classes if label not in present]
    if empty:
        raise SceneError(f"{source}: no pixel of class {', '.join(empty)}; a class without pixels cannot be learnt")
    return classes
