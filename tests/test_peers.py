"""The bars of whole scenes: what measures them, what is stored of them, and what the documents say."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsiedge.card import Card
from hsiedge.device import int8
from hsiedge.device.facts import device_facts
from hsiedge.runtimes import NATIVE_FIRST, load
from hsiedge.scenes.patches import surrounded
from hsiedge.scenes.scene import Scene

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks" / "peers.py").is_file():
    pytest.skip("the benchmarks lie in a checkout, not beside an installed wheel", allow_module_level=True)
if sys.version_info < (3, 11):
    pytest.skip("the benchmarks are run on a workstation, with Python 3.11 or later", allow_module_level=True)
pytest.importorskip("onnx", reason="onnx makes the models of the bars, and is not installed")
pytest.importorskip("jinja2", reason="jinja2 writes the pages, and is not installed")
sys.path.insert(0, str(ROOT / "benchmarks"))

import pages  # noqa: E402
from bars import cameras, environments, limits, memory, older, results, speed, tables, turns  # noqa: E402

STORED = Path(__file__).parent / "benchmark" / "data"
FLOAT, INT8 = STORED / "float.onnx", STORED / "int8.onnx"


def test_cameras_have_sources() -> None:
    by_name = {camera.name: camera for camera in cameras.cameras()}
    assert {"AVIRIS-NG", "EnMAP", "PRISMA", "DESIS"} <= set(by_name)
    assert any("HySpex" in name for name in by_name)
    for camera in by_name.values():
        assert camera.known in ("read", "recalled", "derived")
        assert len(camera.source) > 20
        assert camera.how
        assert 50 <= camera.bands <= 500
        assert 100 <= camera.lines_per_second <= 500


def test_derived_line_rates_follow_from_what_they_are_derived_from() -> None:
    by_name = {camera.name: camera for camera in cameras.cameras()}
    assert by_name["EnMAP"].lines_per_second == pytest.approx(1 / 4.4e-3, rel=0.01)
    earth, gravity, height = 6371e3, 3.986e14, 614e3
    speed = math.sqrt(gravity / (earth + height)) * earth / (earth + height)
    assert by_name["PRISMA"].lines_per_second == pytest.approx(speed / 30, rel=0.01)


@pytest.mark.parametrize("bar", sorted(results.stored()["bars"]))
def test_what_is_stored(bar: str) -> None:
    entry = results.stored()["bars"][bar]
    assert {"measured", "seconds", "device", "limits", "verdicts"} <= set(entry)
    assert entry["device"]["instruction_sets"]
    assert min(entry["limits"][name] for name in ("int8_gmac_s", "float32_gmac_s", "copy_gb_s")) > 0
    for verdict in entry["verdicts"]:
        again = results.Verdict(**{name: verdict[name] for name in ("what", "value", "sense", "limit", "note")})
        assert verdict == again.to_json()
        assert verdict["value"] is not None or verdict["note"], "what could not be measured says why"
    assert tables.terminal(int(bar), entry)


def test_the_bar_of_scene_graphs_holds_in_the_stored_results() -> None:
    """170 times the float patches on onnxruntime, at most 0.3 points of OA lost, and INT8 at most 0.45 of float's time."""
    entry = results.stored()["bars"].get("1")
    if entry is None:
        pytest.skip("bar 1 is not stored")
    graphs = {row["name"]: row for row in entry["rows"]}
    assert graphs["patch float"]["oa"] - graphs["scene int8"]["oa"] <= 0.3
    assert graphs["scene float"]["oa"] == graphs["patch float"]["oa"]
    assert graphs["scene int8"]["times"] >= 170
    assert graphs["scene float"]["times"] / graphs["scene int8"]["times"] <= 0.45


def test_every_peer_has_figures_or_a_reason() -> None:
    stored = results.stored()["bars"]
    if "4" not in stored:
        pytest.skip("bar 4 is not stored")
    rows = [row for row in stored["4"]["rows"] if row["given"] != "ours"]
    assert len({row["name"] for row in rows}) == 8
    for row in rows:
        assert row.get("failure") or {"pixels_per_s", "times", "low", "high", "oa", "agreement", "runtime"} <= set(row)


