"""The protocol that every inference engine is put behind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import CardError, ModelError
from hsiedge.native.input_step import ReferenceTables
from hsiedge.progress import Progress, silent
from hsiedge.runtimes.input_affine import InputAffine
from hsiedge.scenes.cubes import spans_of
from hsiedge.scenes.patches import batches, check_patch, cut, cut_rows, surrounded
from hsiedge.scenes.scene import UNNAMED, Scene

STRIP_PIXELS = 4096  # that an evaluation's strips have at least: a fixed number, for it must not depend on the memory there is
OVERFLOWS = "8-bit sums may overflow on this CPU: labels may differ from those of others"
_PIXELS_AT_ONCE = 512  # of a net of single pixels: their maps take some 50 kB each
_MANY = 1024  # pixels: of fewer, numpy's argmax takes less time than some calls for each plane


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
    inputs: Sequence[TensorSpec]
    exact_mode: bool = False  # whether it takes more time than it would, lest 8-bit sums overflow on this processor
    overflows: bool = False  # whether 8-bit sums may overflow in it, so that labels differ from those of other processors
    arena_bytes: int | None = None  # memory that a microcontroller sets aside for it, in an engine that counts it
    streams: bool = False  # whether `stream` gives one,
    takes_raw_rows: bool = False  # and takes dark and white references with it

    def run(self, tensors: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The graph's first output, as it is."""

    def values(self, output: NDArray[Any]) -> NDArray[Any]:
        """Values that an output stands for: float32 in the same order where it is integers that have a scale; else itself."""
        return output

    def stream(
        self, width: int, above: int, *, logits: bool = False, references: ReferenceTables | None = None
    ) -> RowStream | None:
        """A stream of rows, in an engine that takes them one by one; None in one that takes strips.

        Args:
            width: pixels a row.
            above: rows that are reflected above the first, its radius at a scene's edge; 0 where the first are halo.
            logits: give logits in place of label ids.
            references: of raw rows, for a session that takes such; it is not named to others.
        """
        return None


class RowStream(Protocol):
    """Rows through an engine as the sensor stores them, labelled as soon as all around them is known."""

    def push(self, rows: NDArray[Any], empty: NDArray[np.bool_] | None = None) -> NDArray[Any]:
        """Takes rows `(n, width, bands)`; gives those that are due: label ids `(m, width)`, or logits `(classes, m, width)`.

        Args:
            empty: pixels `(n, width)` of raw rows that hold no data; it is not named where rows are not raw.
        """

    def finish(self) -> NDArray[Any]:
        """The rows that are held back, reflected at the scene's end."""


