"""Bar 8: the student and liunet in exported C against what else runs them, and liunet in INT8 against its float.

All C is compiled by one compiler with the same flags. Each contender takes 16 rows of 145 pixels as stored, and gives labels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bars import emx_peer
from bars.c_process import opened
from bars.environments import Environment, ready
from bars.models import STORED_STUDENT, Workshop, macs
from bars.results import Verdict
from bars.turns import Contender, take, times_faster
from bars.versus import _ROOT
from hsiedge.errors import HsiedgeError
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.c.compilers import host_compiler
from hsiedge.graphs.c.emit import _array
from hsiedge.graphs.c.export import c_files
from hsiedge.runtimes import load, require_card
from hsiedge.training.checkpoint import load_checkpoint

ROWS, COLUMNS = 16, 145
FLAGS = ("-std=gnu99", "-O3", "-march=x86-64-v3", "-shared", "-fPIC")
TARGET = "x86-64-v3"
OURS = (f"exported C, {TARGET}", "exported C, generic", "native")
LOOP, FLOAT = "float C loop by hand", "float ort"
_WRAPPER = """#include "net.c"
static net_state *state;
size_t c_bytes(int width);
int c_start(void *memory, size_t bytes, int width);
int c_push(const NET_COUNT *rows, int count, int width, uint16_t *labels);
size_t c_bytes(int width) { return NET_RAM_BYTES(width); }
int c_start(void *memory, size_t bytes, int width) { return net_init(&state, memory, bytes, width); }
int c_push(const NET_COUNT *rows, int count, int width, uint16_t *labels)
{
    int done = 0;
    for (int i = 0; i < count; i++)
        done += net_push_row(state, rows + (size_t)i * (size_t)width * NET_BANDS, labels + (size_t)done * (size_t)width);
    return done;
}
"""
Bar = dict[str, Any]


@dataclass
class _Net:
    """A net's graphs, and contenders as they are made; `failed`: why one could not be."""

    workshop: Workshop
    name: str
    graphs: dict[str, Path]
    folder: Path
    contenders: list[Contender] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, make: Callable[[], Contender]) -> None:
        try:
            self.contenders.append(make())
        except HsiedgeError as error:
            self.failed[name] = str(error).splitlines()[0]

    def runtime(self, kind: str, runtime: str, name: str | None = None) -> Contender:
        """An ONNX scene graph in a runtime of ours."""
        path, halo = self.graphs[kind], require_card(self.graphs[kind]).patch - 1
        sizes = (ROWS + halo, COLUMNS + halo)
        bands = self.workshop.scene.bands
        shape = (1, *sizes, bands) if kind == "scene int8" else (1, bands, *sizes)
        return Contender(name or runtime, path, shape=",".join(map(str, shape)), runtime=runtime)

    def tflite(self, runtime: str) -> Contender:
        lite, why = self.workshop.litert(self.graphs["scene float"], ROWS, COLUMNS)
        if lite is None:
            raise HsiedgeError(why)
        load(lite, 1, runtime)
        return Contender(runtime, lite, runtime=runtime)

    def exported(self, target: str) -> Contender:
        """Our export for a target."""
        folder = self.folder / target
        folder.mkdir(parents=True, exist_ok=True)
        c_files(self.graphs["scene int8"], self.workshop.scene, folder / "net.c", target=target)
        (folder / "rows.c").write_text(_WRAPPER)
        return self._compiled(f"exported C, {target}", "scene int8", folder / "rows.c", {"takes": "rows"})

    def generated(self, kind: str, environment: Environment, name: str) -> Contender:
        """A public generator's C."""
        card, shape = require_card(self.graphs[kind]), self.runtime(kind, "ort").shape
        assert shape is not None
        sizes = [int(size) for size in shape.split(",")]
        rows, columns = sizes[1:3] if kind == "scene int8" else sizes[2:]
        source = self.folder / f"{name.replace(' ', '-')}.c"
        emx_peer.generated(environment, self.graphs[kind], rows, columns, source)
        dtype = load(self.graphs[kind], 1).session.inputs[0].dtype.name
        facts = {"takes": "strip", "input": sizes, "dtype": dtype, "logits": [1, len(card.classes), ROWS, COLUMNS]}
        return self._compiled(name, kind, source, facts)

    def loop(self, checkpoint: Path) -> Contender:
        """The loop by hand, in float."""
        card = require_card(self.graphs["scene float"])
        (self.folder / "weights.h").write_text(weights(checkpoint, [entry.id for entry in card.classes]))
        source = Path(__file__).with_name("float_loop.c")
        return self._compiled(LOOP, "scene float", source, {"takes": "rows"})

    def _compiled(self, name: str, kind: str, source: Path, facts: dict[str, Any]) -> Contender:
        library = self.folder / f"{source.stem}-{name.replace(' ', '-')}.so"
        host_compiler().compile(*FLAGS, f"-I{self.folder}", "-o", library, source, "-lm")
        options = {"library": str(library), "title": name, **facts}
        program = (sys.executable, "-m", "bars.c_process")
        variables = {"PYTHONPATH": f"{_ROOT}:{_ROOT / 'benchmarks'}"}
        shape = self.runtime("scene int8" if facts["takes"] == "rows" else kind, "ort").shape  # bands last
        return Contender(name, self.graphs[kind], shape=shape, program=program, variables=variables, options=options)


