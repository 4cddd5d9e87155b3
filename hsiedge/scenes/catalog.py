"""The catalog: public scenes, by the facts that their publishers give. They stand in catalog.toml, beside this file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsiedge.errors import SceneError
from hsiedge.files import read_toml


@dataclass(frozen=True)
class RemoteFile:
    """One published .mat file.

    Attributes:
        name: of the file.
        key: of the array inside.
        url: the publisher's address.
        sha256: of the file, where known.
        mirrors: addresses of copies, in the order in which they are tried where the publisher's gives no right file.
    """

    name: str
    key: str
    url: str
    sha256: str | None = None
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CatalogEntry:
    """One scene: `shape` is (height, width, bands); `classes` maps label id to name.

    `decoded_sha256` is `Scene.sha256` of the official cube, and `labels_sha256` that of the official label map
    (`scene.labels_digest`), where somebody has measured them.
    """

    name: str
    title: str
    sensor: str
    shape: tuple[int, int, int]
    cube: RemoteFile
    labels: RemoteFile
    classes: dict[int, str]
    aliases: tuple[str, ...] = ()
    decoded_sha256: str | None = None
    labels_sha256: str | None = None


def _entries(path: Path) -> Iterator[CatalogEntry]:
    """Reads the entries of a catalog file, in its order."""
    tables = read_toml(path)
    for name, facts in tables["scenes"].items():
        names = facts.pop("classes")
        labels = facts.pop("label_ids", range(1, len(names) + 1))
        cube, label_map = (_remote_file(tables["site"], **facts.pop(part)) for part in ("cube", "labels"))
        tuples: dict[str, Any] = {"shape": tuple(facts.pop("shape")), "aliases": tuple(facts.pop("aliases", ()))}
        yield CatalogEntry(name=name, cube=cube, labels=label_map, classes=dict(zip(labels, names)), **tuples, **facts)


def _remote_file(
    site: str, name: str, key: str, path: str, sha256: str | None = None, mirrors: Sequence[str] = ()
) -> RemoteFile:
    return RemoteFile(name, key, site + path, sha256, tuple(mirrors))


CATALOG: dict[str, CatalogEntry] = {entry.name: entry for entry in _entries(Path(__file__).with_name("catalog.toml"))}
"""Scenes of the catalog, by name."""


def lookup(name: str) -> CatalogEntry:
    """The entry of that name or alias; case, dashes and spaces do not matter. Raises SceneError for any other name."""
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    for entry in CATALOG.values():
        if wanted == entry.name or wanted in entry.aliases:
            return entry
    raise SceneError(f"no scene is called {name!r}; the catalog has {', '.join(CATALOG)}")
