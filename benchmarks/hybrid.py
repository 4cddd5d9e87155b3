"""Hybrid scene graphs against patch by patch: two nets after published ones, whole Indian Pines, one thread, float32.

    python -m benchmarks.hybrid [--rows 145] [--output benchmarks/results/hybrid.json]

SSRN (Zhong et al. 2018) is 3-D and residual, SSFTT (Sun et al. 2022) a transformer over tokens; both are written here with
random weights, since time and exactness do not depend on them. Patches run in the batch of 16, 64 or 256 that was fastest on
eight rows; both sides take the same rows in one run, one after the other. The parts of the hybrid are timed by onnxruntime's
own profile of a run of its own: all nodes outside of the Loop, and the Loop.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hsiedge import __version__
from hsiedge.device.facts import cpu_model
from hsiedge.graphs.export.attach_card import attach_card
from hsiedge.graphs.export.checkpoint import to_onnx
from hsiedge.graphs.onnx_io import name_nodes, read_onnx
from hsiedge.graphs.scene_graph.build import scene_graph
from hsiedge.graphs.scene_graph.hybrid import rest_of
from hsiedge.runtimes import Model, load
from hsiedge.scenes.open import open_scene
from hsiedge.scenes.patches import surrounded
from hsiedge.scenes.scene import Scene

BATCHES = (16, 64, 256)


class ResidualSpectral(nn.Module):
    """Two convolutions along the bands, padded so that their number stays, and a shortcut."""

    def __init__(self, channels: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        pad = tuple(size // 2 for size in kernel)
        self.first, self.second = (nn.Conv3d(channels, channels, kernel, padding=pad) for _ in range(2))
        self.norms = nn.ModuleList([nn.BatchNorm3d(channels) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """Values of the same size."""
        y = torch.relu(self.norms[0](self.first(x)))
        return torch.relu(x + self.norms[1](self.second(y)))


class Ssrn(nn.Module):
    """Spectral-spatial residual network after Zhong et al. 2018, patch 7: two spectral blocks, then two spatial ones."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        left = (bands - 7) // 2 + 1
        self.start, self.norm = nn.Conv3d(1, 24, (7, 1, 1), stride=(2, 1, 1)), nn.BatchNorm3d(24)
        self.spectral = nn.Sequential(ResidualSpectral(24, (7, 1, 1)), ResidualSpectral(24, (7, 1, 1)))
        self.collapse, self.collapsed = nn.Conv3d(24, 128, (left, 1, 1)), nn.BatchNorm3d(128)
        self.spatial_start = nn.Conv3d(1, 24, (128, 3, 3))
        self.spatial = nn.Sequential(ResidualSpectral(24, (1, 3, 3)), ResidualSpectral(24, (1, 3, 3)))
        self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of patches `(n, bands, 7, 7)`."""
        x = self.spectral(torch.relu(self.norm(self.start(x.unsqueeze(1)))))
        x = torch.relu(self.collapsed(self.collapse(x))).transpose(1, 2)
        x = self.spatial(torch.relu(self.spatial_start(x)))
        return self.head(x.mean((2, 3, 4)))


class Ssftt(nn.Module):
    """Spectral-spatial feature tokenization transformer after Sun et al. 2022, patch 13, 30 bands."""

    def __init__(self, bands: int, classes: int, width: int = 64, tokens: int = 4) -> None:
        super().__init__()
        self.cube, self.cube_norm = nn.Conv3d(1, 8, 3), nn.BatchNorm3d(8)
        self.flat, self.flat_norm = nn.Conv2d(8 * (bands - 2), width, 3), nn.BatchNorm2d(width)
        self.attend, self.value = nn.Linear(width, tokens, bias=False), nn.Linear(width, width, bias=False)
        self.label = nn.Parameter(torch.randn(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, tokens + 1, width))
        self.norm, self.mixed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 8), nn.GELU(), nn.Linear(8, width))
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of patches `(n, bands, 13, 13)`."""
        x = torch.relu(self.cube_norm(self.cube(x.unsqueeze(1)))).flatten(1, 2)
        x = torch.relu(self.flat_norm(self.flat(x))).flatten(2).transpose(1, 2)
        weights = functional.softmax(self.attend(x).transpose(1, 2), -1)
        x = weights @ self.value(x)
        x = torch.cat((self.label.expand(x.shape[0], -1, -1), x), 1) + self.place
        query, key, value = (part.reshape(x.shape[0], 5, 8, 8).transpose(1, 2) for part in self.qkv(self.norm(x)).chunk(3, -1))
        mixed = torch.softmax(query @ key.transpose(-2, -1) * 8**-0.5, -1) @ value
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        x = x + self.mlp(self.mixed_norm(x))
        return self.head(x[:, 0])


class Scaled(nn.Module):
    """A net that takes counts, of about 0 to 10,000."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(n, classes)` of patches of counts."""
        return self.net((x - 3000) / 1500)


@dataclass(frozen=True)
class Case:
    """A net, and the patch and number of bands that it takes."""

    build: Callable[[int, int], nn.Module]
    patch: int
    bands: int


CASES = {"SSRN-like": Case(Ssrn, 7, 200), "SSFTT-like": Case(Ssftt, 13, 30)}


