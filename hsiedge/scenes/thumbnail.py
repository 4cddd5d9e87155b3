"""A scene at a glance: a false-colour thumbnail, and the facts beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hsiedge.notebook import facts_html, image_html, thumbnail_step

if TYPE_CHECKING:  # a scene shows itself by this file
    from hsiedge.scenes.io.cube import Cube
    from hsiedge.scenes.scene import Scene

_RED_GREEN_BLUE = (860.0, 650.0, 550.0)  # nm shown in red, green and blue: vegetation red (colour infrared)
_SHARES = (0.5, 0.25, 0.1)  # of the way through the bands, where wavelengths are unknown
_STRETCH = (2, 98)  # percentiles that become dark and bright


def false_colour(scene: Scene) -> NDArray[np.uint8]:
    """RGB thumbnail `(height, width, 3)`: bands near 860, 650 and 550 nm, each stretched from its 2nd to its 98th percentile.

    Only every n-th row and column is read. Pixels without data stay black.
    """
    step = thumbnail_step(scene.shape)
    counts = np.asarray(scene.cube[::step, ::step][..., list(bands_shown(scene))], np.float32)
    empty = scene.empty[::step, ::step]
    picture = np.zeros(counts.shape, np.uint8)
    if empty.all():
        return picture
    low, high = np.percentile(counts[~empty], _STRETCH, axis=0)
    shares = (counts - low) / np.maximum(high - low, 1e-12)
    picture[~empty] = (255 * np.clip(shares[~empty], 0, 1) + 0.5).astype(np.uint8)
    return picture


def bands_shown(scene: Scene | Cube) -> tuple[int, int, int]:
    """Bands shown in red, green and blue: those nearest to 860, 650 and 550 nm, else some in the middle of the visible."""
    if not scene.wavelengths:
        red, green, blue = (int(share * (scene.bands - 1)) for share in _SHARES)
        return red, green, blue
    wavelengths = np.array(scene.wavelengths)
    red, green, blue = (int(np.abs(wavelengths - wanted).argmin()) for wanted in _RED_GREEN_BLUE)
    return red, green, blue


def scene_html(scene: Scene) -> str:
    """HTML of a scene for a notebook: the thumbnail, and a table of facts."""
    height, width = scene.shape
    labelled = 0 if scene.labels is None else int((scene.labels != 0).sum())
    facts = {
        "pixels": f"{height} x {width}, {labelled} of them labelled",
        "bands": f"{scene.bands} of {scene.cube.dtype}{f', {scene.units}' if scene.units else ''}",
        "wavelengths": f"{scene.wavelengths[0]:g} to {scene.wavelengths[-1]:g} nm" if scene.wavelengths else "unknown",
        "classes": ", ".join(f"{label} {title}" for label, title in scene.classes.items()),
        "source": scene.source,
    }
    return image_html(false_colour(scene), scene.name) + facts_html(facts, scene.name)
