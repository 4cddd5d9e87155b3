"""Accuracy on the splits that papers use: our nets, float and INT8, beside classical methods, on Indian Pines.

    python benchmarks/leaderboard.py                                  # all that is missing, seeds 0 to 4; hours on two cores
    python benchmarks/leaderboard.py --splits hong --methods svm cnn2d:7
    python benchmarks/leaderboard.py --documents                      # writes what is stored into docs

A method is svm, forest or lda (scikit-learn, on the spectrum of the pixel), or NET:PATCH. A run is stored when it is done, in
benchmarks/results/leaderboard.json, and not run again. Splits are hong and paoletti, which are fixed, all of whose training
pixels train (nets are refitted), and blocks, in five folds whose confusion matrices are added up: one run is a seed's five
nets. Seeds are those of the forest's and the nets' draws; svm and lda draw nothing: one run on a fixed split.

The published maps lie in $HSIEDGE_DATA or its folder splits, or are downloaded. Figures of others stand in published.toml, each
with where it was looked up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsiedge import __version__, files, open_scene
from hsiedge.device.facts import device_facts
from hsiedge.evaluation import Evaluation, evaluate, pooled
from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, TRAIN, VALIDATION, Split, draw, folds_split, leaked

STORE = Path(__file__).parent / "results" / "leaderboard.json"
SPLITS = ("hong", "paoletti", "blocks")
METHODS = ("svm", "forest", "lda", "mlp:1", "cnn1d:1", "cnn2d:7", "cnn2d:13", "dscnn:13")
FOLDS = 5
LEAST_EPOCHS = 60  # twice what cnn2d takes by default
GRID = {"svc__C": [1, 10, 100, 1000, 10000], "svc__gamma": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1]}
PUBLISHED = Path(__file__).with_name("published.toml")


@dataclass(frozen=True, kw_only=True)
class Published:
    """An accuracy that others published on one of the splits, in percent; published.toml says what each field holds."""

    split: str
    method: str
    oa: float
    source: str
    note: str
    aa: float | None = None
    kappa: float | None = None
    parameters: int | None = None
    address: str | None = None
    read: date | None = None
    recalls: tuple[float, ...] = ()

    @property
    def status(self) -> str:
        """Whether somebody could look it up."""
        return "recalled, not verified" if self.address is None else "verified"


def published(split: str) -> list[Published]:
    """What others published on a split, best OA first."""
    entries = [Published(**facts) for facts in files.read_toml(PUBLISHED)["published"]]
    return sorted((entry for entry in entries if entry.split == split), key=lambda entry: -entry.oa)


def splits_of(kind: str, scene: Scene, seed: int) -> tuple[Split, ...]:
    """The splits of one run: one, or as many as there are folds."""
    return folds_split(scene, seed, 0.1, 6, FOLDS) if kind == "blocks" else (draw(kind, scene, seed),)


def classical(method: str, scene: Scene, split: Split, seed: int) -> tuple[Evaluation, dict[str, Any]]:
    """A support vector machine chosen by cross-validation on all training pixels, a random forest, or discriminant analysis."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    flat = scene.cube[:].reshape(-1, scene.bands)
    pixels = np.flatnonzero(np.isin(split.parts.ravel(), (TRAIN, VALIDATION)))
    truth = split.labels_on(scene).ravel()[pixels]
    if method == "svm":
        least = int(np.bincount(truth)[np.unique(truth)].min())
        deal = StratifiedKFold(min(5, least), shuffle=True, random_state=0)
        fitted: Any = GridSearchCV(make_pipeline(StandardScaler(), SVC()), GRID, cv=deal).fit(flat[pixels], truth)
        facts = {"chosen": {name.removeprefix("svc__"): value for name, value in fitted.best_params_.items()}}
    elif method == "lda":
        fitted, facts = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")), {}
        fitted.fit(flat[pixels], truth)
    else:
        fitted, facts = RandomForestClassifier(500, random_state=seed).fit(flat[pixels], truth), {"trees": 500}

    def predict(where: Scene, at: NDArray[np.intp]) -> NDArray[np.uint16]:
        return fitted.predict(flat[at]).astype(np.uint16)

    return evaluate(predict, scene, split), facts


