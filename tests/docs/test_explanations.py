"""The pages of explanation: their figures are stored results, and their pictures are of today's graphs."""

from __future__ import annotations

import json
import re
import statistics

import pytest

pytest.importorskip("onnx_ir", reason="passes are onnx-ir's, which is not installed")

from hsiedge.graphs.passes import FLOAT, INTEGER
from hsiedge.registry import run_file
from tests.docs.blocks import ROOT

FOLDER = ROOT / "docs" / "explanation"
if not FOLDER.is_dir():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("split", "line"), [("random", "random, 10 % of each class trains"), ("blocks", "blocks, as many pixels train")]
)
def test_splits_have_the_stored_accuracy(split: str, line: str) -> None:
    seeds = json.loads((RESULTS / f"indian_pines-cnn2d-{split}.json").read_text())["seeds"]
    cells = []
    for figure in ("oa", "aa"):
        values = [row["int8"][figure] for row in seeds]
        cells.append(f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}")
    assert f"| {line} | {cells[0]} | {cells[1]} |" in (FOLDER / "splits-and-leakage.md").read_text()


def test_what_quantization_loses_is_what_was_measured() -> None:
    seeds = json.loads((RESULTS / "indian_pines-cnn2d-random.json").read_text())["seeds"]
    lost = max(row["float"]["oa"] - row["int8"]["oa"] for row in seeds)
    assert f"at most {lost:.2f} points, over five seeds" in (FOLDER / "quantization.md").read_text()
    assert len(seeds) == 5


def test_the_hybrids_savings_are_those_stored() -> None:
    fewer = [net["times_fewer_macs"] for net in json.loads((RESULTS / "hybrid.json").read_text())["results"]]
    assert f"with {fewer[0]:.0f} and {fewer[1]:.0f} times fewer products" in (FOLDER / "scene-graphs.md").read_text()


def test_the_budget_is_what_was_measured() -> None:
    seeds = json.loads((RESULTS / "compress-indian_pines-random.json").read_text())["seeds"]
    sizes = [row["bytes"] for row in seeds]
    reached = {}
    for who in ("student", "teacher"):
        values = [row["test"][who] for row in seeds]
        reached[who] = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} %"
    line = f"took {min(sizes):,} to {max(sizes):,} bytes, and the student reached {reached['student']} of test pixels, "
    line += f"its teacher {reached['teacher']}."
    page = (FOLDER.parent / "how-to" / "a-budget-of-bytes.md").read_text()
    assert line in page
    assert f"at most {max(row['seconds'] for row in seeds)} seconds on one core" in page


def test_each_pass_has_its_section() -> None:
    sections = re.findall(r"^### (\w+)$", (FOLDER / "quantization.md").read_text(), re.M)
    names = [type(step).__name__ for step in (*FLOAT, *INTEGER)]
    assert [name for name in sections if name in names] == names


@pytest.mark.slow
def test_pictures_are_of_the_graphs_that_there_are() -> None:
    for package in ("matplotlib", "tensorly", "torch"):
        pytest.importorskip(package, reason="pictures are of a net that is trained for them")
    changes = run_file(ROOT / "docs" / "pictures.py")[0].changes()
    shown = set(re.findall(r"passes/(\w+)\.svg", "".join(page.read_text() for page in FOLDER.glob("*.md"))))
    assert shown == set(changes)
    for name, change in changes.items():
        picture = (ROOT / "docs" / "images" / "passes" / f"{name}.svg").read_text().replace("&gt;", ">")
        assert change.summary in picture, name