def test_the_page_says_what_the_results_say() -> None:
    written = dict(pages.pages())[ROOT / "docs" / "benchmarks" / "speed.md"]
    assert "{{ bars(" in (pages.TEMPLATES / "speed.md.j2").read_text()
    assert (ROOT / "docs" / "benchmarks" / "speed.md").read_text() == written, "run: python benchmarks/pages.py"
    tutorial = ROOT / "docs" / "tutorials" / "microcontroller.md"
    assert dict(pages.pages())[tutorial] == tutorial.read_text(), "run: python benchmarks/pages.py"


def test_native_is_taken_unasked_only_where_it_was_measured_to_be_faster() -> None:
    """On each processor that was measured; on those with AMX it is never taken unasked."""
    faster: dict[str, set[str]] = {}
    for entry in (store["bars"]["7"] for store in (results.stored(), *results.elsewhere()) if "7" in store["bars"]):
        if "amx_int8" in entry["device"]["instruction_sets"]:
            continue
        nets = {row["net"] for row in entry["rows"] if row["push"] == "whole" and row["low"] > 1}
        faster[entry["kernels"]] = nets & faster.get(entry["kernels"], nets)
    asked = {kernels: {"dscnn" if net == "student" else net for net in nets} for kernels, nets in faster.items()}
    assert {kernels: set(nets) for kernels, nets in NATIVE_FIRST.items()} == asked


def test_a_table_is_as_the_results_are() -> None:
    stored = {"bars": {"5": {"verdicts": [results.Verdict("grown", 1.2, "<=", 1.05).to_json()]}}}
    assert "| grown | 1.2 | <= 1.05 | **no** |  |" in pages.bars("verdicts", 5, store=stored)
    assert pages.bars(4, store=stored) == pages.NOT_YET
    for name in ("verdicts", "device", "breakdown", "measured"):
        assert f'bars("{name}"' in (pages.TEMPLATES / "speed.md.j2").read_text()


def test_a_page_shows_no_time_that_its_warning_withdraws() -> None:
    entry = results.stored()["bars"]["1"]
    quiet, busy = ({**entry, "other_cores": cores} for cores in (0.0, 0.5))
    assert tables.page_table(1, quiet) == tables.table(1, quiet)
    shown = tables.page_table(1, busy)
    assert "| graph | runtime | batch | times | test OA % | MACs a pixel | peak MiB |" in shown.splitlines()[0]
    assert "other programs kept 0.5 cores busy" in shown.lower()
    assert f"{entry['rows'][0]['pixels_per_s']:,.0f}" in tables.page_table(1, quiet)
    assert f"{entry['rows'][0]['pixels_per_s']:,.0f}" not in shown
    heads = [line for bar in "12345678" for line in tables.page_table(int(bar), results.stored()["bars"][bar]).splitlines()[:1]]
    assert not [head for head in heads if any(f"| {name}" in head for name in tables.WITHDRAWN)]
    assert " ms |" not in pages.bars("breakdown", store={"bars": {"2": {**results.stored()["bars"]["2"], "other_cores": 0.5}}})


def test_processors_stand_side_by_side() -> None:
    stores = [store for store in (results.stored(), *results.elsewhere()) if "1" in store["bars"]]
    assert len(stores) > 1
    rows = processors(stores)
    assert len(rows) == len(stores)
    for cells, store in zip(rows, stores):
        assert store["bars"]["1"]["device"]["instruction_sets"][-1] in cells[0]
        student = store["bars"]["2"]["verdicts"][0]
        assert cells[4].startswith("**") == (student["value"] < 600)
        assert float(cells[4].strip("*")) == pytest.approx(student["value"], abs=0.5)