def trained(net: str, patch: int, scene: Scene, split: Split, device: str, folder: Path) -> dict[str, Any]:
    """Evaluations of a net, by precision, with its size: as a float patch graph, and as an INT8 scene graph."""
    from hsiedge.graphs.export.checkpoint import export
    from hsiedge.graphs.quantization.quantize import quantize
    from hsiedge.graphs.scene_graph.build import scene_graph
    from hsiedge.nets import spec
    from hsiedge.runtimes import load
    from hsiedge.training.checkpoint import save_checkpoint
    from hsiedge.training.fit import FitSettings
    from hsiedge.training.train import train

    names = ("net.safetensors", "net.onnx", "net-scene.onnx", "int8.onnx")
    checkpoint, floating, whole, integer = (folder / name for name in names)
    started = time.perf_counter()
    result = train(scene, split, net, patch, FitSettings(epochs=max(LEAST_EPOCHS, spec(net).epochs)), device=device)
    seconds = time.perf_counter() - started
    save_checkpoint(checkpoint, result)
    export(result, scene, floating, files.digest(checkpoint))
    scene_graph(floating, scene, whole)
    card = quantize(whole, scene, integer)
    facts = result.card.net
    assert facts is not None
    assert card.quantization is not None
    size = {"parameters": facts.parameters, "macs": facts.macs_per_pixel, "train_seconds": round(seconds, 1)}
    return {
        "float": (evaluate(load(floating).predict, scene, split), {"bytes": floating.stat().st_size, **size}),
        "int8": (
            evaluate(load(integer).predict, scene, split),
            {"bytes": integer.stat().st_size, **size, "float_layers": card.quantization.float_layers},
        ),
    }


def run(kind: str, method: str, seed: int, scene: Scene, device: str) -> list[dict[str, Any]]:
    """The rows of one run: one a precision."""
    by_precision: dict[str, list[tuple[Evaluation, dict[str, Any]]]] = {}
    splits = splits_of(kind, scene, seed)
    for split in splits:
        if ":" not in method:
            by_precision.setdefault("float", []).append(classical(method, scene, split, seed))
            continue
        net, patch = method.split(":")
        with tempfile.TemporaryDirectory() as folder:
            for precision, entry in trained(net, int(patch), scene, split, device, Path(folder)).items():
                by_precision.setdefault(precision, []).append(entry)
    return [row(kind, method, seed, precision, entries) for precision, entries in by_precision.items()]


def row(kind: str, method: str, seed: int, precision: str, entries: list[tuple[Evaluation, dict[str, Any]]]) -> dict[str, Any]:
    """A stored row; of folds, the figures of their confusion matrices added up."""
    evaluations = [evaluation for evaluation, _ in entries]
    whole = evaluations[0] if len(entries) == 1 else pooled(evaluations)
    figures = {name: round(getattr(whole, name), 3) for name in ("oa", "aa", "kappa")}
    dropped = [list(entry.split.dropped) for entry in evaluations if entry.split is not None]
    return {
        "split": kind,
        "method": method,
        "seed": seed,
        "precision": precision,
        "n": whole.n,
        **figures,
        **entries[0][1],
        **({"folds": [round(entry.oa, 2) for entry in evaluations], "dropped": dropped} if len(entries) > 1 else {}),
        "hsiedge": __version__,
        "measured": date.today().isoformat(),
        "device": device_facts().cpu,
    }


def stored() -> list[dict[str, Any]]:
    """The rows that are stored."""
    rows: list[dict[str, Any]] = content()["rows"]
    return rows


def content() -> dict[str, Any]:
    """All that is stored: `rows`, and `leaks` of the fixed splits."""
    return {"rows": [], "leaks": {}, **(json.loads(STORE.read_text()) if STORE.exists() else {})}


def store(rows: list[dict[str, Any]], shares: dict[str, dict[str, float]] | None = None) -> None:
    """Adds rows and leaks to what is stored, whatever else has been stored in the meantime."""
    key: Callable[[dict[str, Any]], tuple[Any, ...]] = lambda entry: tuple(  # noqa: E731
        entry[name] for name in ("split", "method", "seed", "precision")
    )
    before = content()
    merged = {key(entry): entry for entry in [*before["rows"], *rows]}
    after = {"leaks": before["leaks"] | (shares or {}), "rows": [merged[name] for name in sorted(merged)]}
    files.write_bytes(STORE, (json.dumps(after, indent=1) + "\n").encode())


