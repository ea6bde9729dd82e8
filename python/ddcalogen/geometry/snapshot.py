# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Geometry snapshots: HDF5 files that hold everything of a detector that placement and transport need."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ddcalogen.errors import GeometryError
from ddcalogen.files import replace_when_complete
from ddcalogen.geometry.description import CalorimeterFace, DetectorDescription, Geometry, SolenoidField

__all__ = ["SCHEMA_VERSION", "available_snapshots", "load_snapshot", "save_snapshot"]

FORMAT = "ddcalogen-geometry"
SCHEMA_VERSION = 1
_SHIPPED = Path(__file__).resolve().parent.parent / "data"
_SUFFIX = ".geometry.h5"


def available_snapshots() -> list[str]:
    """Names of the snapshots shipped with the package."""
    return sorted(path.name.removesuffix(_SUFFIX) for path in _SHIPPED.glob(f"*{_SUFFIX}"))


def load_snapshot(name_or_path: str | os.PathLike[str]) -> Geometry:
    """Load a shipped snapshot by its name, or a snapshot file by its path.

    Raises
    ------
    GeometryError
        Unknown name, or a file that is missing, truncated, foreign, of a newer schema, or whose content does not
        match its hash.
    """
    path = _find(name_or_path)
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, UnicodeDecodeError) as error:
        raise GeometryError(
            f"geometry snapshot {path} cannot be read",
            found=f"{type(error).__name__}: {error}",
            expected=f"a complete {FORMAT} file of schema {SCHEMA_VERSION}",
            remedy="Export it again with 'ddcalogen geometry export', or reinstall the package.",
        ) from error


def save_snapshot(geometry: Geometry, path: str | os.PathLike[str]) -> Path:
    """Write a snapshot; the file appears under its name only when it is complete.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = Path(path)
    with (
        replace_when_complete(path) as partial,
        h5py.File(partial, "w", libver=("earliest", "v110"), track_order=True) as file,
    ):
        _write(file, geometry)
    return path


def _find(name_or_path: str | os.PathLike[str]) -> Path:
    shipped = _SHIPPED / f"{os.fspath(name_or_path)}{_SUFFIX}"
    if shipped.is_file() and os.fspath(name_or_path) in available_snapshots():
        return shipped
    path = Path(name_or_path)
    if path.is_file():
        return path
    raise GeometryError(
        "there is no such detector snapshot",
        found=repr(os.fspath(name_or_path)),
        expected="a shipped one (" + ", ".join(available_snapshots()) + ") or the path of a snapshot file",
        remedy="Make one with 'ddcalogen geometry export'.",
    )


def _read(file: h5py.File, path: Path) -> Geometry:
    if file.attrs.get("format") != FORMAT:
        raise GeometryError(f"{path} is not a geometry snapshot", expected=f"an HDF5 file with format = {FORMAT}")
    version = int(file.attrs["schema_version"])
    if version > SCHEMA_VERSION or version < 1:
        raise GeometryError(
            f"{path} has a snapshot schema that this version does not know",
            found=f"schema {version}",
            expected=f"schema 1 to {SCHEMA_VERSION}",
            remedy="Update DDCaloGen, or export the snapshot again with this version.",
        )
    detectors = []
    for group in file["detectors"].values():
        content: dict[str, Any] = json.loads(group["description"][()])
        content["hit_collections"] = [tuple(collection) for collection in content["hit_collections"]]
        arrays: dict[str, Any] = {
            name: np.asarray(group[name][()])
            for name in ("rotations", "volume_id", "rotation", "solid", "translation_mm")
        }
        # Positions are stored by coordinate: equal coordinates of neighbours then compress well.
        arrays["translation_mm"] = np.ascontiguousarray(arrays["translation_mm"].T)
        detectors.append(DetectorDescription(**content, **arrays))
    faces = tuple(
        CalorimeterFace(**{**face, "hole_centre_mm": tuple(face["hole_centre_mm"])})
        for face in json.loads(file["faces"][()])
    )
    geometry = Geometry(
        name=str(file.attrs["name"]),
        source=str(file.attrs["source"]),
        detectors=tuple(detectors),
        faces=faces,
        field=SolenoidField(**json.loads(file["field"][()])),
    )
    if geometry.sha256 != file.attrs["sha256"]:
        raise GeometryError(
            f"the content of {path} does not match its hash",
            found=geometry.sha256,
            expected=str(file.attrs["sha256"]),
            remedy="The file is damaged or was edited: export it again.",
        )
    return geometry


def _write(file: h5py.File, geometry: Geometry) -> None:
    file.attrs["format"] = FORMAT
    file.attrs["schema_version"] = SCHEMA_VERSION
    file.attrs["name"] = geometry.name
    file.attrs["source"] = geometry.source
    file.attrs["sha256"] = geometry.sha256
    file["faces"] = geometry.faces_json()
    file["field"] = geometry.field_json()
    group = file.create_group("detectors", track_order=True)
    for detector in geometry.detectors:
        target = group.create_group(detector.name)
        target["description"] = detector.json_part()
        for name, array in detector.arrays().items():
            stored = np.ascontiguousarray(array.T) if name == "translation_mm" else array
            options: dict[str, Any] = {}
            if array.size > 1000:
                chunk = (1, min(array.shape[0], 65536)) if stored.ndim == 2 else min(array.shape[0], 65536)
                options = {"chunks": chunk, "shuffle": True, "compression": "gzip", "compression_opts": 9}
            target.create_dataset(name, data=stored, **options)
