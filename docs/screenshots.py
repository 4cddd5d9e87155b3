"""Pictures of README.md: the map of the shipped INT8 model beside the ground truth, that of a run, and the live page.

python docs/screenshots.py         # writes map.png, run.png and live.png of docs/images; needs Chromium
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

import hsiedge as he
from hsiedge import files
from hsiedge.report.maps import comparison_png
from hsiedge.shipped import shipped

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import browser  # noqa: E402

IMAGES = Path(__file__).parent / "images"
PORT = 8765
LINES_A_SECOND, TIMES = 60, 4
SECONDS = 8.0  # from the opening of the page to the picture, which it fills by then


def map_picture() -> bytes:
    """The ground truth of Indian Pines, and what the shipped INT8 scene graph makes of it; PNG."""
    scene, model = he.open_scene("indian_pines"), he.load(shipped("-int8-scene.onnx"))
    titles = ("Indian Pines, ground truth", f"INT8 model, {model.evaluate(scene).oa:.2f} % of test pixels right")
    return comparison_png(scene.labelled(), model.classify(scene).labels, scene.classes, titles)


def run_picture() -> bytes:
    """The map that three seconds of a run of that model leave, as at the end of the demo, two thirds of its size; PNG."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.png")
        he.run(shipped("-int8-scene.onnx"), "replay:indian_pines@50", [path])
        picture = Image.open(path)
        picture.resize((2 * picture.width // 3, 2 * picture.height // 3), Image.Resampling.LANCZOS).save(path, optimize=True)
        return path.read_bytes()


def live_picture() -> bytes:
    """The live page of a run of that model, as a browser shows it; PNG."""
    source = f"replay:indian_pines@{LINES_A_SECOND}*{TIMES}"
    words = [sys.executable, "-m", "hsiedge", "run", str(shipped("-int8-scene.onnx")), "--from", source, "-o", "map.hdr"]
    with tempfile.TemporaryDirectory() as folder, browser() as page:
        command = [*words, "--page", str(PORT), "--watch", "Woods > 20 % of 20 lines"]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as run:
            assert run.stderr is not None
            next(line for line in run.stderr if "live page" in line)
            home = f"http://127.0.0.1:{PORT}/"
            page.visit(home, 1100, 760, home=home)
            time.sleep(SECONDS)
            picture = page.picture(whole=True)
            run.communicate()
    return picture


def main() -> None:
    """Writes all of them."""
    files.write_bytes(IMAGES / "run.png", run_picture())
    files.write_bytes(IMAGES / "map.png", map_picture())
    files.write_bytes(IMAGES / "live.png", live_picture())


if __name__ == "__main__":
    main()
