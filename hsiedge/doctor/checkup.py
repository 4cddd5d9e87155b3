"""The whole look at a device, and its JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from hsiedge import __version__
from hsiedge.bench import device
from hsiedge.bench.device import DeviceFacts
from hsiedge.bench.energy import find_meter
from hsiedge.doctor.findings import SEVERITIES, Finding
from hsiedge.doctor.hardware import energy_finding, hardware_findings
from hsiedge.doctor.probe import RUNTIMES, probe
from hsiedge.doctor.software import (
    Extra,
    clash_findings,
    extras,
    owners_of,
    python_findings,
    runtime_findings,
    telemetry_findings,
)
from hsiedge.errors import OptionError
from hsiedge.progress import Progress, silent

SCHEMA = 1


@dataclass(frozen=True)
class Checkup:
    """What `hsiedge doctor` found.

    Attributes:
        device: the facts that bench stores, too.
        threads: that bench takes when it is not told.
        findings: in the order in which they were looked at.
        extras: of hsiedge, installed or not; empty where it runs from a checkout that is not installed.
        hsiedge: its version.
    """

    device: DeviceFacts
    threads: int
    findings: list[Finding]
    extras: list[Extra] = field(default_factory=list)
    hsiedge: str = __version__
    schema: int = SCHEMA

    @property
    def stopped(self) -> bool:
        """Whether models cannot be run on this device, as it is."""
        return any(finding.stops for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, `schema` first."""
        plain = dataclasses.asdict(self)
        return {"schema": plain.pop("schema"), "stopped": self.stopped, **plain}

    @classmethod
    def from_dict(cls, data: Any) -> Checkup:
        """Of what `to_dict` gave, on this machine or another: keys that are not known are left out.

        Raises:
            OptionError: it is not that.
        """
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OptionError(f"not what hsiedge doctor --json writes ({type(error).__name__}: {error})") from error


def examine(progress: Progress = silent) -> Checkup:
    """Looks at this machine; runs each installed runtime once, in a process of its own.

    Args:
        progress: called with the share done, 0 to 1.
    """
    facts, threads = device.device_facts(), device.default_threads()
    findings = hardware_findings(facts, threads, device.throttle_state())
    findings.append(energy_finding(find_meter(), facts))
    findings += python_findings()
    for done, runtime in enumerate(RUNTIMES):
        progress((done + 0.1) / len(RUNTIMES))
        said = probe(runtime)
        findings += runtime_findings(runtime, said)
        if runtime == "ort":
            facts = dataclasses.replace(facts, runtime=f"onnxruntime {said['version']}" if "version" in said else None)
            findings += clash_findings(owners_of("onnxruntime"), facts.l4t is not None)
            findings += telemetry_findings(said.get("version"))
    progress(1.0)
    return Checkup(facts, threads, findings, extras())


def _read(data: Any) -> Checkup:
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, {SCHEMA} is known")
    names = {entry.name for entry in dataclasses.fields(DeviceFacts)}
    facts = DeviceFacts(**{str(key): _shown(value) for key, value in data["device"].items() if key in names})
    if not isinstance(facts.machine, str) or not isinstance(data["threads"], int):
        raise TypeError("device and threads are not what they should be")
    return Checkup(
        device=facts,
        threads=data["threads"],
        findings=[_finding(entry) for entry in data["findings"]],
        extras=[_extra(entry) for entry in data["extras"]],
        hsiedge=_words(data["hsiedge"]),
    )


def _finding(entry: Any) -> Finding:
    if entry["severity"] not in SEVERITIES or not isinstance(entry["stops"], bool):
        raise ValueError(f"a finding of severity {entry['severity']!r}")
    topic, what, why = (_words(entry[name]) for name in ("topic", "what", "why"))
    return Finding(topic, entry["severity"], what, why, tuple(_words(line) for line in entry["do"]), entry["stops"])


def _extra(entry: Any) -> Extra:
    versions = {_words(name): None if value is None else _words(value) for name, value in entry["versions"].items()}
    return Extra(_words(entry["name"]), _words(entry["purpose"]), versions)


def _shown(value: Any) -> Any:
    """A fact: text, a number, or a list or dictionary of them."""
    if isinstance(value, dict):
        return {_words(key): _shown(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_shown(entry) for entry in value]
    return _words(value) if isinstance(value, str) else value


def _words(value: Any) -> str:
    """Text that may be shown: another machine's must not steer this terminal."""
    if not isinstance(value, str):
        raise TypeError(f"text was expected, not {value!r}")
    return "".join(letter for letter in value if letter.isprintable())
