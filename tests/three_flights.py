"""Three flights of one sensor, made of a real scene that is cut into thirds: each in another form, as flights come."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hsiedge.scenes.scene import Scene

STEP = 1e-4
"""Reflectance that a stored integer of the first and third flight is worth; the second one holds reflectance itself."""
NAMES = ("north", "middle", "south")


def write_flights(scene: Scene, folder: Path, roles: tuple[str, ...] = ("", "", "")) -> Path:
    """Writes the thirds of a scene as ENVI files and the list of them, `flights.toml`; gives its path.

    All have wavelengths and coordinates. The middle one holds reflectance as float32, the southern one its bands in reverse,
    and both number the classes otherwise than the northern one; the names are the same.
    """
    wavelengths = np.linspace(400, 2500, scene.bands).round(2)
    stored = np.asarray(scene.cube)
    cuts = [scene.shape[0] * place // 3 for place in range(4)]
    for place, (name, top, bottom) in enumerate(zip(NAMES, cuts, cuts[1:])):
        cube, order = stored[top:bottom], np.arange(scene.bands)[:: -1 if name == "south" else 1]
        meaning = "data units = reflectance" if name == "middle" else f"reflectance scale factor = {1 / STEP:g}"
        cube = (cube * STEP).astype(np.float32) if name == "middle" else cube
        listed = ", ".join(map(str, wavelengths[order]))
        north = 4_480_000 - 20 * top
        facts = f"{meaning}\nwavelength units = nm\nwavelength = {{{listed}}}\n"
        _envi(folder / f"{name}.img", cube[:, :, order], facts + _map_info(north))
        most = max(scene.classes)
        ids = {label: (label + 5 * place - 1) % most + 1 for label in scene.classes}
        table = np.array([ids.get(label, 0) for label in range(most + 1)], np.uint8)
        titles = {ids[label]: title for label, title in scene.classes.items()}
        names = ", ".join(titles.get(label, "unlabelled") for label in range(max(titles) + 1))
        _envi(
            folder / f"{name}-labels.img",
            table[scene.labelled()[top:bottom]][:, :, None],
            f"file type = ENVI Classification\nclasses = {max(titles) + 1}\nclass names = {{{names}}}\n" + _map_info(north),
        )
    path = folder / "flights.toml"
    titles = "\n".join(f'{label} = "{title}"' for label, title in scene.classes.items())
    path.write_text("\n".join([*(_table(name, role) for name, role in zip(NAMES, roles)), "[classes]", titles]))
    return path


def _table(name: str, role: str) -> str:
    told = f'role = "{role}"\n' if role else ""
    return f'[[flight]]\ncube = "{name}.img"\nlabels = "{name}-labels.img"\n{told}'


def _map_info(north: int) -> str:
    return f"map info = {{UTM, 1, 1, 500000, {north}, 20, 20, 16, North, WGS-84, units=Meters}}\n"


def _envi(path: Path, array: np.ndarray, facts: str) -> None:
    """An array `(lines, samples, bands)` as ENVI, its bands by line."""
    kinds = {"uint8": 1, "int16": 2, "float32": 4, "uint16": 12}
    lines, samples, bands = array.shape
    header = f"ENVI\nlines = {lines}\nsamples = {samples}\nbands = {bands}\ninterleave = bil\nbyte order = 0\n"
    path.with_suffix(".hdr").write_text(f"{header}data type = {kinds[array.dtype.name]}\n{facts}")
    np.ascontiguousarray(array.transpose(0, 2, 1)).astype(array.dtype.newbyteorder("<")).tofile(path)
