"""The page report.html, self-contained, that opens offline."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

import jinja2

from hsiedge import __version__
from hsiedge.report.terminal.model import Shown, split_words


def page_template(name: str) -> jinja2.Template:
    """Template of a page, which escapes what is filled in, and takes no name that is missing for empty."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hsiedge.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signed"] = _signed
    return environment.get_template(name)


def _signed(value: float) -> str:
    """A change in points: "+0.4", "-12", blank where none is to be seen."""
    if math.isnan(value):
        return "?"
    return "" if abs(value) < 0.05 else f"{value:+.1f}" if abs(value) < 9.95 else f"{value:+.0f}"


def render(title: str, models: Sequence[Shown], bench: dict[str, Any], picture: bytes, picture_title: str) -> str:
    """Renders report.html.

    Args:
        models: float first.
        bench: `Report.to_json()` of those models.
        picture: PNG, put into the page.
    """
    first = models[0].evaluation
    return page_template("report.html").render(
        title=title,
        models=models,
        bench=bench,
        version=__version__,
        split=split_words(first.split) if first.split else "all labelled pixels",
        facts=first.split,
        classes=list(first.classes.values()),
        picture=base64.b64encode(picture).decode(),
        picture_title=picture_title,
    )