@dataclass(frozen=True)
class Model:
    """A model file, opened and ready: a session and the Card inside the file (None for a stranger's).

    `runtime`, `provider`, `fast_int8` and `net` are what was asked for when it was opened, so that others can open it likewise.
    """

    path: Path
    session: Session
    card: Card | None
    runtime: str | None = None
    provider: str | None = None
    fast_int8: bool = False
    net: str | None = None

    def __fspath__(self) -> str:
        """The file, so that a model can stand wherever a path can."""
        return str(self.path)

    def __reduce__(self) -> NoReturn:
        """Raises ModelError: an engine's session stays in its process."""
        raise ModelError(f"{self.path}: a model that is opened cannot be pickled; pickle its path, and open it there")

    def __repr__(self) -> str:
        card = self.card
        what = f"{card.kind} graph of {card.scene.name}, {card.precision}" if card is not None else "no Card"
        return f"{type(self).__name__}({str(self.path)!r}, {what}, in {self.session.runtime})"

    @property
    def known(self) -> Card:
        """The Card. Raises CardError where there is none."""
        if self.card is None:
            raise no_card(self.path)
        return self.card

    @property
    def warnings(self) -> list[str]:
        """Reasons why its labels may be other than the file's own, a line each."""
        return [OVERFLOWS] if self.session.overflows else []

    @cached_property
    def _affine(self) -> InputAffine | None:
        return InputAffine(self.known.input_affine) if self.known.input_affine is not None else None

    @cached_property
    def takes_rows(self) -> bool:
        """Whether the graph takes bands last, as TFLite does, and integer scene graphs do: its own input says so."""
        shape, bands = self.session.inputs[0].shape, self.known.scene.bands
        return len(shape) == 4 and shape[3] == bands and (shape[1] != bands or self.path.suffix == ".tflite")

    @cached_property
    def tile(self) -> tuple[int, int] | None:
        """Pixels `(height, width)` that a scene graph labels at a time; None where it takes any number."""
        sizes = self.session.inputs[0].shape[1:3] if self.takes_rows else self.session.inputs[0].shape[2:4]
        if self.known.kind != "scene" or None in sizes:
            return None
        height, width = (int(size or 0) - 2 * self.known.radius for size in sizes)
        if min(height, width) < 1:
            raise ModelError(f"{self.path}: takes {sizes[0]} x {sizes[1]} pixels, which is all halo by its Card")
        return height, width

    @cached_property
    def _ids(self) -> NDArray[np.uint16]:
        return np.array([entry.id for entry in self.known.classes], np.uint16)

    @property
    def streams(self) -> bool:
        """Whether the engine takes rows one by one, as a scene graph's come."""
        return getattr(self.session, "streams", False) and self.known.kind == "scene"

    @property
    def takes_raw_rows(self) -> bool:
        """Whether raw rows can be given to it with their references: integers, or counts of 16 bits, are made of them here."""
        session = self.session
        return np.dtype(self.known.scene.dtype) == np.uint16 and (not self.streams or getattr(session, "takes_raw_rows", False))

    def stream(
        self, width: int, *, above: int | None = None, logits: bool = False, references: ReferenceTables | None = None
    ) -> RowStream | None:
        """A stream of rows in the scene's stored dtype; None where the engine takes strips. Arguments: see `Session.stream`."""
        if not self.streams:
            return None
        raw = {} if references is None else {"references": references}
        return self.session.stream(width, self.known.radius if above is None else above, logits=logits, **raw)

    @property
    def prepared_dtype(self) -> np.dtype[Any]:
        """NumPy dtype that `prepare` returns."""
        affine = self.known.input_affine
        return np.dtype(self.known.scene.dtype if affine is None else affine.dtype)

    def prepare(
        self,
        rows: NDArray[Any],
        out: NDArray[Any] | None = None,
        references: ReferenceTables | None = None,
        empty: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Prepares rows `(..., bands)` in the scene's stored dtype for the graph: as they are, or as the Card's integers.

        It works pixel by pixel, so it costs least before patches are cut.

        Args:
            out: where it is to be written, `(n, width, bands)` as `rows`.
            references: of raw rows `(n, width, bands of the cube)`; empty: their pixels `(n, width)` without data.
        """
        if self._affine is not None:
            return self._affine.of_rows(rows, out, references, empty)
        if references is not None:
            rows = references.reflectance(rows, empty)
        if out is None:
            return rows
        out[...] = rows
        return out

    def run(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """`(n, classes)` float32 logits of prepared patches `(n, bands, p, p)`; a scene graph takes them one by one.

        Raises:
            ModelError: the graph does not take them, or gives other than a logit for each class of its Card.
        """
        if self.known.kind == "scene":
            return np.stack([self.strip(patch.transpose(1, 2, 0))[:, 0, 0] for patch in patches])
        return self._values(self._patches(np.ascontiguousarray(patches.transpose(0, 2, 3, 1)) if self.takes_rows else patches))

    def _values(self, output: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(self.session.values(output), np.float32)

    def _patches(self, patches: NDArray[Any]) -> NDArray[Any]:
        return self._run(patches, (len(patches), len(self.known.classes)))

    def strip(self, rows: NDArray[Any], columns: int | None = None) -> NDArray[np.float32]:
        """`(classes, h, w)` float32 logits of a prepared strip with its halo, `(h + p - 1, w + p - 1, bands)`.

        Args:
            columns: pixels across that a scene graph without a tile labels at a time, which bounds the engine's memory.

        Raises:
            ModelError: as `run`.
        """
        return self._values(self._strip(rows, columns))

    def strip_labels(self, rows: NDArray[Any], columns: int | None = None) -> NDArray[np.uint16]:
        """Label ids `(h, w)` of a prepared strip with its halo. Logits that are integers are compared as such.

        Args:
            columns: as of `strip`.

        Raises:
            ModelError: as `run`.
        """
        return self.label_ids(self._strip(rows, columns), axis=0)

    def _strip(self, rows: NDArray[Any], columns: int | None) -> NDArray[Any]:
        """Output of the session for a strip, `(classes, h, w)`."""
        if self.known.kind == "scene":
            high, wide = (size - self.known.patch + 1 for size in rows.shape[:2])
            if self.tile is None and (columns is None or columns >= wide or not self.known.radius):
                return self._in_pieces(rows)
            return self._tiled(rows, *(self.tile or (high, columns or wide)))
        patch = self.known.patch
        if self.takes_rows:
            cuts = (cut_rows(rows[line : line + patch], patch) for line in range(len(rows) - patch + 1))
        else:
            planes = np.ascontiguousarray(rows.transpose(2, 0, 1))
            cuts = (cut(planes[:, line : line + patch], patch) for line in range(len(rows) - patch + 1))
        return np.stack([self._patches(patches).T for patches in cuts], axis=1)

    def _in_pieces(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Output for a strip; of a net of single pixels some rows at a time, for its maps are many times as large as the strip.

        Nothing is computed twice, since no pixel looks at another.
        """
        step = max(1, _PIXELS_AT_ONCE // rows.shape[1])
        if self.known.radius or len(rows) <= step:
            return self._scene(rows)
        return np.concatenate([self._scene(rows[first : first + step]) for first in range(0, len(rows), step)], axis=1)

    def _scene(self, rows: NDArray[Any]) -> NDArray[Any]:
        halo = self.known.patch - 1
        expected = (1, len(self.known.classes), rows.shape[0] - halo, rows.shape[1] - halo)
        tensor = np.ascontiguousarray(rows if self.takes_rows else rows.transpose(2, 0, 1))[None]
        output: NDArray[Any] = self._run(tensor, expected)[0]
        return output

    def _tiled(self, rows: NDArray[Any], height: int, width: int) -> NDArray[Any]:
        """Output for a strip, by tiles of one size: the last of a row overlaps the one before, small strips are filled."""
        halo = self.known.patch - 1
        high, wide = rows.shape[0] - halo, rows.shape[1] - halo
        if high < height or wide < width:
            rows = np.pad(rows, ((0, max(0, height - high)), (0, max(0, width - wide)), (0, 0)), "edge")
        if rows.shape[:2] == (height + halo, width + halo):
            return self._scene(rows)[:, :high, :wide]
        size = (len(self.known.classes), rows.shape[0] - halo, rows.shape[1] - halo)
        logits: NDArray[Any] | None = None
        for top in _starts(size[1], height):
            for left in _starts(size[2], width):
                piece = self._scene(rows[top : top + height + halo, left : left + width + halo])
                logits = np.empty(size, piece.dtype) if logits is None else logits
                logits[:, top : top + height, left : left + width] = piece
        assert logits is not None
        return logits[:, :high, :wide]

    def _run(self, tensor: NDArray[Any], expected: tuple[int, ...]) -> NDArray[Any]:
        output = self.session.run([tensor])
        if np.shape(output) != expected:
            raise ModelError(f"{self.path}: its graph gives {np.shape(output)}, by its Card {expected} was expected")
        return output

    def logits(self, patches: NDArray[Any]) -> NDArray[np.float32]:
        """`(n, classes)` float32 of patches `(n, bands, p, p)` in the scene's stored dtype. Raises ModelError, as `run`."""
        return self.run(patches if self._affine is None else self._affine(patches))

    def label_ids(self, logits: NDArray[Any], axis: int = 1) -> NDArray[np.uint16]:
        """Label ids of logits with classes along `axis`: `(n,)` of `(n, classes)`, `(h, w)` of a strip's with axis 0."""
        labels: NDArray[np.uint16] = self._ids.take(_largest(logits) if axis == 0 else logits.argmax(axis))
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
        """Label ids `(n,)` at flat pixel indices of a scene.

        Raises:
            ModelError, SceneError: as `logits_at`.
        """
        return self.label_ids(self.logits_at(scene, pixels, progress))

    def logits_at(self, scene: Scene, pixels: NDArray[np.intp], progress: Progress = silent) -> NDArray[np.float32]:
        """Logits `(n, classes)` at flat pixel indices of a scene; memory is that of one batch, or one strip of a scene graph.

        Raises:
            ModelError: the model does not fit the scene.
            SceneError: the patch is wider than the scene.
        """
        self.check_fits(scene)
        check_patch(self.known.patch, scene.shape, scene.name)
        logits = np.zeros((len(pixels), len(self.known.classes)), np.float32)
        done = 0
        pieces = self._strips(scene, pixels) if self.known.kind == "scene" else self._batches(scene, pixels)
        for places, piece in pieces:
            logits[places] = piece
            done += len(piece)
            progress(done / len(pixels))
        return logits

    def _batches(self, scene: Scene, pixels: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Places in `pixels`, and their logits, patch by patch."""
        done = 0
        for piece, patches in batches(scene.cube, pixels, self.known.patch):
            yield np.arange(done, done + len(piece)), self.logits(patches)
            done += len(piece)

    def _strips(self, scene: Scene, pixels: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """Output for pixels, by strips of the rows that hold them."""
        width = scene.shape[1]
        rows = pixels // width
        least = self.tile[0] if self.tile is not None else self.known.patch  # lower ones would be more halo than strip
        tall = max(least, STRIP_PIXELS // width)
        strips = [
            (first, min(first + tall, top + size))
            for top, size, _ in spans_of(scene.cube)
            for first in range(top, top + size, tall)
        ]
        for first, last in strips:
            places = np.flatnonzero((rows >= first) & (rows < last))
            if not len(places):
                continue
            strip = surrounded(scene.cube, first, last, self.known.radius)
            planes = self.strip(self.prepare(strip))
            yield places, planes[:, rows[places] - first, pixels[places] % width].T


def no_card(path: Path) -> CardError:
    """Error of a file without a Card, where one is needed."""
    return CardError(f"{path}: has no Card", run=("card", path, ("scene", "NAME"), ("patch", "P")))


def _starts(size: int, tile: int) -> list[int]:
    """Starts of tiles that cover `size`, which is no smaller than one."""
    return [*range(0, size - tile, tile), size - tile]


def _largest(planes: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """`planes.argmax(0)`, plane by plane where there are many pixels: a tenth of the time."""
    if len(planes) > 255 or planes[0].size < _MANY:
        return np.asarray(planes.argmax(0))
    best, largest = planes[0].copy(), np.zeros(planes.shape[1:], np.uint8)
    for number in range(1, len(planes)):
        higher = planes[number] > best
        np.maximum(best, planes[number], out=best)
        np.maximum(largest, higher.view(np.uint8) * np.uint8(number), out=largest)
    return largest
