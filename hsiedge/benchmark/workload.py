"""Workload that a model is timed on: seeded inputs, and the work from rows in their stored dtype to label ids.

A line-scan sensor hands over rows of pixels, band-interleaved by pixel. So an input of a patch graph is a strip
`(p, N + p - 1, bands)` in the scene's stored dtype, out of which N patches are cut; one of a scene graph is as many rows as it
labels, and a buffer has those before them, as in `classify`. The clock covers the Card's input affine, cutting or what
surrounds rows, the session, argmax and the label ids.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import Card
from hsiedge.errors import ModelError, OptionError
from hsiedge.runtimes import Model, TensorSpec
from hsiedge.runtimes.row_buffer import RowBuffer
from hsiedge.scenes.patches import surrounded
from hsiedge.scenes.synthetic import draw_rows

SCENE_SIDE = 128  # pixels a side of a scene graph's output, where neither the graph nor --shape says
POOL_BYTES = 64 << 20
Tensors = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class ShapeOption:
    """One `--shape`: sizes for the input `name`, or for the first input where name is None."""

    name: str | None
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Workload:
    """One run of a model, ready to be repeated.

    Attributes:
        kind: the Card's kind, "patch" or "scene"; "tensor" for a model without a Card.
        batch: what the graph's leading dimension is.
        shape: of the graph's first input.
        dtype: numpy name of what the clock starts with: the stored dtype, not the graph's where an affine lies between.
        pixels: labelled by one run.
        make: draws an input.
        run: does the work of one run on an input; gives label ids, or the first output of a model without a Card.
        logits: what the labels are taken from, `(classes, height, width)` float32; None without a Card.
    """

    kind: str
    batch: int
    shape: tuple[int, ...]
    dtype: str
    pixels: int
    make: Callable[[np.random.Generator], Tensors]
    run: Callable[[Tensors], NDArray[Any]]
    logits: Callable[[Tensors], NDArray[np.float32]] | None = None

    def pool_size(self, one: Tensors) -> int:
        """Number of different inputs to cycle through, so that caches are not flattered: 2 to 8, some 64 MiB at most."""
        return int(np.clip(POOL_BYTES // max(1, sum(tensor.nbytes for tensor in one)), 2, 8))


def parse_shape(text: str) -> ShapeOption:
    """`--shape 1,200,13,13` or `--shape NAME=1,200,13,13`. Raises OptionError."""
    name, equals, sizes = text.rpartition("=")
    try:
        numbers = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1 or (equals and not name):
        raise OptionError("not a shape; write it as 1,200,13,13 or NAME=1,200,13,13", option="shapes", value=text)
    return ShapeOption(name or None, numbers)


def fixed_batch(model: Model) -> int | None:
    """The size of the leading dimension where the graph fixes it, None where it is free. A scene graph takes one scene."""
    if model.card is not None and model.card.kind == "scene":
        return 1
    shape = model.session.inputs[0].shape if model.session.inputs else ()
    return shape[0] if shape else 1


def workload(model: Model, batch: int, shapes: Sequence[ShapeOption] = ()) -> Workload:
    """The work of one run of `model` at `batch`.

    Raises:
        OptionError: a free dimension that no `--shape` sizes, or a `--shape` that contradicts the graph.
        ModelError: a graph that is not what its Card says.
    """
    specs = model.session.inputs
    unknown = sorted({entry.name for entry in shapes if entry.name is not None} - {spec.name for spec in specs})
    if unknown:
        inputs = ", ".join(spec.name for spec in specs)
        raise OptionError(f"{model.path} has no such input, but {inputs}", option="shapes", value=f"{unknown[0]}=...")
    if model.card is None:
        return _tensors(model, batch, shapes)
    if len(specs) != 1:
        raise ModelError(f"{model.path}: its Card says one input of kind {model.card.kind}, the graph has {len(specs)}")
    sizes = next((entry.sizes for entry in shapes), None)
    return _patches(model, model.card, batch, sizes) if model.card.kind == "patch" else _scene(model, model.card, sizes)


def _patches(model: Model, card: Card, batch: int, sizes: tuple[int, ...] | None) -> Workload:
    patch, bands, spec = card.patch, card.scene.bands, model.session.inputs[0]
    known = (None, patch, patch, bands) if model.takes_rows else (None, bands, patch, patch)
    shape = _resolve(model, spec, batch, sizes, known)
    count = shape[0]

    def logits(tensors: Tensors) -> NDArray[np.float32]:
        return model.strip(model.prepare(tensors[0]))

    def run(tensors: Tensors) -> NDArray[Any]:
        labels: NDArray[np.uint16] = model.strip_labels(model.prepare(tensors[0]))[0]
        return labels

    def make(rng: np.random.Generator) -> Tensors:
        return (draw_rows(card.scene, (patch, count + patch - 1), rng),)

    return Workload(card.kind, count, shape, card.scene.dtype, count, make, run, logits)


def _scene(model: Model, card: Card, sizes: tuple[int, ...] | None) -> Workload:
    spec, border = model.session.inputs[0], 2 * card.radius
    side = SCENE_SIDE + border
    wanted: tuple[int | None, ...] = (1, card.scene.bands, None, None)
    if model.takes_rows:
        wanted = (1, None, None, card.scene.bands)
    default = tuple(size or side for size in wanted)
    if len(spec.shape) == 4 and sizes is None:
        sizes = tuple(size if size is not None else fallback for size, fallback in zip(spec.shape, default))
    shape = _resolve(model, spec, 1, sizes, wanted)
    rows, columns = shape[1:3] if model.takes_rows else shape[2:]
    if min(rows, columns) <= border:
        raise OptionError(
            f"{model.path}: an input of {rows} x {columns} pixels leaves nothing within a border of {card.radius}"
        )

    return _rows(model, card, shape, (rows - border, columns - border))


def _rows(model: Model, card: Card, shape: tuple[int, ...], pixels: tuple[int, int]) -> Workload:
    """Workload of a scene graph that labels `pixels` (height, width) at a time."""
    (height, width), radius = pixels, card.radius
    before = draw_rows(card.scene, (2 * radius, width), np.random.default_rng(0))
    stream, buffer = model.stream(width, above=0), RowBuffer(model, width, above=0)
    if stream is None:
        buffer.push(before)
    else:
        stream.push(before)

    def logits(tensors: Tensors) -> NDArray[np.float32]:
        return model.strip(surrounded(model.prepare(tensors[0]), 0, height, radius))

    def run(tensors: Tensors) -> NDArray[Any]:
        if stream is not None:
            return stream.push(tensors[0])
        buffer.push(tensors[0])
        return model.strip_labels(buffer.strip(height))

    def make(rng: np.random.Generator) -> Tensors:
        return (draw_rows(card.scene, (height, width), rng),)

    return Workload(card.kind, 1, shape, card.scene.dtype, height * width, make, run, logits)


def _tensors(model: Model, batch: int, shapes: Sequence[ShapeOption]) -> Workload:
    """Workload of a model without a Card: only its inputs are known, so tensors of their own dtypes go in as they are."""
    specs, session = model.session.inputs, model.session
    sizes = {specs[0].name if entry.name is None else entry.name: entry.sizes for entry in shapes} if specs else {}
    resolved = [_resolve(model, spec, batch, sizes.get(spec.name), (None,) * len(spec.shape)) for spec in specs]
    first = resolved[0] if resolved else ()
    count = first[0] if first else 1

    def make(rng: np.random.Generator) -> Tensors:
        return tuple(_draw_tensor(shape, spec.dtype, rng) for shape, spec in zip(resolved, specs))

    return Workload("tensor", count, first, specs[0].dtype.name if specs else "", count, make, session.run)


def _resolve(
    model: Model, spec: TensorSpec, batch: int, option: tuple[int, ...] | None, known: tuple[int | None, ...]
) -> tuple[int, ...]:
    """Sizes of an input: the graph's own, else the batch where it leads, else the Card's (`known`), else `--shape`."""
    title, written = f"{model.path}: input {spec.name}", "x".join("?" if size is None else str(size) for size in spec.shape)
    if len(spec.shape) != len(known) or any(a is not None and b is not None and a != b for a, b in zip(spec.shape, known)):
        wanted = "x".join("N" if size is None else str(size) for size in known)
        raise ModelError(f"{title} is {written}, its Card says {wanted}")
    if option is not None and len(option) != len(spec.shape):
        raise OptionError(
            f"{title} has {len(spec.shape)} dimensions ({written}), the shape given has {len(option)}", option="shapes"
        )
    sizes: list[int] = []
    for axis, own in enumerate(spec.shape):
        size = own if own is not None else batch if axis == 0 else known[axis]
        asked = option[axis] if option is not None else None
        if axis == 0 and own is None and asked not in (None, 1, batch):
            raise OptionError(f"{title}: its first dimension is the batch; a shape has 1 there", use={"batches": asked})
        if axis > 0 and asked is not None and size is not None and asked != size:
            raise OptionError(f"{title}: dimension {axis} is {size}, the shape given says {asked}", option="shapes")
        size = size if size is not None else asked
        if size is None:
            raise OptionError(
                f"{title} is {written}: its free dimension {axis} needs a size", use={"shapes": f"{spec.name}=..."}
            )
        sizes.append(size)
    return tuple(sizes)


def _draw_tensor(shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> NDArray[Any]:
    """A random tensor: floats from 0 to 1; small integers over their range; wider ones 0 or 1, for they may be indices."""
    if dtype.kind == "f":
        return rng.random(shape, np.float32).astype(dtype, copy=False)
    if dtype.kind == "b" or dtype.itemsize > 2:
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.integers(0, min(np.iinfo(dtype).max, 4095), shape, dtype, endpoint=True)