def leaks(scene: Scene) -> dict[str, dict[str, float]]:
    """The share of test pixels of each fixed split, in percent, within 3 and 6 pixels of a training pixel."""
    fixed = {kind: draw(kind, scene) for kind in SPLITS if kind != "blocks"}
    return {kind: {str(reach): round(100 * leaked(split, reach), 1) for reach in (3, 6)} for kind, split in fixed.items()}


def accuracies(split: str, method: str, precision: str = "float") -> list[float]:
    """The stored OA of a method on a split, one a seed, in percent."""
    wanted = (split, method, precision)
    return [row["oa"] for row in stored() if (row["split"], row["method"], row["precision"]) == wanted]


HEAD = """\
| method | OA % | AA % | kappa | runs | bytes | parameters | MACs a pixel |
|---|---|---|---|---|---|---|---|"""


def table(kind: str, rows: list[dict[str, Any]]) -> str:
    """The table of one split: mean and standard deviation over its runs, best OA first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in rows:
        if entry["split"] == kind:
            groups.setdefault((entry["method"], entry["precision"]), []).append(entry)
    lines = []
    for (method, precision), runs in groups.items():
        net, _, patch = method.partition(":")
        title = {"svm": "SVM, RBF kernel", "forest": "random forest, 500 trees", "lda": "linear discriminants, shrunk"}.get(
            method, f"{net}, patch {patch}, {precision}"
        )
        figures = [spread([entry[name] for entry in runs]) for name in ("oa", "aa", "kappa")]
        sizes = [f"{runs[0][name]:,}" if name in runs[0] else "" for name in ("bytes", "parameters", "macs")]
        mean = statistics.mean(entry["oa"] for entry in runs)
        lines.append((mean, f"| {title} | {' | '.join(figures)} | {len(runs)} | {' | '.join(sizes)} |"))
    lines += [(entry.oa, published_line(entry)) for entry in published(kind)]
    return "\n".join([HEAD, *(text for _, text in sorted(lines, reverse=True))])


def published_line(entry: Published) -> str:
    """A figure of others as a line of the table."""
    figures = ["" if figure is None else f"{figure:.2f}" for figure in (entry.oa, entry.aa, entry.kappa)]
    parameters = "" if entry.parameters is None else f"{entry.parameters:,}"
    return f"| {entry.method}, published ({entry.status}) | {' | '.join(figures)} |  |  | {parameters} |  |"


def sources(kind: str) -> str:
    """The table that says where each published figure of a split comes from."""
    lines = ["| published figure | OA % | source | looked up |", "|---|---|---|---|"]
    for entry in published(kind):
        shown = "nothing that shows it" if entry.address is None else f"[shown here]({entry.address}), {entry.read}"
        lines.append(f"| {entry.method} | {entry.oa:.2f} | {entry.source} | **{entry.status}**: {shown}; {entry.note} |")
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """Mean, and the standard deviation where there are several."""
    return f"{statistics.mean(values):.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def main() -> None:
    """Runs what is missing, or prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=SPLITS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="svm, forest, lda, or NET:PATCH")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"), help="where nets are trained")
    parser.add_argument("--threads", type=int, help="of PyTorch; a fit repeats to the bit with the same number")
    parser.add_argument(
        "--documents", action="store_true", help="write what is stored into the pages, as benchmarks/pages.py does"
    )
    arguments = parser.parse_args()
    if arguments.documents:
        import pages

        pages.main()
        return
    if arguments.threads:
        import torch

        torch.set_num_threads(arguments.threads)
    scene = open_scene("indian_pines")
    assert int((draw("hong", scene).parts == TEST).sum()) == 9671
    store([], leaks(scene))
    for seed in arguments.seeds:
        for kind in arguments.splits:
            for method in arguments.methods:
                done = {(entry["split"], entry["method"], entry["seed"]) for entry in stored()}
                once = method in ("svm", "lda") and kind != "blocks" and seed != arguments.seeds[0]
                if (kind, method, seed) in done or once:
                    continue
                rows = run(kind, method, seed, scene, arguments.device)
                store(rows)
                print(
                    *(f"{entry['split']} {method} s{seed} {entry['precision']}: OA {entry['oa']}" for entry in rows), flush=True
                )


if __name__ == "__main__":
    main()
