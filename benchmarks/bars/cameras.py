"""Real cameras, and how many times faster than they record we label: a net of each camera's bands, lines of its width."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomllib

from bars.models import Workshop, macs, scene_shape
from bars.turns import Contender, take

TABLE = Path(__file__).with_name("cameras.toml")
LINES = 128  # of a strip that is labelled at once, its halo computed anew for each


@dataclass(frozen=True)
class Camera:
    """A camera; `known` says how its line rate came here, as cameras.toml explains."""

    name: str
    where: str
    bands: int
    pixels: int
    lines_per_second: float
    known: str
    how: str
    source: str
    year: int

    @property
    def pixels_per_s(self) -> float:
        return self.pixels * self.lines_per_second


def cameras() -> list[Camera]:
    """Those of the table."""
    return [Camera(**entry) for entry in tomllib.loads(TABLE.read_text())["camera"]]


def measured(workshop: Workshop, seconds: float) -> dict[str, Any]:
    """Bar 6: for each camera the INT8 scene graph of the default net for its bands, on strips of its width, one thread."""
    known = cameras()
    contenders, work = [], {}
    for camera in known:
        model = workshop.untrained("cnn2d", camera.bands)["scene int8"]
        work[camera.name] = macs(model)
        contenders.append(Contender(camera.name, model, shape=scene_shape(model, LINES, camera.pixels)))
    turns = take(contenders, seconds)
    rows = []
    for camera in known:
        timed = turns.timed[camera.name]
        speed = {"pixels_per_s": timed.pixels_per_s, "times": timed.pixels_per_s / camera.pixels_per_s}
        rows.append({**asdict(camera), **speed, "macs": work[camera.name]})
    count = int(workshop.scene.cube.itemsize)
    return {"rows": rows, "count_bytes": count, "lines": LINES, "other_cores": turns.load.cores, "verdicts": []}
