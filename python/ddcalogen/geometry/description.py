# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Plain description of a detector's sensitive planes, and the compiled surfaces built from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen import _core
from ddcalogen.errors import GeometryError

__all__ = ["CalorimeterFace", "DetectorDescription", "Geometry", "SolenoidField"]

Spec = dict[str, Any]
SUPPORTED_SEGMENTATIONS = (
    "CartesianGridXY, MegatileLayerGridXY, PolarGridRPhi, TiledLayerGridXY or MultiSegmentation of these"
)


@dataclass(frozen=True, kw_only=True)
class CalorimeterFace:
    """Where particles enter a calorimeter.

    Attributes
    ----------
    kind
        "barrel": regular polygon of `symmetry` faces parallel to z at `distance_mm` (apothem), |z| <= `z_max_mm`.
        "endcap": the two planes |z| = `distance_mm`, inside the outer polygon of `symmetry` sides and apothem
        `r_outer_mm`, outside the hole.
    symmetry
        Number of sides; 0 is a circle.
    phi0_rad
        Azimuth of the normal of the first side.
    r_inner_mm, r_outer_mm
        Barrel: apothems of inner and outer face. Endcap: half side or radius of the hole, apothem of the outer edge.
    hole_symmetry, hole_centre_mm
        Endcap: number of sides of the hole (0: round) and its centre (x, y) in the global frame.
    z_min_mm, z_max_mm
        Range of |z|.
    """

    detector: str
    kind: str
    distance_mm: float
    symmetry: int
    phi0_rad: float
    r_inner_mm: float
    r_outer_mm: float
    z_min_mm: float
    z_max_mm: float
    hole_symmetry: int = 0
    hole_centre_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        if self.kind not in ("barrel", "endcap"):
            raise GeometryError("unknown kind of calorimeter face", found=repr(self.kind), expected="barrel or endcap")


@dataclass(frozen=True, kw_only=True)
class SolenoidField:
    """Solenoid along +z: `b_inside_tesla` for r < `r_mm` and |z| < `half_z_mm`, else `b_outside_tesla`."""

    b_inside_tesla: float
    b_outside_tesla: float
    r_mm: float
    half_z_mm: float