def graphs(case: Case, scene: Scene, folder: Path) -> tuple[Path, Path]:
    """Patch graph and scene graph of a net with seeded weights, the latter verified as it is made."""
    torch.manual_seed(0)
    net = Scaled(case.build(case.bands, len(scene.classes))).eval()
    with torch.no_grad():
        for norm in (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)):
            norm.running_var.fill_(0.3)
    (folder / "net.onnx").write_bytes(to_onnx(net, case.bands, case.patch).SerializeToString())
    attach_card(folder / "net.onnx", scene, case.patch, None, folder / "patch.onnx")
    scene_graph(folder / "patch.onnx", scene, folder / "scene.onnx")
    return folder / "patch.onnx", folder / "scene.onnx"


def by_patches(model: Model, strip: NDArray[Any], patch: int, batch: int) -> NDArray[np.int64]:
    """Labels of a strip with its halo, patch by patch."""
    windows = np.lib.stride_tricks.sliding_window_view(strip, (patch, patch), (0, 1))  # (h, w, bands, p, p)
    height, width = windows.shape[:2]
    flat = [(row, column) for row in range(height) for column in range(width)]
    labels = []
    for first in range(0, len(flat), batch):
        rows, columns = np.array(flat[first : first + batch]).T
        logits = model.session.run([np.ascontiguousarray(windows[rows, columns])])
        labels.append(np.asarray(logits).argmax(1))
    return np.concatenate(labels).reshape(height, width)


def parts(path: Path, strip: NDArray[Any]) -> tuple[float, float]:
    """Milliseconds of the nodes on maps, and of the Loop over pixels, by onnxruntime's profile."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.intra_op_num_threads, options.log_severity_level = True, 1, 3
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, {session.get_inputs()[0].name: strip})
        events = json.loads(Path(session.end_profiling()).read_text())
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
    loops = [event for event in kernels if event["args"].get("op_name") == "Loop"]
    inside = [event for event in kernels if any(within(event, loop) for loop in loops) and event not in loops]
    dense = sum(event["dur"] for event in kernels if event not in loops and event not in inside)
    return dense / 1e3, sum(event["dur"] for event in loops) / 1e3


def within(event: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether an event happens while another does."""
    return bool(other["ts"] <= event["ts"] and event["ts"] + event["dur"] <= other["ts"] + other["dur"] + 1)


def measured(name: str, case: Case, scene: Scene, rows: int) -> dict[str, Any]:
    """One net, both ways, over the first rows of a scene."""
    narrow = replace(scene, cube=np.ascontiguousarray(scene.cube[:, :, :: scene.bands // case.bands][:, :, : case.bands]))
    narrow = replace(narrow, wavelengths=())
    with tempfile.TemporaryDirectory() as folder:
        patch_file, scene_file = graphs(case, narrow, Path(folder))
        patches, whole = load(patch_file, 1), load(scene_file, 1)
        facts = whole.known.lineage[-1].options["hybrid"]
        macs = rest_of(name_nodes(read_onnx(patch_file)), [], "").macs
        strip = surrounded(narrow.cube, 0, rows, case.patch // 2)
        few = strip[: min(8, rows) + case.patch - 1]
        whole.strip(few)
        trials = {}
        for batch in BATCHES:
            by_patches(patches, few[: case.patch], case.patch, batch)  # once, not timed
            started = time.perf_counter()
            by_patches(patches, few, case.patch, batch)
            trials[batch] = time.perf_counter() - started
        best = min(trials, key=trials.__getitem__)
        started = time.perf_counter()
        labels = by_patches(patches, strip, case.patch, best)
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        ours = whole.strip(strip)
        hybrid = time.perf_counter() - started
        dense_ms, pixel_ms = parts(scene_file, np.ascontiguousarray(strip.transpose(2, 0, 1))[None])
    differ = int((ours.argmax(0) != labels).sum())
    both = facts["dense_macs"] + facts["pixel_macs"]
    return {
        "net": name, "patch": case.patch, "bands": case.bands, "pixels": int(labels.size), "labels_differ": differ,
        "macs_patch": macs, "macs_dense": facts["dense_macs"], "macs_pixel": facts["pixel_macs"],
        "times_fewer_macs": macs / both, "block": facts["block"], "best_batch": best, "patches_s": seconds, "hybrid_s": hybrid,
        "times_faster": seconds / hybrid, "dense_ms": dense_ms, "pixel_ms": pixel_ms,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=145, help="rows of the scene that are labelled")
    parser.add_argument("--output", type=Path, help="file for the result as JSON")
    asked = parser.parse_args()
    scene = open_scene("indian_pines")
    results = []
    for name, case in CASES.items():
        row = measured(name, case, scene, min(asked.rows, scene.shape[0]))
        results.append(row)
        print(
            f"{name}: {row['macs_patch'] / 1e6:.1f} M MACs a patch, {row['macs_dense'] / 1e6:.2f} M dense + "
            f"{row['macs_pixel'] / 1e6:.2f} M a pixel ({row['times_fewer_macs']:.1f} times fewer); {row['pixels']:,} pixels: "
            f"{row['patches_s']:.1f} s in batches of {row['best_batch']}, {row['hybrid_s']:.2f} s as a scene graph "
            f"({row['times_faster']:.1f} times; {row['dense_ms']:.0f} ms on maps, {row['pixel_ms']:.0f} ms pixel by pixel); "
            f"{row['labels_differ']} labels differ",
            flush=True,
        )
    if asked.output is not None:
        cpu = cpu_model(Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
        versions = {"hsiedge": __version__, "onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
        asked.output.write_text(
            json.dumps({"measured": date.today().isoformat(), "cpu": cpu, "versions": versions, "results": results}, indent=2)
            + "\n"
        )


if __name__ == "__main__":
    main()
