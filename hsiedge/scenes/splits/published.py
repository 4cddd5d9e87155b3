"""Published splits by name: maps that their publishers give, translated into the label ids of the scene.

Their own values are the labels, for they are drawn on other label maps than the scene's. The registry holds what it takes to
read one: its maps with their addresses and SHA-256, and the order of their classes. Ours stand in published.toml; a user's
own is an instance of `PublishedSplit`, by an entry point of the group `hsiedge.splits` or by FILE.py:NAME.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.card import PublishedFacts
from hsiedge.errors import SplitError
from hsiedge.registry import Registry, instance_of
from hsiedge.scenes.catalog import CATALOG, RemoteFile
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.open import cache_dir, search_path
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits.masks import divided
from hsiedge.scenes.splits.split import Split


@dataclass(frozen=True)
class PublishedMaps:
    """The maps of one scene.

    Attributes:
        order: the scene's label ids of the maps' values 1, 2, ...
        train: map of the training pixels.
        test: that of the test pixels; None where all other labelled pixels of the scene test, with the scene's labels.
    """

    order: tuple[int, ...]
    train: RemoteFile
    test: RemoteFile | None = None


@dataclass(frozen=True)
class PublishedSplit:
    """A published split: its maps by the catalog name of their scene."""

    maps: Mapping[str, PublishedMaps]


def _entries(path: Path) -> Iterator[tuple[str, PublishedSplit]]:
    """Reads the splits of a registry file."""
    for name, scenes in files.read_toml(path)["splits"].items():
        yield name, PublishedSplit({scene: _maps(**facts) for scene, facts in scenes.items()})


def _maps(site: str, order: list[int], train: dict[str, str], test: dict[str, str] | None = None) -> PublishedMaps:
    def remote(name: str, sha256: str, key: str = "") -> RemoteFile:
        return RemoteFile(name, key, site + name, sha256)

    return PublishedMaps(tuple(order), remote(**train), None if test is None else remote(**test))


PUBLISHED: Registry[PublishedSplit] = Registry(
    "hsiedge.splits",
    "published split",
    dict(_entries(Path(__file__).with_name("published.toml"))),
    instance_of(PublishedSplit),
)
"""Published splits by name."""


def published_split(name: str, scene: Scene, seed: int = 0) -> Split:
    """A published split of a scene, with its own labels; a third of its training pixels validates, by a draw with `seed`.

    Its maps are looked for beside the scene's file, in the folder that was named for scenes of the catalog (`data_dir`), in
    `$HSIEDGE_DATA` and in the user's cache, there and in a folder `splits` of each; where they are not, they are downloaded
    from their publisher into the cache.

    Args:
        name: in the registry, or FILE.py:NAME of one's own.

    Raises:
        OptionError: no split of that name.
        SplitError: it has no maps of this scene, or they do not fit it; a map that is not the published one.
        DownloadError: a map is not on this machine, and cannot be downloaded.
    """
    name = PUBLISHED.name_of(name)
    maps = _maps_of(name, scene)
    train, test = _translated(maps, maps.train, scene), None
    if maps.test is not None:
        test = _translated(maps, maps.test, scene)
    else:
        test = np.where(train == 0, scene.labelled(), 0).astype(np.uint16)
    split = divided(scene, name, np.where(train != 0, train, test), train != 0, test != 0, seed, own=True)
    digests = {file.name: str(file.sha256) for file in (maps.train, maps.test) if file is not None}
    return replace(split, published=PublishedFacts(digests, list(maps.order)))


def _maps_of(name: str, scene: Scene) -> PublishedMaps:
    maps, wanted = PUBLISHED[name].maps, scene.name.lower()
    for title, entry in maps.items():
        if wanted == title or (title in CATALOG and wanted in CATALOG[title].aliases):
            unknown = sorted(set(entry.order) - set(scene.classes))
            if unknown:
                raise SplitError(f"{scene.name} has no classes {unknown}, which the {name} split labels")
            return entry
    raise SplitError(f"the {name} split has no maps of {scene.name}; it has those of {', '.join(maps)}")


def _translated(maps: PublishedMaps, file: RemoteFile, scene: Scene) -> NDArray[np.uint16]:
    """A map `(height, width)` in label ids of the scene, 0 where a pixel is in no part."""
    path = _located(file, scene)
    values: NDArray[Any] = read_labels(path, file.key or None).array
    if values.shape != scene.shape:
        raise SplitError(f"{path} is a map of {values.shape} pixels, {scene.name} has {scene.shape}")
    if values.min() < 0 or values.max() > len(maps.order):
        raise SplitError(f"{path}: its values go from {values.min()} to {values.max()}, there are {len(maps.order)} classes")
    return np.array([0, *maps.order], np.uint16)[values.astype(np.intp)]


def _located(file: RemoteFile, scene: Scene) -> Path:
    """The map on this machine, downloaded where it is not there yet. Raises SplitError where it is not the published one."""
    for folder in (Path(scene.source).parent, *search_path(scene.data_dir)):
        for path in (folder / file.name, folder / "splits" / file.name):
            if path.is_file():
                if file.sha256 is not None and files.digest(path) != file.sha256:
                    raise SplitError(f"{path}: not the published map (another SHA-256); move it away, or mend it")
                return path
    from hsiedge.scenes.fetch import retrieve

    return retrieve(file, cache_dir() / "splits")
