"""What models answer, wherever this runs: python answers.py [--fast-int8] ROWS.npy OUT.npz MODEL...

ROWS holds `(rows, columns, bands)` in the stored dtype; a MODEL labels the pixels that have its halo. OUT gets, of each, `NAME
logits` `(classes, h, w)` and `NAME labels` `(h, w)`; where MODEL.integers.onnx lies beside it (see tests/arm/answers.py), also
`NAME integers TENSOR` of each of its outputs but the logits.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hsiedge.runtimes import Model, load
from hsiedge.scenes.patches import cut


def integers(path: Path, model: Model, prepared: Any) -> dict[str, Any]:
    from hsiedge.runtimes.ort import OrtSession

    session = OrtSession(path, fast_int8=model.fast_int8)._session
    tensor = session.get_inputs()[0].name
    names = [entry.name for entry in session.get_outputs()][1:]
    return dict(zip(names, session.run(names, {tensor: graph_input(model, prepared)})))


def graph_input(model: Model, prepared: Any) -> Any:
    """The tensor that the graph takes: a scene, or the patches of all its pixels."""
    if model.known.kind == "scene" and model.takes_rows:
        return prepared[None]
    planes, patch = np.ascontiguousarray(prepared.transpose(2, 0, 1)), model.known.patch
    if model.known.kind == "scene":
        return planes[None]
    lines = range(planes.shape[1] - patch + 1)
    return np.concatenate([cut(planes[:, line : line + patch], patch) for line in lines])


def main() -> None:
    fast = "--fast-int8" in sys.argv
    rows, out, *paths = (Path(word) for word in sys.argv[1:] if word != "--fast-int8")
    strip, answers = np.load(rows), {}
    for path in paths:
        model = load(path, fast_int8=fast and path.suffix == ".onnx")
        prepared = model.prepare(strip)
        logits = model.strip(prepared)
        answers[f"{path.name} logits"] = logits
        answers[f"{path.name} labels"] = model.label_ids(logits, axis=0)
        inside = path.with_name(path.name + ".integers.onnx")
        if inside.exists():
            for name, values in integers(inside, model, prepared).items():
                answers[f"{path.name} integers {name}"] = values
    np.savez(out, **answers)


if __name__ == "__main__":
    main()