def test_native_stands_side_by_side_too() -> None:
    stores = [store for store in (results.stored(), *results.elsewhere()) if "7" in store["bars"]]
    assert len(stores) > 1
    head, _, *rows = tables.native_processors(stores).splitlines()
    assert all(store["bars"]["7"]["kernels"] in title for title, store in zip(head.split(" | ")[2:], stores))
    (whole,) = [row.split(" | ") for row in rows if row.startswith("| student, a whole scene:")]
    for cell, store in zip(whole[2:], stores):
        verdict = store["bars"]["7"]["verdicts"][0]
        assert cell.startswith("**") == (not verdict["holds"])
        assert f"({verdict['note']})" in cell


def test_how_far_from_the_limit() -> None:
    limits = {"int8_gmac_s": 200.0, "float32_gmac_s": 50.0, "copy_gb_s": 20.0}
    assert tables._rates(1e6, 100_000, 400, True, limits) == ["100", "50 %", "0.4", "2 %"]
    assert tables._rates(1e5, 100_000, 400, False, limits) == ["10", "20 %", "0.04", "0.2 %"]


def test_what_was_not_measured_of_a_processor_is_told() -> None:
    first = json.loads(json.dumps(results.stored()["bars"]["1"]))
    first["device"]["instruction_sets"] = None
    first["verdicts"][1] = results.Verdict(first["verdicts"][1]["what"], None, ">=", 300.0, "LiteRT is missing").to_json()
    (cells,) = processors([{"bars": {}}, {"bars": {"1": first}}])
    assert "unknown instruction sets" in cells[0]
    assert cells[2] != "not measured"
    assert cells[3:7] == ["not measured"] * 4


