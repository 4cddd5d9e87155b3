"""The public names and their signatures: who changes one changes it here too, and in the changelog."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import hsiedge

SIGNATURES = {
    "Checkpoint.open": "(path, *, net=None)",
    "Checkpoint.save": "(self, path)",
    "Checkpoint.export": "(self, path, *, scene=None)",
    "Checkpoint.prune": "(self, *, method='structured', ratio=0.5, criterion=None, scope=None, epochs=20, scene=None, "
    "split=None, progress=silent)",
    "Checkpoint.distill": "(self, student='dscnn', *, method='logits', patch=None, temperature=4.0, weight=0.2, "
    "unlabelled=False, epochs=120, scene=None, split=None, progress=silent, **options)",
    "Checkpoint.qat": "(self, path, *, bits=8, epochs=20, checkpoint=None, scene=None, split=None, progress=silent)",
    "LabelMap.save": "(self, path, *, probabilities=None)",
    "LabelMap.counts": "(self)",
    "LineClassifier": "(model, width, *, like=None, units=None, raw=False, confident=False)",
    "LineClassifier.push": "(self, rows)",
    "LineClassifier.finish": "(self)",
    "Model.bench": "(self, **options)",
    "Model.classify": "(self, cube, *, reject=0.0, probabilities=False, memory=67108864, cube_key=None, units=None, "
    "references='beside', progress=silent)",
    "Model.evaluate": "(self, scene=None, *, masks=None, units=None, progress=silent)",
    "Model.quantize": "(self, scene=None, path=None, *, recipe='default', patches=1000, max_drop=0.5, seed=0, explain=False, "
    "masks=None, tile=None, units=None, progress=silent)",
    "Model.to_ort": "(self, path=None, *, scene=None)",
    "Model.to_scene_graph": "(self, path=None, *, scene=None, approximate=False, accept_labels=90.0)",
    "Model.to_tflite": "(self, path=None, *, scene=None, tile=None)",
    "Report.rows": "(self)",
    "Report.to_frame": "(self)",
    "Report.to_json": "(self, indent=2)",
    "Scene.split": "(self, kind=None, *, train=0.1, seed=0, guard=None, train_mask=None, test_mask=None, "
    "mask_labels=False, folds=None, fold=None)",
    "bench": "(models, *, runtime=None, provider=None, fast_int8=False, net=None, batches=(1, 256), threads=None, runs=20, "
    "seconds=2.0, duration=None, ops=False, shapes=(), seed=0, progress=silent)",
    "classify": "(model, cube, *, nodata=None, progress=silent)",
    "join_flights": "(flights, *, name=None, roles=(), units=(), classes=None)",
    "evaluate": "(model, scene=None, split='own', *, progress=silent)",
    "load": "(path, *, threads=0, runtime=None, provider=None, fast_int8=False, net=None)",
    "open_scene": "(source, *, labels=None, data_dir=None, cube_key=None, labels_key=None, class_field=None, align=False, "
    "references='beside', classes=None)",
    "quantize": "(model, scene, output, **options)",
    "run": "(model, source, output=(), *, columns=None, bands=None, dtype='uint16', interleave='bil', idle=10.0, "
    "line_rate=None, cube_key=None, references='beside', units=None, late='wait', rows=None, buffer=16777216, drift=0.01, "
    "watch=(), tile=None, page=None, page_token=None, on_event=None, on_page=None)",
    "train": "(scene, split=None, *, net='cnn2d', patch=None, epochs=None, settings=None, refit=None, "
    "device=None, progress=silent, **options)",
    "training_run": "(*, device='cpu', state=None, log=None, say=None)",
}
NAMES = [
    *(
        "Card",
        "Checkpoint",
        "Evaluation",
        "LabelMap",
        "LineClassifier",
        "Model",
        "Recipe",
        "References",
        "Report",
        "RunSummary",
    ),
    *(
        "Scene",
        "Split",
        "bench",
        "classify",
        "errors",
        "evaluate",
        "join_flights",
        "load",
        "open_scene",
        "quantize",
        "run",
        "train",
        "training_run",
    ),
]
HEAVY = {"torch", "onnx", "tensorflow", "onnxscript", "matplotlib", "pandas", "tensorly"}


def signature(name: str) -> str:
    """The parameters of a public name with their defaults, annotations left out."""
    thing = hsiedge
    for part in name.split("."):
        thing = getattr(thing, part)
    bare = inspect.signature(thing)
    parameters = [entry.replace(annotation=inspect.Parameter.empty) for entry in bare.parameters.values()]
    text = str(bare.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    progress = inspect.signature(hsiedge.bench).parameters["progress"].default
    return text.replace(repr(progress), progress.__name__)


def test_names() -> None:
    assert sorted(hsiedge.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(hsiedge))
    for name in NAMES:
        assert callable(getattr(hsiedge, name)) or inspect.ismodule(getattr(hsiedge, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hsiedge.nothing  # noqa: B018


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name: str) -> None:
    assert signature(name) == SIGNATURES[name]


@pytest.mark.parametrize("name", [name for name in NAMES if name[0].islower() and name not in ("bench", "errors")])
def test_every_public_function_says_what_it_raises(name: str) -> None:
    text = getattr(hsiedge, name).__doc__
    assert "Raises:" in text or "errors are those of" in text


def test_importing_every_public_name_loads_nothing_heavy() -> None:
    code = (
        "import sys, json, hsiedge\nbefore = sorted({name.split('.')[0] for name in sys.modules})\n"
        "for name in hsiedge.__all__: getattr(hsiedge, name)\n"
        "print(json.dumps([before, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    before, after = json.loads(done.stdout)
    assert not {"numpy", "onnxruntime", *HEAVY} & set(before)
    assert not HEAVY & set(after)
