"""A peer's process, run by the Python of the peer's environment: `python -m bars.peer ADAPTER measure` (or `labels FILE`).

A peer stands behind the same protocol as our runtimes (`hsiedge.runtimes.Session`), so that its process does the very work of
`hsiedge bench`: cutting patches, the session, argmax, label ids. An adapter is a module with two functions:

    prepare(asked)       converts the model to the peer's own form, where that is not there yet
    open_session(asked)  loads it
"""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsiedge.benchmark import worker
from hsiedge.runtimes import Model, read_card
from hsiedge.runtimes.model import Session


@dataclass(frozen=True)
class Asked:
    """What a peer is asked for.

    Attributes:
        path: ONNX with a Card, input in stored counts; beside it, made by us, STEM-float.onnx (float32 counts) and
            STEM-SHAPE.pt2 (torch.export, float32 counts).
        precision: "float32", "default" (whatever the peer likes best) or "int8".
        shape: of the input.
        calibration: .npy, patches `(n, bands, p, p)` in stored counts, of training pixels.
        prepared: folder for the peer's own files.
        compiled: of torch: whether torch.compile is asked for.
    """

    path: Path
    precision: str
    shape: tuple[int, ...]
    calibration: Path
    prepared: Path
    compiled: bool = False

    @property
    def floats(self) -> Path:
        return self.path.with_name(f"{self.path.stem}-float.onnx")

    @property
    def exported(self) -> Path:
        return self.path.with_name(f"{self.path.stem}-{'x'.join(map(str, self.shape))}.pt2")

    def own(self, suffix: str, shaped: bool = True) -> Path:
        """The peer's own file."""
        shape = "-" + "x".join(map(str, self.shape)) if shaped else ""
        return self.prepared / f"{self.path.stem}-{self.precision}{shape}{suffix}"

    def calibrating(self) -> list[np.ndarray[Any, Any]]:
        """Calibration patches as float32 inputs of `shape`; a scene graph gets pictures that are laid out of patches."""
        patches = np.load(self.calibration).astype(np.float32)
        count, _, high, wide = self.shape
        side = patches.shape[2]
        if (high, wide) == (side, side):
            return [patches[first : first + count] for first in range(0, len(patches) - count + 1, count)]
        down, across = -(-high // side), -(-wide // side)
        pictures = []
        for first in range(0, len(patches), down * across):
            tiles = patches[np.arange(first, first + down * across) % len(patches)].reshape(down, across, *patches.shape[1:])
            picture = tiles.transpose(2, 0, 3, 1, 4).reshape(1, patches.shape[1], down * side, across * side)
            pictures.append(np.ascontiguousarray(picture[:, :, :high, :wide]))
        return pictures


def asked_of(command: dict[str, Any], shape: list[int] | None = None) -> Asked:
    return Asked(
        path=Path(command["path"]),
        precision=command["peer_precision"],
        shape=tuple(shape or command["peer_shape"]),
        calibration=Path(command["calibration"]),
        prepared=Path(command["prepared"]),
        compiled=bool(command.get("compiled")),
    )


def opened(adapter: Any, command: dict[str, Any]) -> Model:
    """The model in the peer's session."""
    session: Session = adapter.open_session(asked_of(command))
    path = Path(command["path"])
    return Model(path, session, read_card(path))


def labels(adapter: Any, command: dict[str, Any]) -> None:
    """Prepares all shapes, then writes the labels of rows with their halo."""
    for shape in command["shapes"]:
        adapter.prepare(asked_of(command, shape))
    model = opened(adapter, command)
    rows = np.load(command["rows"])
    np.save(command["labels"], model.label_ids(model.strip(model.prepare(rows)), axis=0))


def main() -> None:
    name, mode = sys.argv[1:3]
    adapter = importlib.import_module(f"bars.{name}_peer")
    if mode == "labels":
        labels(adapter, json.loads(Path(sys.argv[3]).read_text()))
    else:
        worker.main(lambda command: opened(adapter, command), lambda asked: None)  # the adapter has imported its runtime


if __name__ == "__main__":
    main()