def processors(stores: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of the table's rows."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in tables.processors(stores).splitlines()[2:]]


def test_times_are_paired_by_round() -> None:
    contenders = [turns.Contender("a", FLOAT, 4), turns.Contender("b", INT8, 4)]
    taken = turns.take(contenders, 0.02, 3)
    assert [len(taken.timed[name].rounds) for name in "ab"] == [3, 3]
    ratio, back = (
        turns.share_of_time(taken.timed["a"], taken.timed["b"]),
        turns.times_faster(taken.timed["a"], taken.timed["b"]),
    )
    assert ratio["ratio"] * back["times"] == pytest.approx(1)
    assert ratio["low"] <= ratio["ratio"] <= ratio["high"]
    pairs = taken.timed["a"].per_pixel / taken.timed["b"].per_pixel
    assert ratio["ratio"] == pytest.approx(math.exp(np.log(pairs).mean()))
    assert taken.best(["a", "b"]).pixels_per_s == max(entry.pixels_per_s for entry in taken.timed.values())


def test_who_cannot_be_opened_is_told_and_the_others_are_timed(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    contenders = [
        turns.Contender("whole", FLOAT),
        turns.Contender("broken", tmp_path / "broken.onnx"),
        turns.Contender("absent", FLOAT, program=(sys.executable, "-c", "raise SystemExit('no such peer')")),
    ]
    taken = turns.take(contenders, 0.01, 2)
    assert list(taken.timed) == ["whole"]
    assert "broken.onnx" in taken.failed["broken"]
    assert "no such peer" in taken.failed["absent"]


@pytest.mark.slow
def test_int8_against_float_on_a_real_net(indian_pines: Scene, tmp_path: Path) -> None:
    """What --quick does, for one net and with few runs."""
    pytest.importorskip("torch", reason="torch makes the nets of this test, and is not installed")
    from bars.models import Workshop

    measured = speed.integers(Workshop.below(tmp_path, indian_pines), 0.01, 2, nets=("cnn1d",))
    assert [row["given"] for row in measured["rows"]] == ["patch, batch 1", "patch, batch 256", "scene"]
    assert [row["pixels_per_run"] for row in measured["rows"]] == [1, 256, math.prod(speed.STRIP)]
    for row in measured["rows"]:
        assert row["low"] <= row["ratio"] <= row["high"]
    worst = max(row["high"] for row in measured["rows"][:2])
    assert measured["verdicts"][0]["value"] == worst
    assert measured["verdicts"][0]["holds"] == (worst <= 1.03)
    whole = results.entry(measured, device_facts(), 0.01, {"int8_gmac_s": 100.0, "copy_gb_s": 10.0})
    assert json.loads(json.dumps(whole)) == whole
    assert "cnn1d" in tables.terminal(3, whole)


def peer_command(path: Path, folder: Path, shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
    common = {"peer_precision": "float32", "peer_shape": list(shape), "calibration": "", "prepared": str(folder)}
    return {**common, "path": str(path), **more}


@pytest.mark.slow
def test_a_peer_does_the_same_work(
    make_model: Callable[..., tuple[Path, np.ndarray]], make_card: Callable[..., Card], tiny_scene: Scene, tmp_path: Path
) -> None:
    """torch as a peer, in this environment: labels as onnxruntime's, timed in turns with it."""
    pytest.importorskip("torch", reason="torch is the peer of this test, and is not installed")
    from bars import for_torch, versus

    path, _ = make_model(make_card(tiny_scene, 3))
    height, width = tiny_scene.shape
    material = versus.Material(None, tmp_path, {}, tiny_scene.bands, 3)
    for count in (width, 4):
        shape = (count, tiny_scene.bands, 3, 3)
        for_torch.export_torch(path, shape, path.with_name(f"{path.stem}-{'x'.join(map(str, shape))}.pt2"))
    rows = surrounded(tiny_scene.cube, 0, height, 1)
    np.save(tmp_path / "rows.npy", rows)
    shape = (width, tiny_scene.bands, 3, 3)
    command = peer_command(
        path, tmp_path, shape, shapes=[list(shape)], rows=str(tmp_path / "rows.npy"), labels=str(tmp_path / "labels.npy")
    )
    (tmp_path / "command.json").write_text(json.dumps(command))
    environment = environments.Environment("torch", Path(sys.executable), {})
    answer = versus.ask_labels(material, "torch", tmp_path / "command.json", environment)
    assert answer == ""
    ours = load(path)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), ours.label_ids(ours.strip(rows), axis=0))
    options = peer_command(path, tmp_path, (4, tiny_scene.bands, 3, 3))
    options.pop("path")
    program = (sys.executable, "-m", "bars.peer", "torch", "measure")
    peer = turns.Contender("torch", path, 4, program=program, variables=material.variables(), options=options)
    taken = turns.take([turns.Contender("ours", path, 4), peer], 0.02, 2)
    assert taken.failed == {}
    assert taken.timed["torch"].pixels == taken.timed["ours"].pixels == 4
    assert taken.timed["torch"].opened["runtime"].startswith("torch ")


def test_an_operator_without_a_torch_form_is_named(make_card: Callable[..., Card], tiny_scene: Scene) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx makes the graph of this test, and is not installed")
    pytest.importorskip("torch", reason="torch is what this test is about, and is not installed")
    from bars.for_torch import OnnxModule

    from hsiedge.errors import ModelError

    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("LRN", ["x"], ["y"], size=3)
    graph = onnx.helper.make_graph([node], "odd", [value("x", 1, [1, 2, 3, 3])], [value("y", 1, [1, 2, 3, 3])])
    with pytest.raises(ModelError, match="LRN"):
        OnnxModule(onnx.helper.make_model(graph))


def test_calibration_pictures_are_laid_out_of_whole_patches(tmp_path: Path) -> None:
    from bars.peer import Asked

    patches = np.random.default_rng(0).integers(0, 4000, (5, 2, 3, 3)).astype(np.uint16)
    np.save(tmp_path / "calibration.npy", patches)
    asked = Asked(tmp_path / "scene.onnx", "int8", (1, 2, 7, 6), tmp_path / "calibration.npy", tmp_path)
    pictures = asked.calibrating()
    assert [picture.shape for picture in pictures] == [(1, 2, 7, 6)]
    np.testing.assert_array_equal(pictures[0][0, :, :3, :3], patches[0])
    np.testing.assert_array_equal(pictures[0][0, :, :3, 3:], patches[1])
    np.testing.assert_array_equal(pictures[0][0, :, 3:6, :3], patches[2])
    by_patch = dataclasses.replace(asked, shape=(2, 2, 3, 3)).calibrating()
    assert [piece.shape for piece in by_patch] == [(2, 2, 3, 3)] * 2


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "table", lambda: {"none": {"install": ["--no-index", "hsiedge-nothing==1"]}})
    environment = environments.ready("none", tmp_path)
    assert "hsiedge-nothing" in environment.failure
    assert list(tmp_path.iterdir()) == []


