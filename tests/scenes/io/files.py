"""Cubes and label maps read whole, and ENVI files written by hand, for the tests of readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.errors import SceneError
from hsiedge.scenes.io.cube import Cube
from hsiedge.scenes.io.reader import open_cube, read_labels


def read(path: Path, key: str | None = None) -> np.ndarray:
    """All stored values of a cube."""
    with open_cube(path, key) as cube:
        return cube.read(0, cube.shape[0])


def facts(path: Path, key: str | None = None) -> Cube:
    """What a cube's file says of it; rows may be read where it is mapped."""
    with open_cube(path, key) as cube:
        return cube


def refused(path: Path, match: str, key: str | None = None, ndim: int = 3) -> None:
    """Checks that a file is refused in one line that names it, and says `match`."""
    with pytest.raises(SceneError, match=match) as caught:
        read(path, key) if ndim == 3 else read_labels(path, key)
    assert path.stem in str(caught.value)
    assert "\n" not in str(caught.value)


def write_envi(
    folder: Path,
    cube: np.ndarray,
    interleave: str = "bip",
    extra: str = "",
    offset: int = 0,
    data: bytes | None = None,
    **changes: Any,
) -> Path:
    """A header and its data, by hand."""
    order = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave.lower()]
    codes = {"u1": 1, "i2": 2, "i4": 3, "f4": 4, "f8": 5, "u2": 12, "u4": 13, "i8": 14, "u8": 15, "c8": 6}
    fields = {
        "samples": cube.shape[1],
        "lines": cube.shape[0],
        "bands": cube.shape[2],
        "header offset": offset,
        "data type": codes[cube.dtype.str[1:]],
        "interleave": interleave,
        "byte order": int(cube.dtype.str[0] == ">"),
        **changes,
    }
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    header = folder / "flight.hdr"
    header.write_text("\n".join(["ENVI", *lines, extra]) + "\n")
    (folder / "flight.img").write_bytes(bytes(offset) + cube.transpose(order).tobytes() if data is None else data)
    return header
