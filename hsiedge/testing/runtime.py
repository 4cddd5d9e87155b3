"""The check of a runtime: what an inference engine must do behind the protocol `hsiedge.runtimes.Session`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge.errors import CheckError, HsiedgeError, ModelError
from hsiedge.runtimes import ENGINES, Model, load
from hsiedge.scenes.patches import extract
from hsiedge.scenes.synthetic import draw_rows

_COUNT = 24
_CLOSE = 1e-3  # of the range of the logits: engines add in another order for another batch
_AGREEMENT = 0.95


def check_runtime(runtime: str, path: Path, reference: Path | None = None) -> None:
    """Checks that a runtime runs a model of patches as all others do.

    Args:
        runtime: a name in the registry, or FILE.py:NAME.
        path: a file that it runs, of a model that takes patches, with a Card (`hsiedge.runtimes.read_card`).
        reference: a form of the same model that onnxruntime or LiteRT runs; left out, labels are compared with none.

    Raises:
        CheckError: the first thing that it does not do, in one line.
        OptionError: no such runtime, or not for this file.
    """
    name = ENGINES.name_of(runtime)
    try:
        model = load(path, 1, runtime)
        counts = _patches(model)
        _facts(model, counts)
        _logits(model, counts)
        _refuses(model, counts)
        _broken(path, runtime)
        if reference is not None:
            _agrees(model, load(reference), counts)
    except HsiedgeError as error:
        raise CheckError(f"runtime {name}: {error}") from error


def _patches(model: Model) -> NDArray[Any]:
    """Patches `(n, bands, p, p)` with counts as the Card tells of them."""
    card = model.known
    rows = draw_rows(card.scene, (card.patch + 4, card.patch + 4), np.random.default_rng(0))
    return extract(rows, np.arange(0, rows.shape[0] * rows.shape[1])[:_COUNT], card.patch)


def _facts(model: Model, counts: NDArray[Any]) -> None:
    session = model.session
    if not (isinstance(session.runtime, str) and session.runtime and isinstance(session.provider, str) and session.provider):
        raise CheckError("its session must tell its runtime, with its version, and its provider")
    if len(session.inputs) != 1 or len(session.inputs[0].shape) != counts.ndim:
        raise CheckError(f"its session must tell of one input of {counts.ndim} dimensions, not of {list(session.inputs)}")


def _logits(model: Model, counts: NDArray[Any]) -> None:
    before = counts.copy()
    logits = model.logits(counts)
    expected = (len(counts), len(model.known.classes))
    if logits.shape != expected or not np.isfinite(logits).all():
        raise CheckError(f"it must give finite logits {expected}, not {logits.shape}")
    if not np.array_equal(before, counts):
        raise CheckError("it changes what it is given; it must leave its input as it is")
    kept, output = logits.copy(), model.session.run([_prepared(model, counts)])
    first = np.array(output)
    model.logits(counts[::-1].copy())
    if not np.array_equal(first, output) or not np.array_equal(kept, logits):
        raise CheckError("a later run writes into the output of an earlier one; each must have memory of its own")
    if not np.array_equal(kept, model.logits(counts)):
        raise CheckError("it gives other logits for the same patches")
    alone = np.concatenate([model.logits(patch[None]) for patch in counts])
    if np.abs(alone - kept).max() > _CLOSE * np.ptp(kept):
        raise CheckError("the logits of a patch depend on the other patches of its batch")


def _prepared(model: Model, counts: NDArray[Any]) -> NDArray[Any]:
    """Counts as the graph takes them."""
    rows = model.prepare(np.ascontiguousarray(counts.transpose(0, 2, 3, 1)))
    return rows if model.takes_rows else np.ascontiguousarray(rows.transpose(0, 3, 1, 2))


def _refuses(model: Model, counts: NDArray[Any]) -> None:
    wrong = np.concatenate([_prepared(model, counts)] * 2, axis=3 if model.takes_rows else 1)
    try:
        model.session.run([wrong])
    except ModelError:
        return
    except Exception as error:
        raise CheckError(f"patches of too many bands end in {type(error).__name__}, not in a ModelError") from error
    raise CheckError("it takes patches of too many bands; it must raise ModelError")


def _broken(path: Path, runtime: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        broken = Path(folder, path.name)
        broken.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        try:
            load(broken, 1, runtime)
        except HsiedgeError:
            return
        except Exception as error:
            raise CheckError(f"a file cut short ends in {type(error).__name__}, not in a ModelError") from error
    raise CheckError("it loads a file that is cut short; it must raise ModelError")


def _agrees(model: Model, reference: Model, counts: NDArray[Any]) -> None:
    agreement = float((model.labels(counts) == reference.labels(counts)).mean())
    if agreement < _AGREEMENT:
        raise CheckError(f"only {100 * agreement:.0f} % of its labels are those of {reference.session.runtime}")
