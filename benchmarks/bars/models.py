"""What is measured: the shipped net and its graphs, the student of 16 KiB, the four nets, a net for each camera.

Each file is made once, by the same functions that a user's commands call, and kept below a folder that is named after the
sources that made it: a graph of yesterday's code is never measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import hsiedge
from hsiedge import files
from hsiedge.errors import MissingExtraError
from hsiedge.graphs.quantization.calibration import CALIBRATION_PATCHES
from hsiedge.graphs.quantization.quantize import quantize
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.runtimes import load, require_card
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import draw
from hsiedge.shipped import shipped

STUDENT_WIDTHS = (16, 28, 28, 28, 28)  # what the search for 16 KiB came to with seed 0: results/compress-*.json
FRESH = ("cnn1d", "liunet", "cnn3d", "hybridsn")
STORED_STUDENT = Path(__file__).parents[2] / "tests" / "native" / "data" / "student-int8-scene.onnx"
CORNER = 64  # pixels a side of the part of the scene that a net is made for of which nothing but its time is asked


@dataclass(frozen=True)
class Workshop:
    """Where models are made: the scene they are for, and the folder of the sources that make them."""

    scene: Scene
    folder: Path

    @classmethod
    def below(cls, cache: Path, scene: Scene) -> Workshop:
        folder = cache / f"models-{_sources()}"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(scene, folder)

    def built(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file of that name; `make` writes it where it is not there."""
        path = self.folder / name
        if not path.exists():
            make(path)
        return path

    def graphs(self, model: Path, patches: int = CALIBRATION_PATCHES, max_drop: float = 0.5) -> dict[str, Path]:
        """The four graphs of a float patch model, by what they are called in the results."""
        stem = model.stem
        whole = self.built(f"{stem}-scene.onnx", lambda path: scene_graph(model, self.scene, path))

        def integer(source: Path) -> Callable[[Path], object]:
            return lambda path: quantize(source, self.scene, path, patches=patches, max_drop=max_drop)

        return {
            "patch float": model,
            "patch int8": self.built(f"{stem}-int8.onnx", integer(model)),
            "scene float": whole,
            "scene int8": self.built(f"{stem}-int8-scene.onnx", integer(whole)),
        }

    def litert(self, whole: Path, rows: int, columns: int) -> tuple[Path | None, str]:
        """An INT8 `.tflite` of a float scene graph, for strips of `rows` x `columns` labels; or None, and why there is none."""
        try:
            path = self.built(
                f"{whole.stem}-int8-{rows}x{columns}.tflite",
                lambda path: quantize(whole, self.scene, path, tile=(rows, columns)),
            )
            load(path, 1)
        except MissingExtraError as error:
            return None, str(error)
        return path, ""

    def small(self, bands: int | None = None) -> Workshop:
        """The workshop for a corner of the scene: there nets are made that nothing but their time is asked of."""
        part = corner(self.scene, CORNER)
        return replace(self, scene=part if bands is None else resampled(part, bands))

    def untrained(self, net: str, bands: int | None = None) -> dict[str, Path]:
        """The graphs of a seeded net of the registry, fresh, behind real preprocessing: its times are those of a trained one.

        Args:
            bands: of the scene, whose spectra are drawn out, or together; None for its own.
        """
        shop = self.small(bands)
        model = shop.built(f"{net}-{shop.scene.bands}-bands.onnx", lambda path: _untrained(net, shop.scene, path))
        return shop.graphs(model, patches=CORNER, max_drop=100.0)

    def exported(self) -> dict[str, tuple[Path, Scene]]:
        """INT8 scene graphs that become C, by the net's name, each with a scene of its classes; FRESH ones untrained."""
        graphs = {name: (self.untrained(name)["scene int8"], corner(self.scene, CORNER)) for name in FRESH}
        return {"student": (STORED_STUDENT, self.scene), "cnn2d": (shipped("-int8-scene.onnx"), self.scene), **graphs}

    def liunet(self) -> Path:
        """Checkpoint of liunet, trained on the scene by blocks, which no test pixel's surroundings train on."""
        from hsiedge.training.checkpoint import save_checkpoint
        from hsiedge.training.train import train

        return self.built(
            "liunet.safetensors", lambda path: save_checkpoint(path, train(self.scene, draw("blocks", self.scene, 0), "liunet"))
        )

    def liunet_graph(self) -> Path:
        """The same as ONNX."""
        return self.built("liunet.onnx", lambda path: _export(self.scene, self.liunet(), path))

    def student(self) -> Path:
        """The student of 16 KiB, distilled from the shipped teacher as the search did with seed 0: minutes, but once."""
        teacher = shipped(".safetensors")
        trained = self.folder.parent / f"student-{files.digest(teacher)[:12]}.safetensors"
        if not trained.exists():
            _distil(self.scene, teacher, trained)
        return self.built("student.onnx", lambda path: _export(self.scene, trained, path))


