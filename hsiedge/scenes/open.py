"""Opening scenes: by their name in the catalog, from a file, or from a folder of tiles."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hsiedge import files
from hsiedge.errors import OptionError, SceneError
from hsiedge.scenes.catalog import CATALOG, CatalogEntry, lookup
from hsiedge.scenes.io.cube import Cube, SceneWarning
from hsiedge.scenes.io.reader import open_cube, read_labels
from hsiedge.scenes.pack import open_packed
from hsiedge.scenes.references import BESIDE, References, ReferencesLike, with_references
from hsiedge.scenes.scene import Scene, build_scene, labels_digest


def open_scene(
    name: str | Path,
    labels: str | Path | None = None,
    data_dir: Path | None = None,
    cube_key: str | None = None,
    labels_key: str | None = None,
    *,
    class_field: str | None = None,
    align: bool = False,
    references: ReferencesLike = BESIDE,
) -> Scene:
    """Opens a scene by its catalog name or alias, from a file, from a folder of GeoTIFF tiles, or several flights of a list.

    Files are ENVI, GeoTIFF, NetCDF-4, HDF5, .mat, .npy, .npz, or what `scenes pack` wrote; labels may be pictures, or polygons
    with a `class_field`, too. Labels that lie elsewhere than the cube are an error, unless `align` resamples them. A catalog
    scene is looked for in `data_dir`, then `$HSIEDGE_DATA`, then the user's cache, then (indian_pines) an installed tensorly.
    Nothing is downloaded: `fetch` does that. Counts of a file become reflectance by `references`, or by those beside it.

    Raises:
        SceneError: not found, not readable, or not believable; references that do not fit.
        OptionError: references without a file of one's own; `class_field` or `align` without labels of one's own.
    """
    text = str(name)
    if text.lower().endswith(".toml"):
        from hsiedge.scenes.flights import open_flights  # which imports this file

        if (labels, cube_key, labels_key, class_field, align) != (None, None, None, None, False):
            raise OptionError("a list of flights names each flight's own files", option="labels" if labels else None)
        return open_flights(Path(name), data_dir, references)
    if labels is None and (class_field is not None or align):
        option = "align" if align else "class_field"
        raise OptionError("goes with labels of your own", option=option, use={"labels": "FILE"})
    if isinstance(references, References) and (not _looks_like_file(text) or Path(text).is_dir()):
        raise OptionError("goes with a cube of your own, one file", option="dark")
    if labels is None and not _looks_like_file(text):
        return dataclasses.replace(_open_catalog(_entry(text), data_dir), data_dir=data_dir)
    path = Path(text)
    if path.is_dir() and _looks_like_file(text):
        own = None if labels is None else Path(labels)
        return _open_mosaic(path, own, labels_key, class_field=class_field, align=align)
    if not _looks_like_file(text):
        raise SceneError(
            f"{text} is a scene of the catalog, and has its labels; others go with a cube of your own", option="labels"
        )
    if labels is None and path.suffix == ".npz" and (packed := open_packed(path)):
        if packed.official is False:
            _warn(packed.source, packed.name)
        return packed

    @contextmanager
    def opened() -> Iterator[Cube]:
        with open_cube(path, cube_key) as cube:
            yield with_references(cube, references)

    with opened() as cube:
        label_raster = None
        if labels is not None:
            label_raster = read_labels(Path(labels), labels_key, cube=cube, class_field=class_field)
        return build_scene(path.stem, cube, label_raster, source=str(path), align=align, reopen=opened)


def search_path(data_dir: Path | None = None) -> list[Path]:
    """The folders in which catalog scenes are looked for, first to last."""
    folders = [data_dir, os.environ.get("HSIEDGE_DATA")]
    return [Path(folder) for folder in folders if folder] + [cache_dir()]


def cache_dir() -> Path:
    """Folder of downloads, in the user's cache."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hsiedge", appauthor=False))


def _open_mosaic(folder: Path, labels: Path | None, key: str | None, *, class_field: str | None, align: bool) -> Scene:
    """A folder of tiles: its own, or those in `images`; labels in `labels`, another folder or a file; lists where there are."""
    from hsiedge.scenes.io import mosaic

    try:
        tiles = mosaic.read_mosaic(folder / "images" if (folder / "images").is_dir() else folder)
        place = labels or (folder / "labels" if (folder / "labels").is_dir() else None)
        label_raster = None
        if place is not None and place.is_dir():
            label_raster = mosaic.read_label_tiles(place, tiles.grid)
        elif place is not None:
            label_raster = read_labels(place, key, cube=tiles.cube, class_field=class_field)
        parts = mosaic.read_lists(folder, tiles)
    except OSError as error:
        raise SceneError(f"{folder}: cannot be read ({error.strerror or error})") from error
    scene = build_scene(folder.resolve().name, tiles.cube, label_raster, source=str(folder), align=align)
    return dataclasses.replace(scene, parts=parts)


def _pairs(entry: CatalogEntry) -> list[tuple[str, str]]:
    """File names of a catalog scene: the published .mat pair, and the same arrays as .npy."""
    published = (entry.cube.name, entry.labels.name)
    return [published, (published[0].replace(".mat", ".npy"), published[1].replace(".mat", ".npy"))]


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
    entry = _entry(name)
    return entry if locate(entry, data_dir) is None else None


def _entry(name: str) -> CatalogEntry:
    """The entry of a name that may have been meant as a file of one's own. Raises SceneError."""
    try:
        return lookup(name)
    except SceneError as error:
        raise SceneError(error.reason, use={"cube": "FILE", "labels": "FILE"}) from error


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
    with open_cube(place / names[0]) as cube:
        scene = build_scene(entry.name, cube, read_labels(place / names[1]), entry.classes, source=str(place))
    return _judge(entry, scene, None)


def open_entry(entry: CatalogEntry, folder: Path) -> Scene:
    """The catalog scene whose official file names are in `folder`; one that differs from the official file warns."""
    where, labels = folder / entry.cube.name, read_labels(folder / entry.labels.name, entry.labels.key)
    with open_cube(where, entry.cube.key) as cube:
        scene = build_scene(entry.name, cube, labels, entry.classes, source=str(where))
    return _judge(entry, scene, files.digest(where))


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
