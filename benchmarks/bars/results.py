"""What is stored: benchmarks/results/peers.json, an entry for each bar, each with the device and the day it was measured.

Beside it, in peers-NAME.json, the same of other processors, some bars or all.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hsiedge import files
from hsiedge.card import now
from hsiedge.device.facts import DeviceFacts

STORE = Path(__file__).parents[1] / "results" / "peers.json"
SCHEMA = 1


@dataclass(frozen=True)
class Verdict:
    """What was measured, and the limit that it is held against; `value` is None where it could not be, as `note` says."""

    what: str
    value: float | None
    sense: str
    limit: float
    note: str = ""

    @property
    def holds(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.sense == ">=" else self.value <= self.limit

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def stored(path: Path = STORE) -> dict[str, Any]:
    """What is there; an empty store where there is none."""
    if not path.exists():
        return {"schema": SCHEMA, "bars": {}}
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def elsewhere() -> list[dict[str, Any]]:
    """What is stored of other processors, by their files' names."""
    return [stored(path) for path in sorted(STORE.parent.glob(f"{STORE.stem}-*.json"))]


def entry(measured: dict[str, Any], facts: DeviceFacts, seconds: float, limits: dict[str, Any]) -> dict[str, Any]:
    """One bar's entry, as it is stored: what was found, and where and when."""
    whole = {"measured": now()[:19], "seconds": seconds, "device": asdict(facts), "limits": limits, **measured}
    short: dict[str, Any] = _short(whole)
    return short


def store(bar: int, whole: dict[str, Any], path: Path = STORE) -> None:
    """Puts one bar's entry in the place of the former one."""
    data = stored(path)
    data["bars"] = dict(sorted({**data["bars"], str(bar): whole}.items()))
    files.write_bytes(path, (json.dumps(data, indent=1, default=str) + "\n").encode())


def _short(value: Any) -> Any:
    """Floats to 6 significant digits, what is no number as None."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _short(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short(entry) for entry in value]
    return value