def weights(checkpoint: Path, ids: list[int]) -> str:
    """weights.h of float_loop.c, of a checkpoint of liunet."""
    classifier = load_checkpoint(checkpoint).classifier.eval()
    net, state = classifier.net, {name: value.numpy() for name, value in classifier.state_dict().items()}
    lengths, bands = [], int(classifier.offset.numel())
    with torch.no_grad():
        values = torch.zeros(1, 1, bands)
        for conv in net.convs:  # type: ignore[union-attr]
            values = net.pool(conv(values))  # type: ignore[operator]
            lengths.append(values.shape[2])
    widths = net.widths
    sizes = {"BANDS": bands, "CLASSES": len(ids), "KERNEL": 6}
    sizes |= {f"W{i + 1}": width for i, width in enumerate(widths)} | {f"L{i + 1}": length for i, length in enumerate(lengths)}
    arrays = {"offset": state["offset"], "scale": state["scale"]}
    for index in range(len(widths)):  # [outputs][inputs][taps] -> [taps][inputs][outputs]
        arrays[f"weights{index + 1}"] = state[f"net.convs.{index}.weight"].transpose(2, 1, 0)
        arrays[f"bias{index + 1}"] = state[f"net.convs.{index}.bias"]
    dense = state["net.classifier.weight"].reshape(len(ids), widths[-1], lengths[-1])
    arrays |= {"weights5": dense.transpose(2, 1, 0), "bias5": state["net.classifier.bias"]}
    lines = [f"enum {{ {', '.join(f'{name} = {size}' for name, size in sizes.items())} }};"]
    lines += [_array("float", name, value.astype(np.float32)) for name, value in arrays.items()]
    return "\n".join([*lines, _array("uint16_t", "ids", np.array(ids, np.uint16))])


