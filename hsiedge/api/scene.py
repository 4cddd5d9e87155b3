"""Scenes by name or file: `open_scene`; and several of them as one: `join_flights`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from hsiedge.api.resolve import SceneLike, scene_of
from hsiedge.arguments import PathLike, path_of, wrong_type
from hsiedge.scenes import open as scenes
from hsiedge.scenes.classes import ClassNames, name_classes
from hsiedge.scenes.references import BESIDE, ReferencesLike
from hsiedge.scenes.scene import Scene


def open_scene(
    source: SceneLike,
    *,
    labels: PathLike | None = None,
    data_dir: PathLike | None = None,
    cube_key: str | None = None,
    labels_key: str | None = None,
    class_field: str | None = None,
    align: bool = False,
    references: ReferencesLike = BESIDE,
    classes: ClassNames | None = None,
) -> Scene:
    """Opens a scene: by its name in the catalog, from a file, or from a folder of GeoTIFF tiles.

    Args:
        source: name or alias in the catalog; .mat, .npy, .npz, ENVI or GeoTIFF; what `hsiedge scenes pack` wrote; .toml, a list
            of flights that are one scene (`join_flights`). A Scene is given back as it is.
        labels: file or folder of the label map, 0 = unlabelled, or polygons; for a cube of your own.
        data_dir: where scenes of the catalog are looked for first. Nothing is downloaded: `hsiedge scenes fetch` does that.
        cube_key, labels_key: variables in a .mat, .npz or HDF5 file; of polygons, the layer.
        class_field: of polygons, the attribute that names the classes: whole numbers are ids, words are numbered from 1.
        align: resample a label map that lies elsewhere than the cube, by nearest neighbour; a warning counts its pixels.
        references: dark and white reference of a file of raw counts, which make reflectance of them (`hsiedge.References`);
            left out, those that lie beside it as DARKREF_NAME and WHITEREF_NAME; None for none.
        classes: names of classes that the labels do not name: by id, in the order of the ids 1, 2, 3, ..., or a text file of
            `id,name` lines. A Scene gets them, too.

    Raises:
        SceneError: not found, not readable, or not believable; references that do not fit.
        OptionError: an argument of another type; an id without a name, or one that contradicts the label file's own.
    """
    if classes is not None:
        opened = open_scene(
            source,
            labels=labels,
            data_dir=data_dir,
            cube_key=cube_key,
            labels_key=labels_key,
            class_field=class_field,
            align=align,
            references=references,
        )
        return name_classes([opened], classes)[0]
    if isinstance(source, Scene):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise wrong_type("source", source, "a name of the catalog, a path, or a Scene")
    label_path = None if labels is None else path_of(labels, "labels")
    folder = None if data_dir is None else path_of(data_dir, "data_dir")
    return scenes.open_scene(
        os.fspath(source),
        label_path,
        folder,
        cube_key,
        labels_key,
        class_field=class_field,
        align=align,
        references=references,
    )


def join_flights(
    flights: Sequence[SceneLike],
    *,
    name: str | None = None,
    roles: Sequence[str] = (),
    units: Sequence[str | None] = (),
    classes: Mapping[int, str] | None = None,
) -> Scene:
    """One scene of several flights of a sensor, with the bands, units and dtype of the first, and classes joined by name.

    Args:
        flights: Scenes, names of the catalog, or paths; two or more, all with labels.
        name: by default those of the flights.
        roles: "train", "validate", "test" or "" for each; by default none. See also `Scene.hold_out`.
        units: "stored" or "physical" for each, where a flight and the first do not both tell; by default both must.
        classes: ids that joined classes are to have; by default those of the first flight that has one, where they are free.

    Raises:
        SceneError: fewer than two flights, one without labels, one twice, or of other bands, units or class names.
        OptionError: another word for a role or for units, or not one for each flight.
    """
    from hsiedge.scenes import flights as joining

    opened = [scene_of(flight) for flight in flights]
    return joining.join_flights(opened, name=name, roles=roles, units=units, classes=classes)
