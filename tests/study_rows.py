"""Rows of a study, made by hand: small enough to do their sums on paper. They are of no real net."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsiedge.metrics import accuracy, confusion_matrix
from hsiedge.study.rows import Cell, Form, Row, Timing

CLASSES = {1: "Broccoli & <greens>", 10: "Corn_senesced", 14: "Lettuce 7wk"}
TRUTH = np.repeat(np.array([1, 10, 14], np.uint16), [50, 40, 10])
PARTS = np.zeros((8, 20), np.uint8)
PARTS.ravel()[20:120] = 3  # of 100 test pixels
PARTS.ravel()[:10] = 1
DEVICE = "a board_1, 2 cores"
DRIFT = "drift: the last third took 20% longer than the first"


def unstable(percent: int) -> str:
    """What bench says of rounds that differ."""
    return f"unstable: the rounds' means spread by {percent} % (std over mean)"


def form(precision: str, wrong: int, size: int, ms: float | None = None, warnings: tuple[str, ...] = ()) -> Form:
    """A form that gets `wrong` of the 100 test pixels wrong: the first ones, of class 1, taken for class 10."""
    predicted = TRUTH.copy()
    predicted[:wrong] = 10
    scores = accuracy(confusion_matrix(TRUTH, predicted, list(CLASSES)))
    times = () if ms is None else (Timing(1, ms, 2 * ms, 5.0, None, warnings), Timing(256, 100 * ms, 200 * ms, 8.0))
    return Form(
        precision, size, size // 2, scores.oa, scores.aa, scores.kappa, scores.confusion, predicted, "ab" * 32, times
    )  # fmt: skip


def cell(method: str = "none", level: str = "", seed: int = 0, **changed: Any) -> Cell:
    """A cell of the study."""
    facts: dict[str, Any] = {"scene": "salinas_a", "split": "random", "net": "cnn2d", "patch": 13}
    facts |= {"fraction": 0.1, "guard": 0, "epochs": 60, "tuning": 0 if method in ("none", "distill") else 15}
    return Cell(**{**facts, "seed": seed, "method": method, "level": level, **changed})


def row(of: Cell, *forms: Form, control: tuple[float, float, float] | None = None, **changed: Any) -> Row:
    """A row of 1000 parameters and 2 million MACs a pixel."""
    facts: dict[str, Any] = {"parameters": 1000, "nonzeros": 1000, "macs_per_pixel": 2_000_000, "told": "", "device": DEVICE}
    facts |= {"split_digest": f"{of.scene}{of.split}{of.seed}", "train": 10, "validation": 5, "test": 100, "seconds": 1.5}
    return Row(of, CLASSES, forms=forms, control=control, **{**facts, **changed})


def study(seeds: tuple[int, ...] = (0, 1), **where: Any) -> list[Row]:
    """A whole small study of one scene and split: each method; seed 1 gets two pixels more wrong everywhere."""
    rows = []
    for seed in seeds:
        more = 2 * seed
        rows += [
            row(cell(seed=seed, **where), form("float32", 4 + more, 4000, 0.4), form("float16", 4 + more, 2100, 0.5),
                form("int8", 5 + more, 1200, 0.2)),
            row(cell("magnitude", "0.9", seed, **where), form("float32", 6 + more, 4000), form("int8", 7 + more, 1200),
                nonzeros=100, told="900 of 1,000 weights are 0"),
            row(cell("structured", "0.5", seed, options={"criterion": "l1"}, **where), form("float32", 8 + more, 2000, 0.2),
                form("int8", 8 + more, 700, 0.1, (DRIFT, unstable(12 + seed))), parameters=500, macs_per_pixel=1_000_000,
                told="5 of 10 channels removed"),
            row(cell("structured", "0.75", seed, options={"criterion": "l1"}, **where), form("float32", 20 + more, 900, 0.1),
                form("int8", 21 + more, 500, 0.05, (DRIFT,)), parameters=200, macs_per_pixel=500_000,
                told="6 of 10 channels removed, 8 were asked for"),
            row(cell("distill", "dscnn:20,32", seed, **where), form("float32", 4 + more, 800, 0.1),
                form("int8", 4 + more, 400, 0.04), parameters=150, macs_per_pixel=300_000),
            row(cell("qat", "8", seed, **where), form("int8", 4 + more, 1200, 0.2),
                control=(97.0 - more, 96.0 - more, 95.0 - more)),
            row(cell("qat", "4", seed, **where), form("int4 (simulated)", 10 + more, 1200),
                control=(88.0 - more, 87.0 - more, 86.0 - more)),
        ]  # fmt: skip
    return rows


SMALL = "cnn2d@13:16,16"
"""Shape of the pruned net, of one student and of the nets that were trained from nothing beside them."""


def controlled(seeds: tuple[int, ...] = (0, 1, 2), **where: Any) -> list[Row]:
    """A study with its controls. Points of OA above the control, by seed: the pruned net 1, 2, 3, ...; the distilled one -1, 1,
    -1, ...; pruning by magnitude -1, and every INT8 file -1 against its own float.
    """
    rows = []
    for place, seed in enumerate(seeds):
        base, where_seed = 10 + 2 * place, {"seed": seed, **where}
        forms = {wrong: (form("float32", wrong, 4000), form("int8", wrong + 1, 1200)) for wrong in range(4, 40)}
        options = {"options": {"rounds": 3}}
        rows += [
            row(cell(**where_seed), *forms[5], shape="cnn2d@13:32,32"),
            row(cell("structured", "0.5", tuning=60, **options, **where_seed), *forms[base], shape=SMALL),
            row(cell("distill", "cnn2d:16,16", **where_seed), *forms[base + (1 if place % 2 == 0 else -1)], shape=SMALL),
            row(cell("scratch", SMALL, tuning=60, **where_seed), *forms[base], shape=SMALL),
            row(cell("scratch", SMALL, tuning=120, **where_seed), *forms[base + place + 1], shape=SMALL),
            row(cell("magnitude", "0.9", tuning=60, **where_seed), *forms[7], shape="cnn2d@13:32,32"),
            row(cell("finetune", tuning=60, **where_seed), *forms[6], shape="cnn2d@13:32,32"),
        ]
    return rows
