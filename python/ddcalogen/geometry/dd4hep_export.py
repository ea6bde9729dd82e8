# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a detector from DD4hep through its Python bindings; needs a Key4hep-like environment."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddcalogen._core import CellIDEncoding
from ddcalogen.errors import ConfigurationError, GeometryError
from ddcalogen.geometry.description import (
    SUPPORTED_SEGMENTATIONS,
    CalorimeterFace,
    DetectorDescription,
    Geometry,
    SolenoidField,
)

__all__ = ["export_dd4hep", "export_description"]

_MM = 10.0  # DD4hep and TGeo lengths are in cm
Spec = dict[str, Any]

_HEADERS = (
    "DD4hep/Detector.h",
    "DD4hep/Fields.h",
    "DDRec/DetectorData.h",
    "DDSegmentation/CartesianGridXY.h",
    "DDSegmentation/MegatileLayerGridXY.h",
    "DDSegmentation/MultiSegmentation.h",
    "DDSegmentation/PolarGridRPhi.h",
    "DDSegmentation/TiledLayerGridXY.h",
)

# Template members of DD4hep that its Python bindings cannot instantiate everywhere.
_HELPER = """
#ifndef DDCALOGEN_EXPORT
#define DDCALOGEN_EXPORT
namespace ddcalogen_export {
  /// Layout (0: barrel), r_min, r_max, z_min, z_max in cm, symmetry outside and inside, phi0 outside; empty: no data.
  inline std::vector<double> extent(const dd4hep::DetElement& element) {
    const auto* data = element.extension<dd4hep::rec::LayeredCalorimeterData>(false);
    if (!data)
      return {};
    return {double(data->layoutType),     data->extent[0],             data->extent[1],
            data->extent[2],              data->extent[3],             double(data->outer_symmetry),
            double(data->inner_symmetry), data->outer_phi0 != 0. ? data->outer_phi0 : data->phi0};
  }
}
#endif
"""

# dd4hep::DetType
_CALORIMETER, _FORWARD, _MUON = 1 << 1, 1 << 5, 1 << 13


def export_dd4hep(
    compact_file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    detectors: Sequence[str] | None = None,
    name: str | None = None,
) -> Geometry:
    """Load a compact file into DD4hep and export its calorimeters.

    Parameters
    ----------
    compact_file
        One compact file, or several that are loaded one after the other.
    detectors
        Names of the detectors to take; by default all sensitive calorimeters that are neither forward (luminosity and
        beam calorimeters) nor muon detectors. Forward detectors get cells, but no face.
    name
        Name of the geometry; by default that of the compact file's header.

    Raises
    ------
    ConfigurationError
        The dd4hep Python module cannot be imported.
    GeometryError
        A file is missing or cannot be loaded, there is no such detector, or a detector uses a segmentation or solid
        that has no equivalent here.
    """
    files = [Path(f) for f in ([compact_file] if isinstance(compact_file, str | os.PathLike) else compact_file)]
    if not files:
        raise GeometryError("no compact file was given")
    for file in files:
        if not file.is_file():
            raise GeometryError("there is no such compact file", found=str(file))
    dd4hep = _import_dd4hep()
    dd4hep.setPrintLevel(dd4hep.PrintLevel.WARNING)
    description = dd4hep.Detector.getInstance()
    if int(description.state()) != int(dd4hep.Detector.NOT_READY):
        raise GeometryError(
            "DD4hep already holds a detector in this process, and can hold only one",
            found=str(description.header().name()),
            remedy="Export that one with export_description, or start a new process.",
        )
    try:
        for file in files:
            try:
                description.fromXML(str(file.resolve()))
            except Exception as error:  # whatever C++ exception the loader lets through
                raise GeometryError(
                    f"DD4hep cannot load {file}",
                    found=str(error).strip(),
                    remedy="Check that the plugins of its detectors are on the library path.",
                ) from error
        if int(description.state()) != int(dd4hep.Detector.READY):
            raise GeometryError(
                "DD4hep did not finish loading " + ", ".join(str(file) for file in files),
                remedy="After a file that could not be loaded DD4hep needs a new process.",
            )
        origin = "compact file " + ", ".join(file.name for file in files)
        return export_description(description, detectors=detectors, name=name, origin=origin)
    finally:
        del description
        dd4hep.Detector.destroyInstance()


