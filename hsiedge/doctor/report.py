"""The whole examination of a device, and its JSON."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from hsiedge import __version__
from hsiedge.decoding import build, each
from hsiedge.device.energy import find_meter
from hsiedge.device.facts import DeviceFacts, default_threads, device_facts, throttle_state
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
from hsiedge.native.library import is_available
from hsiedge.progress import Progress, silent
from hsiedge.words import printable

SCHEMA = 1


@dataclass(frozen=True)
class DoctorReport:
    """Report of `hsiedge doctor` on a device.

    Attributes:
        device: the facts that bench stores, too.
        threads: the default of bench.
        findings: in the order in which things were examined.
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
    def from_dict(cls, data: Any) -> DoctorReport:
        """Reads what `to_dict` gave, on this machine or another; keys that are not known are left out.

        Raises:
            OptionError: it is not that.
        """
        try:
            report: DoctorReport = build(cls, each(str, data, printable))
            if report.schema != SCHEMA or any(finding.severity not in SEVERITIES for finding in report.findings):
                raise ValueError(f"schema {SCHEMA} and severities {', '.join(SEVERITIES)} are known")
            return report
        except (TypeError, ValueError) as error:
            raise OptionError(f"not what hsiedge doctor writes ({type(error).__name__}: {error})") from error


def examine(progress: Progress = silent) -> DoctorReport:
    """Examines this machine; runs each installed runtime once, in a process of its own.

    Args:
        progress: called with the share done, 0 to 1.
    """
    facts, threads = device_facts(), default_threads()
    findings = hardware_findings(facts, threads, throttle_state())
    findings.append(energy_finding(find_meter(), facts))
    findings += python_findings()
    for done, runtime in enumerate(RUNTIMES):
        progress((done + 0.1) / len(RUNTIMES))
        reply = probe(runtime)
        findings += runtime_findings(runtime, reply, native=is_available())
        if runtime == "ort":
            facts = dataclasses.replace(facts, runtime=f"onnxruntime {reply['version']}" if "version" in reply else None)
            findings += clash_findings(owners_of("onnxruntime"), facts.l4t is not None)
            findings += telemetry_findings(reply.get("version"))
    progress(1.0)
    return DoctorReport(facts, threads, findings, extras())
