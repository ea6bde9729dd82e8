# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Interactive three-dimensional picture of one event: one HTML file that needs nothing but a browser with WebGL 2."""

from __future__ import annotations

import base64
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep import Event
from ddcalogen.files import replace_when_complete
from ddcalogen.geometry import CalorimeterFace, Geometry
from ddcalogen.sources.events import particle_properties

__all__ = ["event_scene", "write_display"]

Doubles = npt.NDArray[np.float64]
_TEMPLATE = "display.html"
_LEAST_TRACK_GEV = 0.1
_TRACK_POINTS = 48


def _packed(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values, np.float32).tobytes()).decode()


def _boxes(geometry: Geometry | None, cell_id: npt.NDArray[np.uint64], centre: Doubles) -> tuple[Doubles, Doubles]:
    """Axes u, v (float64 [N,6]) and half sizes along u, v and the normal (float64 [N,3], mm) of cells.

    Cells that the geometry does not have, or all without one, become small cubes.
    """
    n = len(cell_id)
    axes = np.tile(np.array([1.0, 0, 0, 0, 1.0, 0]), (n, 1))
    half = np.full((n, 3), 2.5)
    if geometry is None or n == 0:
        return axes, half
    surfaces = geometry.surfaces
    planes = surfaces.planes
    plane = np.asarray(surfaces.plane_of(cell_id))
    known = np.flatnonzero(plane >= 0)
    u_axis = np.array([p.u_axis for p in planes])[plane[known]]
    v_axis = np.array([p.v_axis for p in planes])[plane[known]]
    uv = np.stack([(centre[known] * u_axis).sum(axis=1), (centre[known] * v_axis).sum(axis=1)], axis=1)
    size = np.full((len(known), 2), 2.5)
    for number in np.unique(plane[known]):
        mine = np.flatnonzero(plane[known] == number)
        found, rectangle = surfaces.rectangles_in_plane(int(number), uv[mine])
        same = found == cell_id[known[mine]]  # a half cell at a wafer's edge may not hold its nominal centre
        size[mine[same]] = (rectangle[same][:, [1, 3]] - rectangle[same][:, [0, 2]]) / 2
    axes[known] = np.concatenate([u_axis, v_axis], axis=1)
    # thin sensors would be invisible from the side
    thickness = np.array([p.half_thickness_mm for p in planes])[plane[known]]
    half[known] = np.column_stack([size, np.maximum(0.6, thickness)])
    return axes, half


def _ring(face: CalorimeterFace, apothem: float, z: float) -> list[list[float]]:
    symmetry = max(face.symmetry, 3)
    angle = face.phi0_rad + (np.arange(symmetry + 1) - 0.5) * 2 * np.pi / symmetry
    radius = apothem / np.cos(np.pi / symmetry)
    return [[float(radius * np.cos(a)), float(radius * np.sin(a)), z] for a in angle]


def _outline(geometry: Geometry | None) -> list[dict[str, Any]]:
    """Polylines of the calorimeters: points in mm."""
    if geometry is None:
        return []
    lines = []
    for face in geometry.faces:
        if not face.detector.lower().startswith(("ecal", "hcal")) or any(
            word in face.detector.lower() for word in ("plug", "ring")
        ):
            continue
        kind = "ecal" if face.detector.lower().startswith("ecal") else "hcal"
        if face.kind == "barrel":
            for apothem in (face.distance_mm, face.r_outer_mm):
                rings = [_ring(face, apothem, z) for z in (-face.z_max_mm, face.z_max_mm)]
                lines += [{"kind": kind, "points": ring} for ring in rings]
                lines += [{"kind": kind, "points": [a, b]} for a, b in zip(*rings, strict=True)]
        else:
            for sign in (-1.0, 1.0):
                rings = [_ring(face, face.r_outer_mm, sign * z) for z in (face.z_min_mm, face.z_max_mm)]
                lines += [{"kind": kind, "points": ring} for ring in rings]
                lines += [{"kind": kind, "points": [a, b]} for a, b in zip(*rings, strict=True)]
    return lines


