"""Examination of a device: what it can do, what is missing, what to set. Nothing is changed."""

from __future__ import annotations

from hsiedge.doctor.findings import Finding
from hsiedge.doctor.operators import Operators, operators_of
from hsiedge.doctor.report import DoctorReport, examine

__all__ = ["DoctorReport", "Finding", "Operators", "examine", "operators_of"]