def test_every_peer_has_a_pinned_environment() -> None:
    for name, needs in environments.table().items():
        assert (ROOT / "benchmarks" / "bars" / f"{name}_peer.py").is_file()
        for entry in [*needs["install"], *needs.get("alone", [])]:
            assert "==" in entry, f"{name}: {entry} is not pinned"
            assert not entry.startswith("torch==") or entry == "torch==2.13.0"


def test_the_theoretical_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def on(vendor: str, family: int) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\n\nprocessor\t: 1\n")
        read = limits._cpuinfo
        monkeypatch.setattr(limits, "_cpuinfo", lambda: read(tmp_path / "cpuinfo"))

    on("GenuineIntel", 6)
    facts = dataclasses.replace(device_facts(), instruction_sets=["avx2", "avx512f", "avx512_vnni"], frequency_max_mhz=2300.0)
    bounds = limits.theory(facts)
    assert bounds is not None
    assert (bounds["instruction"], bounds["gmac_s"]) == ("avx512_vnni", pytest.approx(294.4))
    assert limits.theory(dataclasses.replace(facts, instruction_sets=["avx2"])) is None
    monkeypatch.undo()
    on("AuthenticAMD", 25)
    bounds = limits.theory(facts)
    assert bounds is not None
    assert (bounds["macs_a_cycle"], bounds["gmac_s"]) == (64, pytest.approx(147.2))


@pytest.mark.slow
def test_memory_of_strips(tmp_path: Path) -> None:
    measured = memory.measured(INT8, tmp_path, rows=300, times=4, columns=200, bands=5, memory="8MiB")
    assert 5 < measured["imported_mib"] < measured["short_mib"] + 5
    assert measured["beyond_mib"] == pytest.approx(measured["long_mib"] - measured["imported_mib"])
    assert measured["grown"] == pytest.approx(measured["long_mib"] / measured["short_mib"])
    assert [path.name for path in tmp_path.iterdir()] == ["strip.hdr"]
    assert [verdict["limit"] for verdict in memory.verdicts(measured)] == [1.05, 64]


def test_verdicts() -> None:
    assert results.Verdict("times", 171.0, ">=", 170).holds is True
    assert results.Verdict("ratio", 1.04, "<=", 1.03).holds is False
    assert results.Verdict("times", None, ">=", 300, "no LiteRT").holds is None
    lines = tables.verdicts({"verdicts": [results.Verdict("times", None, ">=", 300, "no LiteRT").to_json()]})
    assert "| times | not measured | >= 300 | open | no LiteRT |" in lines


def test_a_table_on_the_terminal_has_columns() -> None:
    text = tables.aligned(tables.markdown(["name", "ms"], [["a", "1"], ["longer", "22"]]))
    assert [line for line in text.splitlines() if line] == ["  name    ms", "  a       1", "  longer  22"]


