"""The browser in which the live page is opened."""

from tests.report.conftest import tab

__all__ = ["tab"]
