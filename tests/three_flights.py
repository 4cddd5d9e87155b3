"""Three flights of one sensor, made of a real scene that is cut into thirds: each in another form, as flights come."""

from __future__ import annotations

import subprocess
import sys
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


def write_sparse_flights(folder: Path) -> None:
    """Writes two flights of 3.1 GB, sparse files with labels all over, the second one in other units; and `flights.toml`."""
    height, width, bands = 2600, 1500, 200
    rows, columns = np.mgrid[0:height:37, 0:width:41]
    for place, name in enumerate(("first", "second")):
        labels = np.zeros((height, width), np.uint8)
        labels[rows, columns] = 1 + (rows // 37 + columns // 41) % 3
        cube = np.memmap(folder / f"{name}.img", np.int16, "w+", shape=(height, width, bands))
        cube[rows, columns] = (1000 * labels[rows, columns, None].astype(int) + 2 * np.arange(bands)) // (1 + place)
        cube.flush()
        header = f"ENVI\nlines = {height}\nsamples = {width}\nbands = {bands}\ninterleave = bip\nbyte order = 0\n"
        scale = f"reflectance scale factor = {10000 // (1 + place)}\n"
        (folder / f"{name}.hdr").write_text(f"{header}data type = {(12, 2)[place]}\n{scale}")
        np.save(folder / f"{name}.npy", labels)
    tables = [f'[[flight]]\ncube = "{name}.img"\nlabels = "{name}.npy"\n' for name in ("first", "second")]
    (folder / "flights.toml").write_text("\n".join(tables))


def train_sparse_flights(folder: Path) -> tuple[int, float, int]:
    """Trains on the flights of `write_sparse_flights`, in a process of its own: their bytes, validation OA, peak of KiB."""
    answer = subprocess.run([sys.executable, "-c", _LARGE], cwd=folder, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    size, oa, peak = answer.stdout.split()
    return int(size), float(oa), int(peak)


_LARGE = """
import re
from pathlib import Path
from hsiedge.scenes.open import open_scene
from hsiedge.training.fit import FitSettings
from hsiedge.training.train import train

scene = open_scene(Path("flights.toml"))
trained = train(scene, scene.split(), "cnn2d", 5, FitSettings(epochs=20), widths=(8, 8))
print(scene.shape[0] * scene.shape[1] * scene.bands * scene.cube.dtype.itemsize, trained.card.accuracy[0].oa)
# the mark of this program: ru_maxrss may be that of the process which started it
print(re.search("VmHWM:\\\\s+(\\\\d+)", Path("/proc/self/status").read_text())[1])
"""


def _table(name: str, role: str) -> str:
    role_line = f'role = "{role}"\n' if role else ""
    return f'[[flight]]\ncube = "{name}.img"\nlabels = "{name}-labels.img"\n{role_line}'


def _map_info(north: int) -> str:
    return f"map info = {{UTM, 1, 1, 500000, {north}, 20, 20, 16, North, WGS-84, units=Meters}}\n"


def _envi(path: Path, array: np.ndarray, facts: str) -> None:
    """An array `(lines, samples, bands)` as ENVI, its bands by line."""
    kinds = {"uint8": 1, "int16": 2, "float32": 4, "uint16": 12}
    lines, samples, bands = array.shape
    header = f"ENVI\nlines = {lines}\nsamples = {samples}\nbands = {bands}\ninterleave = bil\nbyte order = 0\n"
    path.with_suffix(".hdr").write_text(f"{header}data type = {kinds[array.dtype.name]}\n{facts}")
    np.ascontiguousarray(array.transpose(0, 2, 1)).astype(array.dtype.newbyteorder("<")).tofile(path)