@pytest.mark.slow
def test_exported_c_does_the_same_work_as_onnxruntime(indian_pines: Scene, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the bar trains a net")
    from bars import exported, models

    net = exported._Net(models.Workshop(indian_pines, tmp_path), "student", {"scene int8": models.STORED_STUDENT}, tmp_path)
    contender = net.exported("generic")
    assert exported._agreement(net, contender) == 100
    taken = turns.take([contender, net.runtime("scene int8", "ort")], 0.02, 2)
    assert taken.failed == {}
    assert {timed.pixels for timed in taken.timed.values()} == {exported.ROWS * exported.COLUMNS}
    (tmp_path / "generic" / "net.c").write_text("no C")
    net.add("broken", lambda: net._compiled("broken", "scene int8", tmp_path / "generic" / "rows.c", {"takes": "rows"}))
    assert "does not compile" in net.failed["broken"]


@pytest.mark.slow
def test_the_float_loop_is_the_net(indian_pines: Scene, tmp_path: Path) -> None:
    """Labels of torch, for a net that was trained for a moment."""
    torch = pytest.importorskip("torch", reason="torch trains the net of this test")
    from bars import c_process, exported, models

    from hsiedge.graphs.c.compilers import host_compiler
    from hsiedge.training.checkpoint import save_checkpoint
    from hsiedge.training.fit import FitSettings
    from hsiedge.training.train import train
    from tests import workstation

    part = workstation.corner()
    checkpoint = train(part, models.draw("random", part, 0), "liunet", 1, FitSettings(epochs=20))
    save_checkpoint(tmp_path / "a.safetensors", checkpoint)
    ids = [entry.id for entry in checkpoint.card.classes]
    (tmp_path / "weights.h").write_text(exported.weights(tmp_path / "a.safetensors", ids))
    source = ROOT / "benchmarks" / "bars" / "float_loop.c"
    host_compiler().compile(*exported.FLAGS, f"-I{tmp_path}", "-o", tmp_path / "a.so", source)
    import ctypes

    labels = c_process._Rows(ctypes.CDLL(str(tmp_path / "a.so")), part.shape[1]).push(part.cube)
    counts = torch.from_numpy(part.cube.reshape(-1, part.bands, 1, 1).astype(np.float32))
    with torch.no_grad():
        expected = checkpoint.classifier.eval()(counts).argmax(1).numpy()
    assert len(np.unique(labels)) > 1
    assert (np.array(ids)[expected] == labels.ravel()).mean() > 0.999


def test_who_stands_beside_exported_c_has_figures_or_a_reason() -> None:
    entry = results.stored()["bars"]["8"]
    names = {(row["net"], row["name"]) for row in entry["rows"]} | {tuple(key.split(", ", 1)) for key in entry["failed"]}
    for net in ("student", "liunet"):
        for name in ("exported C, x86-64-v3", "exported C, generic", "native", "ort", "litert", "tflm", "emx-onnx-cgen"):
            assert (net, name) in names
    assert {("liunet", "float ort"), ("liunet", "float C loop by hand")} <= names
    exact = {row["agreement"] for row in entry["rows"] if row["name"].startswith("exported C")}
    assert exact == {100}


_OVERFLOWING = """
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper

weights = onnx.numpy_helper.from_array(np.full((64, 16), 127, np.int8), "b")
a = helper.make_tensor_value_info("a", TensorProto.UINT8, [1, 64])
y = helper.make_tensor_value_info("y", TensorProto.INT32, [1, 16])
graph = helper.make_graph([helper.make_node("MatMulInteger", ["a", "b"], ["y"])], "one", [a], [y], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
print(session.run(None, {"a": np.full((1, 64), 255, np.uint8)})[0][0, 0])
"""


@pytest.mark.release
@pytest.mark.skipif(int8.overflows_here() or platform.machine() != "x86_64", reason="this processor has no VNNI to hide")
@pytest.mark.skipif(None in map(shutil.which, ("gcc", "objdump")), reason="what is hidden is found by objdump, answered by C")
def test_runtimes_believe_that_the_processor_is_older(tmp_path: Path) -> None:
    """8-bit sums saturate in onnxruntime's kernels of AVX2, not in those of VNNI."""

    def largest(variables: dict[str, str]) -> int:
        words = [sys.executable, "-c", _OVERFLOWING]
        return int(subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout)

    assert largest({}) == 64 * 255 * 127
    assert largest(older.variables(tmp_path)) == 32 * 32767
