"""hsiedge/schemas: as the types that are written, and each command's --json and each Card is what they say, and no more."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema validates, and is not installed")
pytest.importorskip("onnx", reason="the models of this test are ONNX, and onnx is not installed")

import hsiedge as package  # noqa: E402
from hsiedge.runtimes import require_card  # noqa: E402
from hsiedge.scenes.scene import Scene  # noqa: E402
from hsiedge.shipped import shipped  # noqa: E402
from tests.cli.conftest import Hsiedge  # noqa: E402

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(package.__file__).parent / "schemas"
QUICK = ("--batch", "4", "--seconds", "0.05", "--runs", "2")


def strict(schema: Any) -> Any:
    """The schema, refusing keys that it does not list: readers take any, but what we write is to be documented."""
    if isinstance(schema, list):
        return [strict(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    return {**closed, "additionalProperties": False} if "properties" in schema and schema.get("type") == "object" else closed


def check(name: str, data: Any) -> None:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, strict(schema))


@pytest.fixture
def flight(tmp_path: Path) -> Path:
    path = tmp_path / "flight.npy"
    np.save(path, np.random.default_rng(0).integers(1000, 9000, (20, 15, 200)).astype(np.uint16))
    return path


def test_schemas_are_as_the_types_are(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "docs" / "schemas.py"
    if not path.is_file():
        pytest.skip("schemas are written in a checkout")
    monkeypatch.syspath_prepend(path.parent)
    module = importlib.import_module("schemas")
    assert {entry.stem for entry in SCHEMAS.glob("*.json")} == set(module.TYPES)
    for name in module.TYPES:
        assert json.loads((SCHEMAS / f"{name}.json").read_text()) == module.schema(name), "run: python docs/schemas.py"


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", "-int8.onnx", "-int8-scene.onnx"])
def test_cards(hsiedge: Hsiedge, suffix: str) -> None:
    shown = hsiedge("show", shipped(suffix), "--json", "-")
    check("card", json.loads(shown.out))
    if suffix != ".safetensors":
        check("card", json.loads(require_card(shipped(suffix)).to_json()))


def test_a_key_that_no_schema_knows_is_seen(hsiedge: Hsiedge) -> None:
    data = json.loads(hsiedge("show", shipped(".onnx"), "--json", "-").out)
    for wrong in ({**data, "colour": "red"}, {**data, "patch": "13"}, {key: data[key] for key in data if key != "classes"}):
        with pytest.raises(jsonschema.ValidationError):
            check("card", wrong)


def test_eval(hsiedge: Hsiedge, indian_pines: object) -> None:
    check("eval", json.loads(hsiedge("eval", shipped("-int8-scene.onnx"), "--json", "-").out))


@pytest.mark.slow
def test_bench_and_compare(hsiedge: Hsiedge) -> None:
    for name, more in (("a.json", ("--ops", "--duration", "1s")), ("b.json", ())):
        models = (shipped(".onnx"), shipped("-int8.onnx"))
        assert hsiedge("bench", *models, *more, "--json", name, *QUICK).code == 0
    for name in ("a.json", "b.json"):
        check("bench", json.loads(Path(name).read_text()))
    check("compare", json.loads(hsiedge("compare", "a.json", "b.json", "--json", "-").out))
    recommended = hsiedge("bench", shipped("-int8-scene.onnx"), "--runtime", "all", "--json", "-", *QUICK)
    data = json.loads(recommended.out)
    assert data["choice"]["agreements"] is not None
    check("bench", data)


def test_classify_and_run(hsiedge: Hsiedge, flight: Path) -> None:
    model = shipped("-int8-scene.onnx")
    check("classify", json.loads(hsiedge("classify", model, flight, "-o", "map.npy", "--json", "-").out))
    assert hsiedge("run", model, "--from", f"replay:{flight}@200", "-o", "live.hdr", "--json", "run.json").code == 0
    check("run", json.loads(Path("run.json").read_text()))


@pytest.mark.slow
def test_doctor(hsiedge: Hsiedge) -> None:
    check("doctor", json.loads(hsiedge("doctor", "--json", "-").out))
    check("doctor-model", json.loads(hsiedge("doctor", shipped("-int8.onnx"), "--json", "-").out))


@pytest.mark.slow
def test_try(hsiedge: Hsiedge, tiny_scene: Scene, make_model: Callable[..., tuple[Path, np.ndarray]]) -> None:
    np.save("cube.npy", tiny_scene.cube)
    np.save("labels.npy", tiny_scene.labels)
    model, _ = make_model(None)
    data = json.loads(hsiedge("try", model, "--patch", "3", "--cube", "cube.npy", "--labels", "labels.npy", "--json", "-").out)
    assert "card" in [step["name"] for step in data["steps"]]
    check("try", data)