def corner(scene: Scene, side: int) -> Scene:
    """A corner of the scene, with the classes that are there."""
    labels = scene.labelled()[:side, :side]
    classes = {label: title for label, title in scene.classes.items() if (labels == label).any()}
    cube = np.ascontiguousarray(scene.cube[:side, :side])
    return replace(scene, name=f"{scene.name}-corner", cube=cube, labels=labels, classes=classes, official=None)


def resampled(scene: Scene, bands: int) -> Scene:
    """The scene with its spectra drawn out, or together, to so many bands."""
    places = np.linspace(0, scene.bands - 1, bands)
    below = np.minimum(places.astype(int), scene.bands - 2)
    share = places - below
    cube = scene.cube[..., below] * (1 - share) + scene.cube[..., below + 1] * share
    return replace(scene, name=f"{scene.name}-{bands}-bands", cube=np.rint(cube).astype(scene.cube.dtype), official=None)


def _untrained(net: str, scene: Scene, path: Path) -> None:
    import torch

    from hsiedge import nets
    from hsiedge.card import Card, ClassFacts, NetFacts, now
    from hsiedge.graphs.export.checkpoint import export
    from hsiedge.training.checkpoint import Checkpoint
    from hsiedge.training.classifier import Classifier, macs_per_pixel
    from hsiedge.training.dataset import prepare
    from hsiedge.training.train import scene_facts

    split = draw("random", scene, 0)
    patch = nets.spec(net).patch
    dataset = prepare(scene, split, patch)
    torch.manual_seed(0)
    module = nets.build(net, scene.bands, len(dataset.titles), patch).eval()
    card = Card(
        kind="checkpoint",
        scene=scene_facts(scene, dataset.pixels),
        classes=[ClassFacts(label, title) for label, title in dataset.titles.items()],
        patch=patch,
        created=now(),
        net=NetFacts(net, {}, nets.parameter_count(module), macs_per_pixel(module, scene.bands, patch)),
        split=split.facts,
    )
    export(Checkpoint(Classifier(module, dataset.affine).eval(), card), scene, path)


def _distil(scene: Scene, teacher: Path, path: Path) -> None:
    from hsiedge.compression.budget import DISTILLING, STUDENT
    from hsiedge.compression.distill import distill
    from hsiedge.training.checkpoint import load_checkpoint, save_checkpoint

    split, parent = draw("random", scene, 0), files.digest(teacher)
    student = distill(
        load_checkpoint(teacher), scene, split, STUDENT, settings=DISTILLING, parent=parent, widths=list(STUDENT_WIDTHS)
    )
    save_checkpoint(path, student)


def _export(scene: Scene, checkpoint: Path, path: Path) -> None:
    from hsiedge.graphs.export.checkpoint import export
    from hsiedge.training.checkpoint import load_checkpoint

    export(load_checkpoint(checkpoint), scene, path, files.digest(checkpoint))


def scene_shape(model: Path, rows: int, columns: int) -> str | None:
    """`--shape` of a scene graph that labels `rows` x `columns` pixels; None for a patch graph, and where the file fixes it."""
    opened = load(model, 1)
    card, sizes = opened.known, opened.session.inputs[0].shape
    if card.kind != "scene" or None not in sizes:
        return None
    high, wide = rows + card.patch - 1, columns + card.patch - 1
    shape: tuple[Any, ...] = (1, high, wide, card.scene.bands) if opened.takes_rows else (1, card.scene.bands, high, wide)
    return ",".join(map(str, shape))


def macs(path: Path) -> int:
    """Multiply-accumulates a pixel, as the Card has them."""
    net = require_card(path).net
    assert net is not None
    return net.macs_per_pixel


def pixel_bytes(scene: Scene) -> int:
    """Of a pixel as it is stored."""
    return int(scene.bands * scene.cube.itemsize)


def _sources() -> str:
    """A digest of all that has a say in how models come out."""
    digest = hashlib.sha256()
    package = Path(hsiedge.__file__).parent
    for path in [*sorted(package.glob("graphs/**/*.py")), *sorted(package.glob("nets/*.py")), Path(__file__)]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]