def measured(workshop: Workshop, seconds: float, cache: Path) -> Bar:
    """Both nets; a contender's labels of the whole scene first, then times, in turns."""
    emx, checkpoint = ready("emx", cache), workshop.liunet()
    student = workshop.graphs(workshop.student())
    nets = {
        "student": {**student, "scene int8": STORED_STUDENT},
        "liunet": workshop.graphs(workshop.liunet_graph(), max_drop=1.0),
    }
    entry: Bar = {"rows": [], "failed": {}, "compiler": host_compiler().name, "flags": " ".join(FLAGS[:3])}
    entry["macs"] = {name: macs(graphs["scene int8"]) for name, graphs in nets.items()}
    entry["oa"] = {kind: _accuracy(workshop, nets["liunet"][kind]) for kind in ("scene float", "scene int8")}
    busy, stolen, asked = 0.0, 0.0, list[Verdict]()
    for name, graphs in nets.items():
        net = _Net(workshop, name, graphs, workshop.folder / f"c-{name}")
        _contend(net, emx, checkpoint if name == "liunet" else None)
        agreements = {contender.name: _agreement(net, contender) for contender in net.contenders if contender.options}
        turns = take(net.contenders, seconds)
        busy, stolen = max(busy, turns.load.cores), max(stolen, turns.load.stolen)
        entry["failed"].update({f"{name}, {key}": reason for key, reason in {**net.failed, **turns.failed}.items()})
        ours = turns.timed[OURS[0]]
        for key, timed in turns.timed.items():
            agreement = agreements.get(key)
            entry["rows"].append({"net": name, **timed.row(), "agreement": agreement, **times_faster(ours, timed)})
        others = [key for key in turns.timed if key not in OURS and not key.startswith("float")]
        best = turns.best(others)
        title = f"{name}: exported C against the best of the others in INT8 ({best.contender.name}), times"
        asked.append(Verdict(title, times_faster(ours, best)["times"], ">=", 1))
        if name == "liunet":
            native = times_faster(turns.timed["native"], turns.timed[FLOAT])["times"]
            loop = times_faster(ours, turns.timed[LOOP])["times"]
            asked.append(Verdict("liunet: INT8 in the native engine against its float in onnxruntime, times", native, ">=", 1))
            asked.append(Verdict("liunet: exported C, INT8, against the float C loop, same flags, times", loop, ">=", 1))
    lost = entry["oa"]["scene float"] - entry["oa"]["scene int8"]
    asked.append(Verdict("liunet: points of test OA that INT8 loses", lost, "<=", 0.5))
    return {**entry, "other_cores": busy, "stolen_cores": stolen, "verdicts": [verdict.to_json() for verdict in asked]}


def _contend(net: _Net, emx: Environment, checkpoint: Path | None) -> None:
    """Makes a net's contenders."""
    for target in (TARGET, "generic"):
        net.add(f"exported C, {target}", lambda target=target: net.exported(target))  # type: ignore[misc]
    for runtime in ("native", "ort"):
        net.add(runtime, lambda runtime=runtime: net.runtime("scene int8", runtime))  # type: ignore[misc]
    for runtime in ("litert", "tflm"):
        net.add(runtime, lambda runtime=runtime: net.tflite(runtime))  # type: ignore[misc]
    net.add("emx-onnx-cgen", lambda: net.generated("scene int8", emx, "emx-onnx-cgen"))
    if checkpoint is not None:
        net.add(FLOAT, lambda: net.runtime("scene float", "ort", FLOAT))
        net.add("float emx-onnx-cgen", lambda: net.generated("scene float", emx, "float emx-onnx-cgen"))
        net.add(LOOP, lambda: net.loop(checkpoint))


def _agreement(net: _Net, contender: Contender) -> float:
    """Share of the scene's labels, percent, that are onnxruntime's for the same graph."""
    scene, path = net.workshop.scene, contender.path
    expected = load(path, 1, "ort").predict(scene, np.arange(scene.labelled().size)).reshape(scene.shape)
    labels = np.concatenate(list(_labels(net, contender)))
    return 100 * float((labels == expected[: len(labels)]).mean())


def _labels(net: _Net, contender: Contender) -> Iterator[NDArray[np.uint16]]:
    """Labels of the scene; of C that takes rows, without those that wait for its end."""
    scene, model = net.workshop.scene, opened({"path": str(contender.path), **contender.options})
    stream = model.stream(scene.shape[1])
    if stream is not None:
        yield stream.push(scene.cube)
    else:
        yield model.predict(scene, np.arange(scene.labelled().size)).reshape(scene.shape)


def _accuracy(workshop: Workshop, path: Path) -> float:
    """OA on the test pixels of the model's split, percent."""
    model, scene = load(path, 1, "ort"), workshop.scene
    split = split_for(model.known, scene)
    return evaluate(model.predict, scene, split).accuracy.oa
