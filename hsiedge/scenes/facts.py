"""Facts of a scene that a Card keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hsiedge.card import FlightFacts, SceneFacts
from hsiedge.scenes.patches import spectra_at
from hsiedge.scenes.preprocess import band_percentiles
from hsiedge.scenes.scene import Scene


def scene_facts(scene: Scene, pixels: NDArray[np.intp]) -> SceneFacts:
    """Facts of a scene; percentiles are of the spectra at flat `pixels`."""
    return SceneFacts(
        name=scene.name,
        sha256=scene.sha256,
        official=scene.official,
        bands=scene.bands,
        dtype=scene.cube.dtype.name,
        units=scene.units,
        wavelengths=list(scene.wavelengths),
        percentiles=band_percentiles(spectra_at(scene, pixels)),
        scales=list(scene.scale or ()),
        offsets=list(scene.offset or ()),
        quantity=scene.quantity,
        flights=[FlightFacts(flight.name, flight.sha256, flight.digest) for flight in scene.flights],
    )
