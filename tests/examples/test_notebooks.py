"""The notebooks of examples/: run from top to bottom in an empty folder, they say what is stored in them, but for figures."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, compare

EXAMPLES = ROOT / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the notebooks lie in a checkout, not beside an installed wheel", allow_module_level=True)
for package in ("nbclient", "ipykernel", "matplotlib", "tensorly", "torch"):
    pytest.importorskip(package, reason="notebooks are a workstation's")

import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402

TRAINING = ("own_scene",)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[pytest.mark.release] * (path.stem in TRAINING))
        for path in sorted(EXAMPLES.glob("*.ipynb"))
    ],
)
def test_it_runs_and_says_what_it_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    executed = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    place = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(executed, kernel_name="python3", startup_timeout=300, timeout=1800, resources=place)
    asyncio.run(client.async_execute())  # `execute` leaves its event loop open
    for before, after in zip(stored.cells, executed.cells, strict=True):
        if before.cell_type == "code":
            compare(_text(before), _text(after))
    assert any(_text(cell) for cell in stored.cells), "it was stored without its outputs"


def _text(cell: Any) -> str:
    """Plain text of what a cell gave."""
    outputs = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
