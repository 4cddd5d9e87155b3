"""The protocol that every inference engine is put behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Affine, Card
from hsiedge.errors import CardError, ModelError
from hsiedge.progress import Progress, silent
from hsiedge.scenes.patches import batches, check_patch, cut, surrounded
from hsiedge.scenes.scene import UNNAMED, Scene

_CACHED = 1 << 16  # values that are scaled at a time
STRIP_PIXELS = 4096  # that an evaluation's strips have at least: a fixed number, for it must not depend on the memory there is


@dataclass(frozen=True)
class TensorSpec:
    """An input of a graph: its name, its shape (None where a dimension is free) and numpy dtype."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]


class Session(Protocol):
    """A graph, loaded by one engine."""

    runtime: str  # "onnxruntime 1.31.1"
    provider: str  # "CPUExecutionProvider"

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The graph's first output."""


@dataclass(frozen=True)
class Model:
    """A model file, opened and ready: a session and the Card inside the file (None for a stranger's)."""

    path: Path
    session: Session
    card: Card | None

    @property
    def known(self) -> Card:
        """The Card. Raises CardError where there is none."""
        if self.card is None:
            raise CardError(f"{self.path}: has no Card; write one in with: hsiedge card {self.path} --scene NAME --patch P")
        return self.card

    @cached_property
    def _affine(self) -> InputAffine | None:
        return InputAffine(self.known.input_affine) if self.known.input_affine is not None else None

    @cached_property
    def takes_rows(self) -> bool:
        """Whether a scene graph takes `(1, height, width, bands)`, and not bands first: its own input says so."""
        shape, bands = self.session.inputs[0].shape, self.known.scene.bands
        return len(shape) == 4 and shape[3] == bands and shape[1] != bands

    @cached_property
    def _ids(self) -> NDArray[np.uint16]:
        return np.array([entry.id for entry in self.known.classes], np.uint16)

    def prepare(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What the graph takes, of rows `(..., bands)` in the scene's stored dtype: themselves, or the Card's integers.

        It works pixel by pixel, so it costs least before patches are cut.
        """
        return rows if self._affine is None else self._affine.of_rows(rows)

    def run(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """`(n, classes)` float32 logits of prepared patches `(n, bands, p, p)`; a scene graph takes them one by one.

        Raises:
            ModelError: the graph does not take them, or gives other than a logit for each class of its Card.
        """
        if self.known.kind == "scene":
            return np.stack([self.strip(patch.transpose(1, 2, 0))[:, 0, 0] for patch in patches])
        return self._run(patches, (len(patches), len(self.known.classes)))

    def strip(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """`(classes, h, w)` float32 logits of a prepared strip with its halo, `(h + p - 1, w + p - 1, bands)`.

        Raises:
            ModelError: as `run`.
        """
        halo, classes = self.known.patch - 1, len(self.known.classes)
        height, width = rows.shape[0] - halo, rows.shape[1] - halo
        if self.known.kind == "scene" and self.takes_rows:
            return np.asarray(self._run(rows[None], (1, classes, height, width))[0])
        planes = np.ascontiguousarray(rows.transpose(2, 0, 1))
        if self.known.kind == "scene":
            return np.asarray(self._run(planes[None], (1, classes, height, width))[0])
        lines = [self.run(cut(planes[:, line : line + halo + 1], halo + 1)).T for line in range(height)]
        return np.stack(lines, axis=1)

    def _run(self, tensor: NDArray[Any], expected: tuple[int, ...]) -> NDArray[np.float32]:
        output = self.session.run([tensor])
        if np.shape(output) != expected:
            raise ModelError(f"{self.path}: its graph gives {np.shape(output)}, by its Card {expected} was expected")
        return np.asarray(output, np.float32)

    def logits(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """`(n, classes)` float32 of patches `(n, bands, p, p)` in the scene's stored dtype. Raises ModelError, as `run`."""
        return self.run(patches if self._affine is None else self._affine(patches))

    def label_ids(self, logits: NDArray[np.float32], axis: int = 1) -> NDArray[np.uint16]:
        """Label ids of logits with classes along `axis`: `(n,)` of `(n, classes)`, `(h, w)` of a strip's with axis 0."""
        labels: NDArray[np.uint16] = self._ids[logits.argmax(axis)]
        return labels

    def labels(self, patches: NDArray[Any]) -> NDArray[np.uint16]:
        """Label ids `(n,)` of patches `(n, bands, p, p)` in the scene's stored dtype."""
        return self.label_ids(self.logits(patches))

    def check_fits(self, scene: Scene) -> None:
        """Raises ModelError unless the model takes this scene's bands and dtype, and knows its classes."""
        card = self.known
        if scene.bands != card.scene.bands:
            raise ModelError(
                f"{self.path} takes {card.scene.bands} bands ({card.scene.name}), {scene.name} has {scene.bands}; "
                "it needs a model of its own (hsiedge train)"
            )
        if scene.cube.dtype != np.dtype(card.scene.dtype):
            raise ModelError(f"{self.path} takes counts as {card.scene.dtype}, {scene.name} stores {scene.cube.dtype}")
        theirs = {entry.id for entry in card.classes}
        dropped = set(card.split.dropped) if card.split else set()
        extra = sorted(set(scene.classes) - theirs - dropped)
        if scene.labels is not None and extra:
            raise ModelError(f"{self.path} knows the classes {sorted(theirs)}, {scene.name} also has {extra}")
        for entry in card.classes:
            title = scene.classes.get(entry.id, entry.name)
            if title != entry.name and UNNAMED not in (title.split(" ")[0], entry.name.split(" ")[0]):
                raise ModelError(f"{self.path}: its class {entry.id} is {entry.name!r}, that of {scene.name} is {title!r}")

    def predict(self, scene: Scene, pixels: NDArray[np.intp], progress: Progress = silent) -> NDArray[np.uint16]:
        """Label ids `(n,)` at flat pixel indices of a scene; memory is that of one batch, or of one strip of a scene graph.

        Raises:
            ModelError: the model does not fit the scene.
            SceneError: the patch is wider than the scene.
        """
        self.check_fits(scene)
        check_patch(self.known.patch, scene.shape)
        labels = np.zeros(len(pixels), np.uint16)
        done = 0
        pieces = self._strips(scene, pixels) if self.known.kind == "scene" else self._batches(scene, pixels)
        for places, found in pieces:
            labels[places] = found
            done += len(found)
            progress(done / len(pixels))
        return labels

    def _batches(self, scene: Scene, pixels: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint16]]]:
        """Places in `pixels`, and their labels, patch by patch."""
        done = 0
        for piece, patches in batches(scene.cube, pixels, self.known.patch):
            yield np.arange(done, done + len(piece)), self.labels(patches)
            done += len(piece)

    def _strips(self, scene: Scene, pixels: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.uint16]]]:
        """The same, by strips of the rows that hold pixels."""
        height, width = scene.shape
        rows = pixels // width
        tall = max(self.known.patch, STRIP_PIXELS // width)  # lower ones would be more halo than strip
        for first in range(0, height, tall):
            places = np.flatnonzero((rows >= first) & (rows < first + tall))
            if not len(places):
                continue
            strip = surrounded(scene.cube, first, first + tall, self.known.radius)
            found = self.label_ids(self.strip(self.prepare(strip)), axis=0)
            yield places, found[rows[places] - first, pixels[places] % width]


class InputAffine:
    """The Card's affine, ready to be applied: stored counts to the integers that a graph takes.

    `round((x - offset) * (scale / step)) + zero_point`, clipped to the dtype; each operation in float32, the quotient's one
    rounding and round's half to even, so that every processor gives the same integers.
    """

    def __init__(self, affine: Affine) -> None:
        self._offset = np.asarray(affine.offset, np.float32)
        self._scale = (np.asarray(affine.scale, np.float64) / affine.step).astype(np.float32)
        self._zero_point = np.float32(affine.zero_point)
        self._dtype = np.dtype(affine.dtype)
        self._tiled = (np.zeros(0, np.float32),) * 2

    def __call__(self, planes: NDArray[Any]) -> NDArray[Any]:
        """Integers of `planes` `(..., bands, height, width)` in stored units."""
        values = np.empty(planes.shape, np.float32)
        made = np.empty(planes.shape, self._dtype)
        self._apply(planes, self._offset[:, None, None], self._scale[:, None, None], values, made)
        return made

    def of_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The same of rows `(..., bands)`, some pixels at a time: what is worked on stays in the processor's cache."""
        bands = len(self._offset)
        stored = np.ascontiguousarray(rows).reshape(-1, bands)
        made = np.empty(stored.shape, self._dtype)
        step = max(1, min(len(stored), _CACHED // bands))
        offset, scale = self._repeated(step * bands)
        values = np.empty(step * bands, np.float32)  # of this call: a model may be used by several threads
        for first in range(0, len(stored), step):
            piece, target = stored[first : first + step].reshape(-1), made[first : first + step].reshape(-1)
            count = piece.size
            self._apply(piece, offset[:count], scale[:count], values[:count], target)
        return made.reshape(rows.shape)

    def _repeated(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Offsets and scales for so many values; kept, for a small input takes less time than they do."""
        made = self._tiled
        if len(made[0]) < count:
            pixels = -(-count // len(self._offset))
            made = self._tiled = np.tile(self._offset, pixels), np.tile(self._scale, pixels)
        return made

    def _apply(
        self,
        stored: NDArray[Any],
        offset: NDArray[np.float32],
        scale: NDArray[np.float32],
        values: NDArray[np.float32],
        made: NDArray[Any],
    ) -> None:
        limits = np.iinfo(self._dtype)
        values[...] = stored
        values -= offset
        values *= scale
        np.rint(values, out=values)
        values += self._zero_point
        np.clip(values, limits.min, limits.max, out=values)
        made[...] = values