def _flight(start: Doubles, end: Doubles, momentum: Doubles, charge: float, b_tesla: float) -> Doubles:
    """Points on the way from start to end, float64 [K,3]: straight, or on the helix in the field (less than
    half a turn)."""
    pt = float(np.hypot(momentum[0], momentum[1]))
    chord = float(np.hypot(*(end - start)[:2]))
    if charge == 0 or b_tesla == 0 or pt < 1e-6 or chord < 1e-6:
        return np.stack([start, end])
    radius = pt / (2.99792458e-4 * abs(charge * b_tesla))
    if chord >= 2 * radius:
        return np.stack([start, end])
    turn = 2 * np.arcsin(chord / (2 * radius)) * np.linspace(0, 1, _TRACK_POINTS)
    sign = -np.sign(charge * b_tesla)
    phi = np.arctan2(momentum[1], momentum[0])
    x = start[0] + sign * radius * (np.sin(phi + sign * turn) - np.sin(phi))
    y = start[1] - sign * radius * (np.cos(phi + sign * turn) - np.cos(phi))
    return np.column_stack([x, y, start[2] + (end[2] - start[2]) * np.linspace(0, 1, _TRACK_POINTS)])


def _tracks(event: Event, geometry: Geometry | None) -> list[dict[str, Any]]:
    p = event.particles
    field = geometry.field.b_inside_tesla if geometry is not None and geometry.field is not None else 0.0
    energy = np.sqrt((p.momentum_gev**2).sum(axis=1) + p.mass_gev**2)
    length = np.linalg.norm(p.endpoint_mm - p.vertex_mm, axis=1)
    tracks = []
    for i in np.flatnonzero((p.generator_status == 1) & (energy > _LEAST_TRACK_GEV) & (length > 1.0)):
        charge = float(p.charge[i])
        points = _flight(p.vertex_mm[i], p.endpoint_mm[i], p.momentum_gev[i], charge, field)
        tracks.append({
            "name": particle_properties(int(p.pdg[i])).name,
            "energy": round(float(energy[i]), 3),
            "charge": charge,
            "points": np.round(points, 1).tolist(),
        })  # fmt: skip
    return tracks


def event_scene(event: Event, geometry: Geometry | None) -> dict[str, Any]:
    """Return what the page shows, as plain data; arrays of float32 in base64.

    Parameters
    ----------
    event
        With calorimeter hits.
    geometry
        Its detector, for the shapes of cells, the outline and the field; None if it is not known.
    """
    names = [name for name, hits in sorted(event.calorimeter_hits.items()) if len(hits)]
    filled = [event.calorimeter_hits[name] for name in names]
    empty = np.zeros(0)
    cell = np.concatenate([h.cell_id for h in filled]) if filled else empty.astype(np.uint64)
    centre = np.concatenate([h.position_mm for h in filled]).astype(float) if filled else empty.reshape(0, 3)
    energy = np.concatenate([h.energy_gev for h in filled]) if filled else empty
    collection = np.repeat(np.arange(len(names)), [len(h) for h in filled])
    axes, half = _boxes(geometry, cell, centre)
    layer = np.full(len(cell), -1)
    if geometry is not None and len(cell):
        plane = np.asarray(geometry.surfaces.plane_of(cell))
        layer = np.where(plane >= 0, np.array([p.layer for p in geometry.surfaces.planes])[plane], -1)
    return {
        "detector": "" if geometry is None else geometry.name,
        "event": event.event_number,
        "collections": names,
        "cells": len(cell),
        "cell_id": base64.b64encode(np.ascontiguousarray(cell, "<u8").tobytes()).decode(),
        "layer": _packed(layer),
        "centre": _packed(centre),
        "axes": _packed(axes),
        "half": _packed(half),
        "energy": _packed(energy * 1e3),
        "collection": _packed(collection),
        "outline": _outline(geometry),
        "tracks": _tracks(event, geometry),
    }


def write_display(event: Event, geometry: Geometry | None, path: Path, source: str = "") -> None:
    """Write the page.

    Parameters
    ----------
    event, geometry
        As for `event_scene`.
    path
        HTML file.
    source
        Where the event comes from, for the title.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    scene = event_scene(event, geometry)
    title = f"{source + ', ' if source else ''}event {event.event_number}"
    template = (resources.files("ddcalogen") / _TEMPLATE).read_text(encoding="utf-8")
    data = json.dumps(scene, separators=(",", ":")).replace("</", "<\\/")
    heading = html.escape(title).replace("_", "_<wbr>")  # long file names break after their underscores
    page = template.replace("@TITLE@", html.escape(title)).replace("@HEADING@", heading).replace("@SCENE@", data)
    with replace_when_complete(path) as partial:
        partial.write_text(page, encoding="utf-8")
