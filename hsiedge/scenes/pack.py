"""Packs: a scene as one compressed .npz, which opens on a device without scipy, rasterio or h5py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import files
from hsiedge.archive import open_zip
from hsiedge.errors import OutputError, SceneError
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.georeference import Georeference
from hsiedge.scenes.io.numpy_files import read_npz
from hsiedge.scenes.io.reader import read_labels
from hsiedge.scenes.scene import Scene, build_scene

_MAX_FACTS = 1 << 20  # bytes of a pack's facts; those of a 400-band scene take some 10 kB


def pack(scene: Scene, path: Path) -> None:
    """Writes the scene as one compressed .npz (cube, labels, facts), which `open_scene` reads on a device without scipy.

    Raises:
        OutputError: `path` cannot be written.
        SceneError: the scene is of several flights.
    """
    scene.check_single("pack them one by one")
    facts = {
        "name": scene.name,
        "classes": [[label, title] for label, title in scene.classes.items()],
        "wavelengths": list(scene.wavelengths),
        "nodata": scene.nodata,
        "units": scene.units,
        "georeference": scene.georeference.to_json() if scene.georeference is not None else {},
        "official": scene.official,
        "scale": scene.scale,
        "offset": scene.offset,
        "widths": scene.widths,
        "quantity": scene.quantity,
    }
    arrays = {"cube": np.ascontiguousarray(scene.cube), "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}
    if scene.labels is not None:
        arrays["labels"] = scene.labels
    if scene.parts is not None:
        arrays["parts"] = scene.parts
    if scene.valid is not None:
        arrays["valid"] = scene.valid.astype(np.uint8)
    with files.atomic(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        with open_zip(temporary) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise OutputError(f"cannot write {path}: {broken} does not read back as it was written; is the disk full?")


def open_packed(path: Path) -> Scene | None:
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
        facts = json.loads(read_npz(path, "facts", 1).tobytes())
        valid = read_npz(path, "valid", 2) != 0 if "valid.npy" in members else None
        official = facts["official"]
        if official is not None and not isinstance(official, bool):
            raise ValueError(f"official: {official!r}")
        cube = _cube(path, facts, valid)
        labels = read_labels(path, "labels") if "labels.npy" in members else None
        classes = {int(label): str(title) for label, title in facts["classes"]}
        scene = build_scene(str(facts["name"]), cube, labels, classes, official, str(path))
        if "parts.npy" in members:
            scene = dataclasses.replace(scene, parts=_believable_parts(read_npz(path, "parts", 2), scene.shape))
    except SceneError:
        raise
    except Exception as error:
        raise SceneError(f"{path}: not a whole scene pack ({error}); make it again with: hsiedge scenes pack") from error
    return scene


def _cube(path: Path, facts: dict[str, Any], valid: NDArray[np.bool_] | None) -> Cube:
    """Cube of a pack, with the meaning that its facts tell; packs of hsiedge 0.1 tell less."""
    array = read_npz(path, "cube", 3)
    if valid is not None and valid.shape != array.shape[:2]:
        raise ValueError(f"a mask of {valid.shape} for a cube of {array.shape}")
    nodata, bands = facts["nodata"], array.shape[2]
    values = nodata if isinstance(nodata, list) else [nodata] * bands
    if len(values) != bands:
        raise ValueError(f"{len(values)} nodata values for {bands} bands")
    return Cube.of_array(
        array,
        path,
        wavelengths=_numbers(facts["wavelengths"]),
        nodata=tuple(None if value is None else float(value) for value in values),
        units=str(facts["units"]),
        georeference=Georeference.from_json(facts["georeference"]),
        scale=_numbers(facts["scale"]) if facts.get("scale") else None,
        offset=_numbers(facts["offset"]) if facts.get("offset") else None,
        widths=_numbers(facts.get("widths", [])),
        quantity=str(facts.get("quantity", "")),
        valid=None if valid is None else lambda first, count: valid[first : first + count],
    )


def _numbers(values: list[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _believable_parts(parts: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
    if parts.dtype != np.uint8 or parts.shape != shape or parts.max() > 3:
        raise ValueError("its lists of pixels are none")
    return parts