@dataclass(frozen=True, kw_only=True)
class DetectorDescription:
    """One calorimeter: one row for each sensitive placed volume.

    Attributes
    ----------
    encoding
        cellID encoding in DD4hep notation.
    segmentation, solids
        Plain nested dictionaries, see docs/geometry.md; lengths in mm.
    hit_collections
        (name, key field, lowest key, highest key); an empty key field takes all cells.
    rotations
        float64 [R, 3, 3], local to world.
    volume_id, rotation, solid, translation_mm
        uint64 [N], uint32 [N], uint32 [N], float64 [N, 3].
    """

    name: str
    readout: str
    encoding: str
    segmentation: Spec
    solids: list[Spec]
    hit_collections: list[tuple[str, str, int, int]]
    rotations: NDArray[np.float64]
    volume_id: NDArray[np.uint64]
    rotation: NDArray[np.uint32]
    solid: NDArray[np.uint32]
    translation_mm: NDArray[np.float64]

    def table(self) -> _core.DetectorTable:
        """The compiled form. Raises GeometryError for a description that makes no sense."""
        try:
            return _core.DetectorTable(
                name=self.name,
                readout=self.readout,
                encoding=self.encoding,
                segmentation=_segmentation(self.segmentation),
                hit_collections=[_core.HitCollection(*collection) for collection in self.hit_collections],
                rotations=self.rotations,
                solids=[_solid(spec) for spec in self.solids],
                volume_id=self.volume_id,
                rotation=self.rotation,
                solid=self.solid,
                translation_mm=self.translation_mm,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GeometryError(
                f"the description of detector {self.name} is malformed", found=f"{type(error).__name__}: {error}"
            ) from error

    def json_part(self) -> str:
        """Everything but the arrays, as canonical JSON."""
        content = {
            "name": self.name,
            "readout": self.readout,
            "encoding": self.encoding,
            "segmentation": self.segmentation,
            "solids": self.solids,
            "hit_collections": self.hit_collections,
        }
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, in their stored types."""
        return {
            "rotations": np.ascontiguousarray(self.rotations, dtype="<f8"),
            "volume_id": np.ascontiguousarray(self.volume_id, dtype="<u8"),
            "rotation": np.ascontiguousarray(self.rotation, dtype="<u4"),
            "solid": np.ascontiguousarray(self.solid, dtype="<u4"),
            "translation_mm": np.ascontiguousarray(self.translation_mm, dtype="<f8"),
        }


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sensitive planes, calorimeter faces and field of one detector model.

    `surfaces` is compiled at first use and then kept; it is immutable and may be shared between threads.
    """

    name: str
    source: str
    detectors: tuple[DetectorDescription, ...]
    faces: tuple[CalorimeterFace, ...]
    field: SolenoidField

    @cached_property
    def surfaces(self) -> _core.SensitiveSurfaces:
        """The compiled surfaces. Raises GeometryError for an inconsistent description."""
        return _core.SensitiveSurfaces([detector.table() for detector in self.detectors])

    @cached_property
    def sha256(self) -> str:
        """Hash of the content; neither the file that holds it nor the text on its source enters."""
        digest = hashlib.sha256()
        digest.update(self.name.encode())
        digest.update(self.faces_json().encode())
        digest.update(self.field_json().encode())
        for detector in self.detectors:
            digest.update(detector.json_part().encode())
            for name, array in detector.arrays().items():
                digest.update(name.encode())
                digest.update(str(array.shape).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    def detector(self, name: str) -> DetectorDescription:
        """The detector of that name. Raises GeometryError if there is none."""
        for detector in self.detectors:
            if detector.name == name:
                return detector
        raise GeometryError(
            f"{self.name} has no detector of that name",
            found=repr(name),
            expected="one of " + ", ".join(detector.name for detector in self.detectors),
        )

    def detector_of_readout(self, readout: str) -> DetectorDescription:
        """The detector with that readout (or detector) name. Raises GeometryError if there is none."""
        for detector in self.detectors:
            if readout in (detector.readout, detector.name):
                return detector
        raise GeometryError(
            f"{self.name} has no such readout",
            found=repr(readout),
            expected="one of " + ", ".join(f"{detector.name} ({detector.readout})" for detector in self.detectors),
        )

    def face(self, detector: str) -> CalorimeterFace:
        """The face of that detector. Raises GeometryError if there is none."""
        for face in self.faces:
            if face.detector == detector:
                return face
        raise GeometryError(f"{self.name} has no calorimeter face for a detector", found=repr(detector))

    def faces_json(self) -> str:
        return json.dumps([asdict(face) for face in self.faces], sort_keys=True, separators=(",", ":"))

    def field_json(self) -> str:
        return json.dumps(asdict(self.field), sort_keys=True, separators=(",", ":"))


def _solid(spec: Spec) -> _core.Solid:
    match spec["type"]:
        case "box":
            return _core.Solid.box(spec["half_mm"], spec.get("centre_mm", (0.0, 0.0, 0.0)))
        case "tube":
            return _core.Solid.tube(spec["r_min_mm"], spec["r_max_mm"], spec["half_z_mm"])
        case "half_spaces":
            return _core.Solid.half_spaces(spec["normals"], spec["distances_mm"])
        case "prism":
            return _core.Solid.prism(spec["x_mm"], spec["y_mm"], spec["z_low_mm"], spec["z_high_mm"])
        case "placed":
            return _core.Solid.placed(_solid(spec["solid"]), spec["rotation"], spec["translation_mm"])
        case "union":
            return _core.Solid.unite(_solid(spec["left"]), _solid(spec["right"]))
        case "intersection":
            return _core.Solid.intersect(_solid(spec["left"]), _solid(spec["right"]))
        case "subtraction":
            return _core.Solid.subtract(_solid(spec["left"]), _solid(spec["right"]))
        case other:
            raise GeometryError("unknown solid in a geometry description", found=repr(other))


def _grid(spec: Spec) -> Any:
    arguments = {key: value for key, value in spec.items() if key != "type"}
    match spec["type"]:
        case "CartesianGridXY":
            return _core.CartesianGridXY(**arguments)
        case "TiledLayerGridXY":
            return _core.TiledLayerGridXY(**arguments)
        case "PolarGridRPhi":
            return _core.PolarGridRPhi(**arguments)
        case "MegatileLayerGridXY":
            return _core.MegatileLayerGridXY(**arguments)
        case other:
            raise GeometryError(
                "unsupported segmentation",
                found=repr(other),
                expected=SUPPORTED_SEGMENTATIONS,
            )


def _segmentation(spec: Spec) -> _core.Segmentation:
    if spec["type"] != "MultiSegmentation":
        return _core.Segmentation("", [(0, 0, _grid(spec))])
    entries = [(entry["key_low"], entry["key_high"], _grid(entry["grid"])) for entry in spec["entries"]]
    return _core.Segmentation(spec["key_field"], entries)
