"""Registry of sources without those of other tests."""

from __future__ import annotations

import pytest

from hsiedge.live.source import SOURCES


@pytest.fixture(autouse=True)
def _no_sources_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SOURCES, "_files", {})
    monkeypatch.setattr(SOURCES, "_loaded", {})
