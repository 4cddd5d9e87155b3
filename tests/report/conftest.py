"""A browser, in which pages are opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import browser


@pytest.fixture(scope="session")
def tab() -> Iterator[browser.Page]:
    if browser.CHROMIUM is None:
        pytest.skip("a page is tested in Chromium; on Debian: apt-get install chromium fonts-dejavu-core")
    with browser.browser() as page:
        yield page
