"""Bar 4: the peers, each given the patch graph, and each given our scene graph, in turns with ours."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bars.environments import TABLE, Environment, ready
from bars.models import Workshop, macs, pixel_bytes
from bars.results import Verdict
from bars.speed import BATCHES, MOST_LOST, Bar, whole
from bars.turns import Contender, Timed, Turns, take, times_faster
from hsiedge.evaluation import evaluate, split_for
from hsiedge.graphs.quantization.calibration import CALIBRATION_PATCHES, choose_pixels
from hsiedge.runtimes import load, require_card
from hsiedge.scenes.patches import extract, surrounded
from hsiedge.shipped import shipped

PATCH_TIMES = 50
_PATIENCE = 600  # seconds for a peer to convert a model and label a scene
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peer:
    """A peer at one precision; `adapter` names its module and its environment."""

    name: str
    adapter: str
    precision: str
    options: dict[str, Any] = field(default_factory=dict)


PEERS = (
    Peer("torch eager", "torch", "float32"),
    Peer("torch compiled", "torch", "float32", {"compiled": True}),
    Peer("OpenVINO f32", "openvino", "float32"),
    Peer("OpenVINO default", "openvino", "default"),
    Peer("OpenVINO int8 (NNCF)", "openvino", "int8"),
    Peer("ExecuTorch fp32", "executorch", "float32"),
    Peer("ExecuTorch int8", "executorch", "int8"),
    Peer("ncnn", "ncnn", "default"),
)


@dataclass(frozen=True)
class Material:
    """What all peers are given: the two graphs in each form that one of them takes, calibration patches, the scene's rows."""

    workshop: Workshop
    folder: Path
    graphs: dict[str, Path]
    bands: int
    patch: int

    @classmethod
    def of(cls, workshop: Workshop) -> Material:
        graphs = workshop.graphs(shipped(".onnx"))
        card = require_card(graphs["patch float"])
        folder = workshop.folder / f"peers-{_adapters()}"
        folder.mkdir(exist_ok=True)
        graph_paths = {"patch": folder / "patch.onnx", "scene": folder / "scene.onnx"}
        material = cls(workshop, folder, graph_paths, card.scene.bands, card.patch)
        for kind, path in graph_paths.items():
            if not path.exists():
                path.write_bytes(graphs[f"{kind} float"].read_bytes())
        material._convert()
        return material

    def shapes(self, graph: str) -> list[tuple[int, ...]]:
        """Of inputs; the first is the one that labels the scene: a row of patches, or all of it."""
        height, width = self.workshop.scene.shape
        if graph == "scene":
            return [(1, self.bands, height + self.patch - 1, width + self.patch - 1)]
        return [(count, self.bands, self.patch, self.patch) for count in (width, *BATCHES)]

    @property
    def rows(self) -> Path:
        return self.folder / "rows.npy"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.npy"

    def _convert(self) -> None:
        from bars.for_torch import export_torch, with_float_input

        scene = self.workshop.scene
        for kind, path in self.graphs.items():
            floats = path.with_name(f"{path.stem}-float.onnx")
            if not floats.exists():
                with_float_input(path, floats)
            for shape in self.shapes(kind):
                exported = path.with_name(f"{path.stem}-{'x'.join(map(str, shape))}.pt2")
                if not exported.exists():
                    export_torch(path, shape, exported)
        if not self.rows.exists():
            np.save(self.rows, surrounded(scene.cube, 0, scene.shape[0], self.patch // 2))
        if not self.calibration.exists():
            pixels = choose_pixels(scene, require_card(self.graphs["patch"]), CALIBRATION_PATCHES, 0).calibration
            np.save(self.calibration, extract(scene.cube, pixels, self.patch))

    def command(self, peer: Peer, graph: str, shape: Sequence[int]) -> dict[str, Any]:
        """What a peer's process is asked, as JSON."""
        prepared = self.folder / peer.adapter
        common = {"peer_precision": peer.precision, "peer_shape": list(shape), "calibration": str(self.calibration)}
        return {**common, "prepared": str(prepared), "path": str(self.graphs[graph]), **peer.options}

    def contender(self, peer: Peer, graph: str, shape: Sequence[int], environment: Environment) -> Contender:
        command = self.command(peer, graph, shape)
        command.pop("path")
        return Contender(
            peer.name,
            self.graphs[graph],
            shape[0],
            program=(str(environment.python), "-m", "bars.peer", peer.adapter, "measure"),
            variables=self.variables(),
            options=command,
        )

    def variables(self) -> dict[str, str]:
        """Of a peer's process: our sources, and one thread for whatever counts its own."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        cache = str(self.folder / "inductor")
        return {
            "PYTHONPATH": os.pathsep.join([str(_ROOT), str(_ROOT / "benchmarks")]),
            "TORCHINDUCTOR_CACHE_DIR": cache,
            **threads,
        }


def _adapters() -> str:
    """A digest of all that has a say in how peers convert their models."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in [*sorted(here.glob("*_peer.py")), here / "peer.py", here / "for_torch.py", TABLE]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measured(workshop: Workshop, seconds: float, cache: Path, peers: Sequence[Peer] = PEERS) -> Bar:
    """Labels of each peer first, which also converts the models; then times, a run a batch and one for the scene graph."""
    material = Material.of(workshop)
    environments = {name: ready(name, cache) for name in dict.fromkeys(peer.adapter for peer in peers)}
    ours, reason = _ours(workshop)
    floats = _our_labels(workshop, shipped(".onnx"))
    labelled: dict[tuple[str, str], dict[str, Any]] = {}
    for graph in ("patch", "scene"):
        for peer in peers:
            labelled[peer.name, graph] = _labelled(material, peer, graph, environments[peer.adapter], floats)
    rows, runs = [], []
    for graph, shape in [*(("patch", shape) for shape in material.shapes("patch")[1:]), ("scene", material.shapes("scene")[0])]:
        able = [peer for peer in peers if "failure" not in labelled[peer.name, graph]]
        contenders = [material.contender(peer, graph, shape, environments[peer.adapter]) for peer in able]
        turns = take([*ours, *contenders], seconds)
        runs.append(turns)
        rows += _rows(turns, graph, shape[0], ours, labelled, peers)
    oa = _accuracy(workshop, floats)
    verdicts = [_given_patches(rows), _given_scene(rows, oa)]
    if reason:
        verdicts = [{**verdict, "note": f"{verdict['note']}; LiteRT is missing: {reason}"} for verdict in verdicts]
    graphs = workshop.graphs(shipped(".onnx"))
    return {
        "rows": rows,
        "pixel_bytes": pixel_bytes(workshop.scene),
        "macs": {kind: macs(graphs[f"{kind} float"]) for kind in ("patch", "scene")},
        "oa_float": oa,
        "environments": {name: {"versions": entry.versions, "failure": entry.failure} for name, entry in environments.items()},
        "other_cores": max((turns.load.cores or 0.0 for turns in runs), default=0.0),
        "verdicts": verdicts,
    }


def _ours(workshop: Workshop) -> tuple[list[Contender], str]:
    """Our scene graphs, INT8, on each of our runtimes; and why one is missing."""
    graphs = workshop.graphs(shipped(".onnx"))
    height, width = workshop.scene.shape
    rows = [whole("ours, onnxruntime int8", graphs["scene int8"], height, width)]
    lite, reason = workshop.litert(graphs["scene float"], height, width)
    if lite is not None:
        rows.append(whole("ours, LiteRT int8", lite, height, width))
    return rows, reason


def _our_labels(workshop: Workshop, path: Path) -> NDArray[np.uint16]:
    everywhere = np.arange(workshop.scene.cube.shape[0] * workshop.scene.cube.shape[1])
    return load(path).predict(workshop.scene, everywhere)


def _accuracy(workshop: Workshop, labels: NDArray[np.uint16]) -> float:
    """OA, percent, of a map's labels on the test pixels of the shipped net's split."""
    split = split_for(require_card(shipped(".onnx")), workshop.scene)
    return evaluate(lambda scene, pixels: labels.ravel()[pixels], workshop.scene, split).accuracy.oa


def _labelled(
    material: Material, peer: Peer, graph: str, environment: Environment, floats: NDArray[np.uint16]
) -> dict[str, Any]:
    """What a peer makes of the scene: OA, and agreement with the float patches, in percent; or why it could not."""
    if environment.failure:
        return {"failure": f"not installed: {environment.failure}"}
    shapes = material.shapes(graph)
    output = material.folder / f"labels-{peer.name.replace(' ', '-')}-{graph}.npy"
    extra = {"shapes": [list(shape) for shape in shapes], "rows": str(material.rows), "labels": str(output)}
    command = output.with_suffix(".json")
    command.write_text(json.dumps({**material.command(peer, graph, shapes[0]), **extra}))
    if failure := ask_labels(material, peer.adapter, command, environment):
        return {"failure": failure}
    labels_there = np.load(output)
    return {
        "oa": _accuracy(material.workshop, labels_there),
        "agreement": 100 * float((labels_there.ravel() == floats.ravel()).mean()),
    }


def ask_labels(material: Material, adapter: str, command: Path, environment: Environment) -> str:
    """Lets a peer's process convert the model and write its labels, as the file `command` says; gives why it could not."""
    program = [str(environment.python), "-m", "bars.peer", adapter, "labels", str(command)]
    variables = {**os.environ, **material.variables()}
    try:
        done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"did not end within {_PATIENCE} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if not done.returncode:
        return ""
    return lines[-1][:300] if lines else f"ended with code {done.returncode}"


def _rows(
    turns: Turns, graph: str, batch: int, ours: Sequence[Contender], labelled: dict[tuple[str, str], Any], peers: Sequence[Peer]
) -> list[dict[str, Any]]:
    """A row for each peer of a run, and for each of our runtimes; `times`: how many times as fast the best of ours is."""
    best = turns.best([contender.name for contender in ours])
    rows = []
    for peer in peers:
        row = {"name": peer.name, "given": graph, "batch": batch, "ours": best.contender.name, **labelled[peer.name, graph]}
        timed = turns.timed.get(peer.name)
        if timed is not None:
            row |= {**_times(timed), **times_faster(best, timed)}
        elif "failure" not in row:
            row["failure"] = turns.failed.get(peer.name, "was not run")
        rows.append(row)
    mine = [turns.timed[contender.name] for contender in ours if contender.name in turns.timed]
    return rows + [
        {"name": entry.contender.name, "given": "ours", "beside": f"{graph}, batch {batch}", **_times(entry)} for entry in mine
    ]


def _times(timed: Timed) -> dict[str, Any]:
    row = timed.row()
    return {name: row[name] for name in ("runtime", "ms", "pixels_per_run", "pixels_per_s", "memory_mib")}


def _given_patches(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    able = [row for row in rows if row["given"] == "patch" and "times" in row]
    title = "our scene graph against the best peer given the patch model, times"
    if not able:
        return Verdict(title, None, ">=", PATCH_TIMES, "no peer could be run").to_json()
    best = max(able, key=lambda row: row["pixels_per_s"])
    return Verdict(title, best["times"], ">=", PATCH_TIMES, f"{best['name']}, batch {best['batch']}").to_json()


def _given_scene(rows: Sequence[dict[str, Any]], oa: float) -> dict[str, Any]:
    """Equal accuracy: at most as much below the float patches as INT8 may lose."""
    able = [row for row in rows if row["given"] == "scene" and "times" in row and oa - row["oa"] <= MOST_LOST]
    title = "the best of our runtimes against the best peer given our scene graph, at equal accuracy, times"
    if not able:
        return Verdict(title, None, ">=", 1, "no peer could be run").to_json()
    best = max(able, key=lambda row: row["pixels_per_s"])
    return Verdict(title, best["times"], ">=", 1, f"{best['name']}, {best['times']:.2f} times its speed").to_json()
