"""Pages of boards and docker/README.md: their figures are the stored ones, their files are there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("docs/tutorials/raspberry-pi.md", "docs/tutorials/jetson.md", "docker/README.md")]
if not PAGES[0].is_file():
    pytest.skip("the pages lie in a checkout, not beside an installed wheel", allow_module_level=True)


def test_instructions_are_those_counted() -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / "instructions.json").read_text())
    assert set(stored["cores"]) == {"cortex-a72", "cortex-a76"}
    for core, counted in stored["cores"].items():
        kinds = ("patch float", "patch int8", "scene float", "scene int8")
        cells = [core.title(), *(f"{counted['per pixel'][kind]:,}" for kind in kinds), f"{counted['times fewer']:.0f}"]
        assert f"| {' | '.join(cells)} |" in PAGES[0].read_text()
    boards = [stored["cores"][core]["of scene int8"] for core in ("cortex-a72", "cortex-a76")]
    for part in boards[0]:
        assert f"| {part} | {' | '.join(f'{board[part]:,}' for board in boards)} |" in PAGES[0].read_text()


def test_instructions_of_the_native_engine() -> None:
    """Within the bars; rows one by one cost 2 % more at most, but for narrow rows of the student: there Python's call shows."""
    text, most = PAGES[0].read_text(), {"cortex-a72": (3300, 44_000), "cortex-a76": (2000, 13_500)}
    for core, counted in json.loads((ROOT / "benchmarks" / "results" / "instructions.json").read_text())["cores"].items():
        student, cnn2d, wide = counted["native"].values()
        for net, title, columns in (
            (student, "student of 16 KiB", 145),
            (cnn2d, "shipped net", 145),
            (wide, "student of 16 KiB", 1015),
        ):
            cells = [core.title(), f"the {title}", f"{columns:,}", *(f"{count:,}" for count in net.values())]
            assert f"| {' | '.join(cells)} |" in text
        assert (student["one push"] <= most[core][0], cnn2d["one push"] <= most[core][1]) == (True, True)
        assert all(net["row by row"] <= 1.02 * net["one push"] for net in (cnn2d, wide))


def test_they_show_no_time() -> None:
    """All that was run for them ran on emulated cores."""
    for page in PAGES:
        assert not re.findall(r"\d\s*(?:ms|µs|us|milliseconds|pixels a second|fps)\b", page.read_text()), page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_they_point_at_is_there(page: Path) -> None:
    text = page.read_text()
    links = [link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text)]
    for name, _, heading in links:
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), name
        headings = [title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", target.read_text(), re.M)]
        assert not heading or heading in headings, heading
    assert all((ROOT / name).is_file() for name in re.findall(r"docker/\w+\.Dockerfile", text))
