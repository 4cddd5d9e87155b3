"""The leaderboard: documents say what is stored, the issue's bars hold in what is stored, and a run is stored once."""

from __future__ import annotations

import dataclasses
import importlib.util
import statistics
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hsiedge.scenes.scene import Scene
from hsiedge.scenes.splits import TEST, draw

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks" / "leaderboard.py").is_file():
    pytest.skip("the benchmarks lie in a checkout, not beside an installed wheel", allow_module_level=True)


@pytest.fixture(scope="module")
def leaderboard() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leaderboard", ROOT / "benchmarks" / "leaderboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_page_says_what_is_stored(leaderboard: ModuleType) -> None:
    text = (ROOT / "docs" / "benchmarks" / "leaderboard.md").read_text("utf-8")
    template = (ROOT / "benchmarks" / "templates" / "leaderboard.md.j2").read_text("utf-8")
    for split in leaderboard.SPLITS:
        assert f'{{{{ leaderboard("{split}") }}}}' in template
        assert leaderboard.table(split, leaderboard.stored()) in text, "run: python benchmarks/pages.py"
    assert leaderboard.sources("hong") in text


def test_a_published_figure_says_whether_it_could_be_looked_up(leaderboard: ModuleType) -> None:
    entries = leaderboard.published("hong")
    assert {entry.status for entry in entries} == {"verified", "recalled, not verified"}
    table, sources = leaderboard.table("hong", []).splitlines(), leaderboard.sources("hong").splitlines()
    for entry, line, source in zip(entries, table[2:], sources[2:], strict=True):
        assert line.startswith(f"| {entry.method}, published ({entry.status}) | {entry.oa:.2f} |")
        assert f"**{entry.status}**" in source
        assert (entry.address is None) == (entry.read is None) == ("recalled" in entry.status)
        assert entry.address is None or f"({entry.address})" in source


def test_a_verified_figure_is_of_this_split(
    leaderboard: ModuleType, indian_pines: Scene, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its accuracies by class give whole numbers of this split's test pixels, and OA and AA with them."""
    monkeypatch.setenv("HSIEDGE_DATA", str(shared / "data"))
    verified = [entry for entry in leaderboard.published("hong") if entry.recalls]
    split = indian_pines.split("hong")
    tested = split.labels_on(indian_pines)[split.parts == TEST]
    assert split.published is not None
    sizes = np.array([(tested == label).sum() for label in split.published.order])
    for entry in verified:
        right = sizes * entry.recalls
        assert np.abs(right - right.round()).max() < 1e-3
        assert 100 * right.round().sum() / sizes.sum() == pytest.approx(entry.oa, abs=0.005)
        assert 100 * np.mean(entry.recalls) == pytest.approx(entry.aa, abs=0.005)
    assert verified


def test_leaks_are_those_of_the_maps(
    leaderboard: ModuleType, indian_pines: Scene, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSIEDGE_DATA", str(shared / "data"))
    assert leaderboard.content()["leaks"] == leaderboard.leaks(indian_pines)


def test_bars_on_hongs_split(leaderboard: ModuleType) -> None:
    deep, shallow = (leaderboard.accuracies("hong", f"cnn2d:{patch}") for patch in (13, 7))
    assert statistics.mean(deep) >= 95.5
    assert statistics.mean(leaderboard.accuracies("hong", "cnn2d:13", "int8")) >= statistics.mean(deep) - 0.3
    assert statistics.mean(shallow) >= 88


def test_the_net_of_single_pixels(leaderboard: ModuleType) -> None:
    ours = leaderboard.accuracies("hong", "mlp:1")
    assert statistics.mean(ours) > leaderboard.accuracies("hong", "svm")[0] + 1
    assert statistics.mean(leaderboard.accuracies("hong", "mlp:1", "int8")) >= statistics.mean(ours) - 0.5
    assert {row["parameters"] <= 30_000 for row in leaderboard.stored() if row["method"] == "mlp:1"} == {True}


def test_folds_of_blocks_spread_little(leaderboard: ModuleType) -> None:
    figures = leaderboard.accuracies("blocks", "lda")
    assert len(figures) == 5
    assert statistics.stdev(figures) <= 3


def test_the_table_has_means_and_best_first(leaderboard: ModuleType) -> None:
    rows: list[dict[str, Any]] = [
        {"split": "hong", "method": method, "precision": "float", "seed": seed, "oa": oa, "aa": 50.0, "kappa": 40.0}
        for method, values in (("svm", (60.0,)), ("mlp:1", (70.0, 72.0)))
        for seed, oa in enumerate(values)
    ]
    lines = leaderboard.table("hong", rows).splitlines()
    ours = [line for line in lines if ", published" not in line][2:]
    assert ours[0].startswith("| mlp, patch 1, float | 71.00 ± 1.41 | 50.00 ± 0.00 | 40.00 ± 0.00 | 2 |")
    assert ours[1].startswith("| SVM, RBF kernel | 60.00 | 50.00 | 40.00 | 1 |")


def test_rows_are_added_to_what_is_stored(leaderboard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaderboard, "STORE", tmp_path / "rows.json")
    one = {"split": "hong", "method": "svm", "seed": 0, "precision": "float", "oa": 1.0}
    leaderboard.store([one])
    leaderboard.store([{**one, "seed": 1}])
    leaderboard.store([{**one, "oa": 2.0}])
    assert [(row["seed"], row["oa"]) for row in leaderboard.stored()] == [(0, 2.0), (1, 1.0)]
    leaderboard.store([], {"hong": {"3": 78.9}})
    leaderboard.store([{**one, "seed": 2}], {"paoletti": {"3": 56.5}})
    assert leaderboard.content()["leaks"] == {"hong": {"3": 78.9}, "paoletti": {"3": 56.5}}
    assert len(leaderboard.stored()) == 3


@pytest.mark.slow
def test_a_classical_method_reads_no_test_pixel(leaderboard: ModuleType) -> None:
    """With other labels on the test pixels, it gives the same ones: what it scores is all that changes."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 2], 200).reshape(20, 20).astype(np.uint16)
    cube = (rng.normal(100, 5, (20, 20, 4)) + labels[..., None] * 20).astype(np.uint16)
    scene = Scene("made", cube, labels, {1: "one", 2: "two"})
    split = draw("random", scene, 0)
    other = Scene("made", cube, np.where(split.parts == TEST, 3 - labels, labels).astype(np.uint16), scene.classes)
    split = dataclasses.replace(split, labels_sha256="")  # the labels' digest would refuse other ones
    first, _ = leaderboard.classical("forest", scene, split, 0)
    second, _ = leaderboard.classical("forest", other, split, 0)
    assert first.oa > 95
    assert second.oa == pytest.approx(100 - first.oa)