def export_description(
    description: Any, *, detectors: Sequence[str] | None = None, name: str | None = None, origin: str = "memory"
) -> Geometry:
    """Export a `dd4hep.Detector` that is loaded already; see `export_dd4hep`."""
    dd4hep = _import_dd4hep()
    import cppyy

    selected = _select(description, detectors)
    walker = _Walker(dd4hep, {str(sensitive.readout().name()): sensitive for _, _, sensitive in selected})
    rows = walker.walk_world(description.world())
    exported = []
    for detector_name, _, sensitive in selected:
        readout = sensitive.readout()
        found = rows.get(str(readout.name()))
        if found is None:
            raise GeometryError(f"detector {detector_name} has no sensitive volume")
        exported.append(_describe(detector_name, readout, found, walker))
    faces = tuple(
        face
        for (_, element, _), detector in zip(selected, exported, strict=True)
        if not int(element.typeFlag()) & _FORWARD  # showers are not placed into forward detectors
        for face in [_face(element, detector)]
    )
    return Geometry(
        name=name or str(description.header().name()),
        source=f"DD4hep {cppyy.gbl.dd4hep.versionString()}, {origin}",
        detectors=tuple(exported),
        faces=faces,
        field=_solenoid(dd4hep, description),
    )


def _import_dd4hep() -> Any:
    try:
        import dd4hep  # first: where it is missing, ROOT need not be started
        import ROOT
    except ImportError as error:
        raise ConfigurationError(
            "the geometry can only be exported where the DD4hep Python bindings are installed",
            found=str(error),
            expected="'import dd4hep' to work",
            remedy="Source a Key4hep environment (source /cvmfs/sw.hsf.org/key4hep/setup.sh) or a DD4hep installation "
            "(source bin/thisdd4hep.sh); the shipped snapshots need none of this.",
        ) from error
    ROOT.PyConfig.IgnoreCommandLineOptions = True
    # Not every installation finds the headers of its dictionaries by itself.
    if not ROOT.gInterpreter.Declare("".join(f'#include "{header}"\n' for header in _HEADERS) + _HELPER):
        raise ConfigurationError("the headers of DD4hep cannot be read", remedy="Check ROOT_INCLUDE_PATH.")
    # Only now: with the dictionary loaded first, cling crashes over the same headers in some versions.
    if ROOT.gSystem.Load("libDDRec") < 0:
        raise ConfigurationError("libDDRec of DD4hep cannot be loaded", remedy="Check LD_LIBRARY_PATH.")
    return dd4hep


def _select(description: Any, names: Sequence[str] | None) -> list[tuple[str, Any, Any]]:
    """(name, DetElement, SensitiveDetector) of the detectors to export."""
    available: dict[str, tuple[Any, Any]] = {}
    for element in description.detectors("calorimeter", False):
        name = str(element.name())
        sensitive = description.sensitiveDetector(name)
        if sensitive.isValid() and sensitive.readout().isValid():
            available[name] = (element, sensitive)
    if names is None:
        flags = {name: int(element.typeFlag()) for name, (element, _) in available.items()}
        names = [n for n, flag in flags.items() if flag & _CALORIMETER and not flag & (_FORWARD | _MUON)]
        if not names:
            names = [n for n, flag in flags.items() if not flag & (_FORWARD | _MUON)]
    if not names:
        raise GeometryError("the detector has no calorimeter", expected="sensitive detectors of type calorimeter")
    for name in names:
        if name not in available:
            raise GeometryError(
                "there is no such calorimeter", found=repr(name), expected="one of " + ", ".join(sorted(available))
            )
    return [(name, *available[name]) for name in names]


# ---- volumes -----------------------------------------------------------------------------------------------------


@dataclass
class _Rows:
    """Sensitive volumes below some volume, in its frame (cm)."""

    volume_id: NDArray[np.uint64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    solid: NDArray[np.uint32]


@dataclass
class _Walker:
    """Collects sensitive volumes bottom-up, each logical volume once, however often it is placed."""

    dd4hep: Any
    sensitive: dict[str, Any]
    solids: list[Spec] = field(default_factory=list)
    encodings: dict[str, CellIDEncoding] = field(default_factory=dict)
    _by_volume: dict[int, dict[str, _Rows]] = field(default_factory=dict)
    _solid_index: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, sensitive in self.sensitive.items():
            self.encodings[name] = CellIDEncoding(str(sensitive.readout().idSpec().fieldDescription()))

    def walk_world(self, world: Any) -> dict[str, _Rows]:
        return self._walk(world.volume().ptr())

    def _walk(self, volume: Any) -> dict[str, _Rows]:
        import cppyy

        key = int(cppyy.addressof(volume))
        if key in self._by_volume:
            return self._by_volume[key]
        parts: dict[str, list[_Rows]] = {}
        own = self._readout_of(volume)
        if own is not None:
            solid = _solid(volume.GetShape())
            for node in _daughters(volume):
                # The deepest volume wins in DD4hep: what sits inside a sensitive volume is not part of it.
                hole = _placed(_solid(node.GetVolume().GetShape()), node.GetMatrix())
                solid = {"type": "subtraction", "left": solid, "right": hole}
            parts[own] = [
                _Rows(
                    np.zeros(1, np.uint64),
                    np.eye(3)[None],
                    np.zeros((1, 3)),
                    np.array([self._intern(solid)], np.uint32),
                )
            ]
        for node in _daughters(volume):
            below = self._walk(node.GetVolume())
            if not below:
                continue
            rotation, translation = _matrix(node.GetMatrix())
            identifiers = [(str(i.first), int(i.second)) for i in self.dd4hep.PlacedVolume(node).volIDs()]
            for readout, rows in below.items():
                parts.setdefault(readout, []).append(
                    _Rows(
                        rows.volume_id | self._encode(readout, identifiers),
                        rotation @ rows.rotation,
                        rows.translation @ rotation.T + translation,
                        rows.solid,
                    )
                )
        result = {
            readout: _Rows(
                np.concatenate([r.volume_id for r in rows]),
                np.concatenate([r.rotation for r in rows]),
                np.concatenate([r.translation for r in rows]),
                np.concatenate([r.solid for r in rows]),
            )
            for readout, rows in parts.items()
        }
        self._by_volume[key] = result
        return result

    def _readout_of(self, volume: Any) -> str | None:
        handle = self.dd4hep.Volume(volume)
        if not handle.isSensitive():
            return None
        sensitive = self.dd4hep.SensitiveDetector(handle.sensitiveDetector())
        if not sensitive.isValid() or not sensitive.readout().isValid():
            return None
        name = str(sensitive.readout().name())
        return name if name in self.sensitive else None

    def _encode(self, readout: str, identifiers: list[tuple[str, int]]) -> np.uint64:
        fields = {name: (offset, width) for name, offset, width, _ in self.encodings[readout].fields}
        bits = 0
        for name, value in identifiers:
            if name not in fields:
                raise GeometryError(
                    f"a placement carries an identifier that readout {readout} does not have",
                    found=name,
                    expected=self.encodings[readout].text,
                )
            offset, width = fields[name]
            bits |= (value & ((1 << width) - 1)) << offset
        return np.uint64(bits)

    def _intern(self, solid: Spec) -> int:
        key = json.dumps(solid, sort_keys=True)
        if key not in self._solid_index:
            self._solid_index[key] = len(self.solids)
            self.solids.append(solid)
        return self._solid_index[key]


def _daughters(volume: Any) -> Iterator[Any]:
    for i in range(volume.GetNdaughters()):
        yield volume.GetNode(i)


def _matrix(matrix: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation (cm) of a TGeoMatrix."""
    rotation = np.frombuffer(matrix.GetRotationMatrix(), dtype=np.float64, count=9).reshape(3, 3).copy()
    translation = np.frombuffer(matrix.GetTranslation(), dtype=np.float64, count=3).copy()
    return rotation, translation


# ---- solids ------------------------------------------------------------------------------------------------------


def _placed(solid: Spec, matrix: Any) -> Spec:
    rotation, translation = _matrix(matrix)
    if np.array_equal(rotation, np.eye(3)) and not translation.any():
        return solid
    if solid["type"] == "box" and np.array_equal(rotation, np.eye(3)):
        return {**solid, "centre_mm": (np.array(solid.get("centre_mm", 3 * [0.0])) + translation * _MM).tolist()}
    return {
        "type": "placed",
        "solid": solid,
        "rotation": rotation.ravel().tolist(),
        "translation_mm": (translation * _MM).tolist(),
    }


def _boolean(kind: str, left: Spec, right: Spec) -> Spec:
    return {"type": kind, "left": left, "right": right}


def _solid(shape: Any) -> Spec:
    """The solid of a TGeoShape. Raises GeometryError for shapes that are not used for calorimeter layers."""
    kind = str(shape.ClassName())
    if kind == "TGeoBBox":
        centre = np.frombuffer(shape.GetOrigin(), dtype=np.float64, count=3) * _MM
        spec: Spec = {"type": "box", "half_mm": [shape.GetDX() * _MM, shape.GetDY() * _MM, shape.GetDZ() * _MM]}
        return {**spec, "centre_mm": centre.tolist()} if centre.any() else spec
    if kind in ("TGeoTube", "TGeoTubeSeg"):
        tube = {
            "type": "tube",
            "r_min_mm": shape.GetRmin() * _MM,
            "r_max_mm": shape.GetRmax() * _MM,
            "half_z_mm": shape.GetDz() * _MM,
        }
        if kind == "TGeoTube":
            return tube
        return _sector(tube, math.radians(shape.GetPhi1()), math.radians(shape.GetPhi2() - shape.GetPhi1()))
    if kind == "TGeoCompositeShape":
        node = shape.GetBoolNode()
        operation = {"TGeoUnion": "union", "TGeoIntersection": "intersection", "TGeoSubtraction": "subtraction"}
        return _boolean(
            operation[str(node.ClassName())],
            _placed(_solid(node.GetLeftShape()), node.GetLeftMatrix()),
            _placed(_solid(node.GetRightShape()), node.GetRightMatrix()),
        )
    if kind in ("TGeoPgon", "TGeoPcon"):
        return _polygon_sections(shape, kind)
    if kind in ("TGeoTrd1", "TGeoTrd2"):
        x = (shape.GetDx1(), shape.GetDx2())
        y = (shape.GetDy(), shape.GetDy()) if kind == "TGeoTrd1" else (shape.GetDy1(), shape.GetDy2())
        ends = np.array([[(-a, -b), (-a, b), (a, b), (a, -b)] for a, b in zip(x, y, strict=True)])
        return _eight_corners(ends * _MM, shape.GetDz() * _MM)
    if kind in ("TGeoArb8", "TGeoTrap"):
        corners = np.frombuffer(shape.GetVertices(), dtype=np.float64, count=16).reshape(2, 4, 2) * _MM
        return _eight_corners(corners, shape.GetDz() * _MM)
    if kind == "TGeoXtru" and shape.GetNz() == 2 and _same_outline(shape):
        n = shape.GetNvert()
        return {
            "type": "prism",
            "x_mm": [(shape.GetX(i) * shape.GetScale(0) + shape.GetXOffset(0)) * _MM for i in range(n)],
            "y_mm": [(shape.GetY(i) * shape.GetScale(0) + shape.GetYOffset(0)) * _MM for i in range(n)],
            "z_low_mm": shape.GetZ(0) * _MM,
            "z_high_mm": shape.GetZ(1) * _MM,
        }
    raise GeometryError(
        "a sensitive volume has a solid that is not supported",
        found=kind,
        expected="box, tube, polyhedron, trapezoid, extruded polygon, or a boolean combination of these",
    )


def _same_outline(shape: Any) -> bool:
    return bool(
        shape.GetScale(0) == shape.GetScale(1)
        and shape.GetXOffset(0) == shape.GetXOffset(1)
        and shape.GetYOffset(0) == shape.GetYOffset(1)
    )


def _half_spaces(normals: list[list[float]], distances_mm: list[float]) -> Spec:
    return {"type": "half_spaces", "normals": normals, "distances_mm": distances_mm}


def _sector(solid: Spec, phi0_rad: float, dphi_rad: float) -> Spec:
    """The part of a solid with azimuth in [phi0, phi0 + dphi]."""
    if dphi_rad >= 2 * math.pi - 1e-9:
        return solid
    start = [math.sin(phi0_rad), -math.cos(phi0_rad), 0.0]
    stop = [-math.sin(phi0_rad + dphi_rad), math.cos(phi0_rad + dphi_rad), 0.0]
    if dphi_rad <= math.pi:
        return _boolean("intersection", solid, _half_spaces([start, stop], [0.0, 0.0]))
    opposite = [[-c for c in start], [-c for c in stop]]
    return _boolean("subtraction", solid, _half_spaces(opposite, [0.0, 0.0]))


def _polygon_sections(shape: Any, kind: str) -> Spec:
    """TGeoPgon, or a TGeoPcon of cylinders: one body for each step in z, united."""
    planes = range(shape.GetNz())
    z, r_min, r_max = (np.array([get(i) * _MM for i in planes]) for get in (shape.GetZ, shape.GetRmin, shape.GetRmax))
    phi0, dphi = math.radians(shape.GetPhi1()), math.radians(shape.GetDphi())
    result: Spec | None = None
    for i in range(len(z) - 1):
        if z[i + 1] == z[i]:
            continue
        if kind == "TGeoPgon":
            section = _polygon_body(shape.GetNedges(), phi0, dphi, z[i : i + 2], r_max[i : i + 2])
            if r_min[i : i + 2].any():
                hole = _polygon_body(shape.GetNedges(), phi0, dphi, z[i : i + 2], r_min[i : i + 2], open_ends=True)
                section = _boolean("subtraction", section, hole)
        else:
            if r_min[i] != r_min[i + 1] or r_max[i] != r_max[i + 1]:
                raise GeometryError("a sensitive volume has a solid that is not supported", found="a cone (TGeoPcon)")
            section = {
                "type": "tube",
                "r_min_mm": float(r_min[i]),
                "r_max_mm": float(r_max[i]),
                "half_z_mm": float(abs(z[i + 1] - z[i]) / 2),
            }
            section = _shifted_in_z(section, float(z[i] + z[i + 1]) / 2)
        section = _sector(section, phi0, dphi)
        result = section if result is None else _boolean("union", result, section)
    if result is None:
        raise GeometryError("a sensitive volume has an empty solid", found=kind)
    return result


def _shifted_in_z(solid: Spec, z_mm: float) -> Spec:
    if z_mm == 0.0:
        return solid
    identity = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    return {"type": "placed", "solid": solid, "rotation": identity, "translation_mm": [0.0, 0.0, z_mm]}


def _polygon_body(
    edges: int,
    phi0: float,
    dphi: float,
    z: NDArray[np.float64],
    apothem: NDArray[np.float64],
    open_ends: bool = False,
) -> Spec:
    """Convex body between two planes; the sides lean if the two apothems differ."""
    slope = (apothem[1] - apothem[0]) / (z[1] - z[0])
    scale = math.hypot(1.0, slope)
    normals, distances = [], []
    for i in range(edges):
        phi = phi0 + (i + 0.5) * dphi / edges
        normals.append([math.cos(phi) / scale, math.sin(phi) / scale, -slope / scale])
        distances.append(float(apothem[0] - slope * z[0]) / scale)
    if not open_ends:
        normals += [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]
        distances += [float(z.max()), -float(z.min())]
    return _half_spaces(normals, distances)


def _eight_corners(corners_mm: NDArray[np.float64], half_z_mm: float) -> Spec:
    """TGeoArb8 with planar sides: four corners at -z and four at +z, same order."""
    centre = np.array([*corners_mm.mean(axis=(0, 1)), 0.0])
    low = np.column_stack([corners_mm[0], np.full(4, -half_z_mm)])
    high = np.column_stack([corners_mm[1], np.full(4, half_z_mm)])
    normals, distances = [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], [half_z_mm, half_z_mm]
    for i in range(4):
        j = (i + 1) % 4
        quad = np.array([low[i], low[j], high[j], high[i]])
        normal = np.cross(quad[2] - quad[0], quad[3] - quad[1])
        length = float(np.linalg.norm(normal))
        if length < 1e-9:
            continue  # an edge that has shrunk to a point
        normal /= length
        if normal @ (quad.mean(axis=0) - centre) < 0:
            normal = -normal
        distance = quad @ normal
        if np.ptp(distance) > 1e-6:
            raise GeometryError("a sensitive volume has a solid that is not supported", found="a twisted trapezoid")
        normals.append(normal.tolist())
        distances.append(float(distance.mean()))
    return _half_spaces(normals, distances)


# ---- readouts and segmentations ----------------------------------------------------------------------------------


def _describe(name: str, readout: Any, rows: _Rows, walker: _Walker) -> DetectorDescription:
    used, solid = np.unique(rows.solid, return_inverse=True)
    flat = rows.rotation.reshape(-1, 9)
    # Products of the same rotations in another order differ in the last bit: keep one of each.
    _, first, rotation = np.unique(np.round(flat, 12) + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(rows.volume_id, kind="stable")
    encoding = walker.encodings[str(readout.name())]
    volume_id = rows.volume_id[order]
    if len(np.unique(volume_id)) != len(volume_id):
        raise GeometryError(f"detector {name}: two sensitive volumes have the same identifiers")
    return DetectorDescription(
        name=name,
        readout=str(readout.name()),
        encoding=encoding.text,
        segmentation=_segmentation(readout, encoding, volume_id),
        solids=[walker.solids[i] for i in used],
        hit_collections=_hit_collections(readout),
        rotations=flat[first].reshape(-1, 3, 3),
        volume_id=volume_id,
        rotation=rotation.ravel()[order].astype(np.uint32),
        solid=solid.ravel()[order].astype(np.uint32),
        translation_mm=rows.translation[order] * _MM,
    )


def _hit_collections(readout: Any) -> list[tuple[str, str, int, int]]:
    found = [(str(c.name), str(c.key), int(c.key_min), int(c.key_max)) for c in readout.collections()]
    return found or [(str(readout.name()), "", 0, 0)]


def _segmentation(readout: Any, encoding: CellIDEncoding, volume_id: NDArray[np.uint64]) -> Spec:
    segmentation = readout.segmentation().segmentation()
    kind = str(segmentation.type())
    if kind != "MultiSegmentation":
        return _grid(segmentation, encoding, volume_id)
    key_field = str(segmentation.discriminatorName())
    keys = encoding.get_array(volume_id, key_field)
    entries = []
    for entry in segmentation.subSegmentations():
        low, high = int(entry.key_min), int(entry.key_max)
        mine = volume_id[(keys >= low) & (keys <= high)]
        entries.append({"key_low": low, "key_high": high, "grid": _grid(entry.segmentation, encoding, mine)})
    return {"type": kind, "key_field": key_field, "entries": entries}


def _grid(segmentation: Any, encoding: CellIDEncoding, volume_id: NDArray[np.uint64]) -> Spec:
    import cppyy

    kind = str(segmentation.type())
    if kind not in ("CartesianGridXY", "MegatileLayerGridXY", "PolarGridRPhi", "TiledLayerGridXY"):
        raise GeometryError(
            "unsupported segmentation",
            found=kind,
            expected=SUPPORTED_SEGMENTATIONS,
            remedy="Leave the detector out with --detectors.",
        )
    grid = cppyy.bind_object(cppyy.addressof(segmentation), getattr(cppyy.gbl.dd4hep.DDSegmentation, kind))
    if kind == "PolarGridRPhi":
        return {
            "type": kind,
            "field_r": str(grid.fieldNameR()),
            "field_phi": str(grid.fieldNamePhi()),
            "size_r_mm": grid.gridSizeR() * _MM,
            "size_phi_rad": grid.gridSizePhi(),
            "offset_r_mm": grid.offsetR() * _MM,
            "offset_phi_rad": grid.offsetPhi(),
        }
    spec: Spec = {"type": kind, "field_x": str(grid.fieldNameX()), "field_y": str(grid.fieldNameY())}
    if kind == "MegatileLayerGridXY":
        return {**spec, **_megatiles(grid, encoding, volume_id, spec["field_x"], spec["field_y"])}
    spec |= {
        "size_x_mm": grid.gridSizeX() * _MM,
        "size_y_mm": grid.gridSizeY() * _MM,
        "offset_x_mm": grid.offsetX() * _MM,
        "offset_y_mm": grid.offsetY() * _MM,
    }
    if kind == "TiledLayerGridXY":
        spec |= {
            "layer_field": str(grid.fieldNameLayer()),
            "layer_offset_x": [float(x) for x in grid.layerOffsetX()],
            "boundary_x_mm": [float(x) * _MM for x in grid.boundaryLayerX()],
            "edge_size_x_mm": [float(x) * _MM for x in grid.FractCellSizeXPerLayer()],
        }
    return spec


def _megatiles(grid: Any, encoding: CellIDEncoding, volume_id: NDArray[np.uint64], field_x: str, field_y: str) -> Spec:
    """Ask the segmentation for the tile of every layer and wafer that has a volume.

    DD4hep keeps the special tiles to itself, but tells cell sizes and the centre of cell (0, 0), which is all that
    matters.
    """
    layer_field = str(grid.parameter("identifier_layer").value())
    wafer_field = str(grid.parameter("identifier_wafer").value())
    layers = encoding.get_array(volume_id, layer_field)
    wafers = encoding.get_array(volume_id, wafer_field)
    tiles: dict[tuple[float, ...], list[tuple[int, int]]] = {}
    exact: dict[tuple[float, ...], list[float]] = {}
    for layer, wafer in sorted({(int(a), int(b)) for a, b in zip(layers, wafers, strict=True)}):
        size = grid.cellDimensions(layer, wafer)
        centre = grid.position(encoding.encode({layer_field: layer, wafer_field: wafer, field_x: 0, field_y: 0}))
        tile = [float(x) * _MM for x in (size[0], size[1], centre.X - 0.5 * size[0], centre.Y - 0.5 * size[1])]
        # Going back from the centre to the corner costs the last bits; tiles that differ by less than that are one.
        key = tuple(round(x, 9) for x in tile)
        exact.setdefault(key, tile)
        tiles.setdefault(key, []).append((layer, wafer))
    if not tiles:
        raise GeometryError("a megatile segmentation has no sensitive volume")
    common = max(tiles, key=lambda tile: len(tiles[tile]))
    special = [[layer, wafer, *exact[t]] for t, where in tiles.items() if t != common for layer, wafer in where]
    return {
        "layer_field": layer_field,
        "wafer_field": wafer_field,
        "common": exact[common],
        "special": sorted(special),
    }


# ---- faces and field ---------------------------------------------------------------------------------------------


def _face(element: Any, detector: DetectorDescription) -> CalorimeterFace:
    """From the DDRec data of the detector; the azimuth of barrel faces and the centre of holes from its volumes."""
    import cppyy

    extent = [float(x) for x in cppyy.gbl.ddcalogen_export.extent(element)]
    if not extent:
        raise GeometryError(
            f"detector {detector.name} has no DDRec data to take its extent from",
            expected="LayeredCalorimeterData",
            remedy="Leave the detector out with --detectors.",
        )
    r_min, r_max, z_min, z_max = (round(x * _MM, 9) for x in extent[1:5])
    barrel = extent[0] == 0.0
    if barrel:
        azimuths = _innermost_azimuths(detector)
        return CalorimeterFace(
            detector=detector.name,
            kind="barrel",
            distance_mm=r_min,
            symmetry=len(azimuths),
            phi0_rad=float(azimuths[0]),
            r_inner_mm=r_min,
            r_outer_mm=r_max,
            z_min_mm=z_min,
            z_max_mm=z_max,
        )
    return CalorimeterFace(
        detector=detector.name,
        kind="endcap",
        distance_mm=z_min,
        symmetry=int(extent[5]),
        phi0_rad=extent[7],
        r_inner_mm=r_min,
        r_outer_mm=r_max,
        z_min_mm=z_min,
        z_max_mm=z_max,
        hole_symmetry=int(extent[6]),
        hole_centre_mm=_hole_centre(detector),
    )


def _innermost_azimuths(detector: DetectorDescription) -> NDArray[np.float64]:
    """Azimuths in [0, 2 pi) of the outward normals of the sensitive volumes of a barrel, sorted."""
    normal = detector.rotations[detector.rotation][:, :, 2]
    normal = normal * np.where((normal * detector.translation_mm).sum(axis=1) < 0, -1.0, 1.0)[:, None]
    phi = np.arctan2(normal[:, 1], normal[:, 0]) % (2 * math.pi)
    phi = np.unique(np.round(np.where(phi > 2 * math.pi - 1e-9, 0.0, phi), 9))
    if (np.abs(normal[:, 2]) > 1e-6).any():
        raise GeometryError(f"detector {detector.name} is a barrel, but has layers that are not parallel to z")
    return phi + 0.0


def _hole_centre(detector: DetectorDescription) -> tuple[float, float]:
    """Centre (x, y) of the round hole that is cut out of the layers of a plug; (0, 0) if there is none."""
    centres = []
    for i, spec in enumerate(detector.solids):
        if spec["type"] != "subtraction" or spec["right"]["type"] != "placed":
            continue
        if spec["right"]["solid"]["type"] != "tube":
            continue
        mine = detector.solid == i
        local = np.array(spec["right"]["translation_mm"])
        world = detector.rotations[detector.rotation[mine]] @ local + detector.translation_mm[mine]
        centres.append(world[:, :2])
    if not centres:
        return 0.0, 0.0
    points = np.concatenate(centres)
    if np.ptp(points, axis=0).max() > 0.1:
        return 0.0, 0.0  # not one hole
    x, y = points.mean(axis=0)
    return round(float(x), 9) + 0.0, round(float(y), 9) + 0.0


def _solenoid(dd4hep: Any, description: Any) -> SolenoidField:
    """Value and extent of the solenoid, felt out in steps of 1 cm and bisection: works for field maps, too."""
    overlay = description.field()

    def b_z(r_cm: float, z_cm: float) -> float:
        return float(overlay.magneticField(dd4hep.Position(r_cm, 0.0, z_cm)).Z()) / float(dd4hep.tesla)

    inside = b_z(0.0, 0.0)

    def edge_cm(value: Callable[[float], float]) -> float:
        def changed(x: float) -> bool:
            return abs(value(x) - inside) > 0.5 * abs(inside) + 1e-9

        outer = next((float(x) for x in range(1, 2000) if changed(float(x))), None)
        if outer is None:
            return math.inf
        low, high = outer - 1.0, outer
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (low, middle) if changed(middle) else (middle, high)
        return round(high, 8)

    r_cm = edge_cm(lambda r: b_z(r, 0.0))
    # Away from the axis, where final-focus magnets have fields of their own.
    z_cm = edge_cm(lambda z: b_z(0.8 * min(r_cm, 1000.0), z))
    outside = b_z(r_cm + 1e-6, 0.0) if math.isfinite(r_cm) else inside
    return SolenoidField(
        b_inside_tesla=round(inside, 9),
        b_outside_tesla=round(outside, 9),
        r_mm=round(r_cm * _MM, 6) if math.isfinite(r_cm) else 1e9,
        half_z_mm=round(z_cm * _MM, 6) if math.isfinite(z_cm) else 1e9,
    )
