# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Transport of stable particles from their vertex to the calorimeter face, without material.

A charged particle in the uniform solenoid field B along z follows a helix whose direction turns by psi(s) = -q B s / p
about z after the path length s. The condition "on the plane n.r = d" (n perpendicular to z) is then a quadratic
equation in tan(psi/2), or, written for tau = tan(psi/2) / (dpsi/ds), a quadratic equation that goes over into
the straight line without loss of precision:

    w (f0 w + 2 B) tau^2 + 2 A tau + f0 = 0,   w = dpsi/ds, f0 = n.r0 - d, A = n.u0, B = n.(z x u0).

Both crossings per turn follow in closed form, so that the first crossing is found whatever the curvature. The volume in
front of the calorimeters, inside all barrel planes and between the two end planes, is convex: the first plane crossed
from inside is the face that the particle meets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ddcalogen.errors import GeometryError, InputError
from ddcalogen.sources.events import STABLE, GeneratorEvent, particle_properties

if TYPE_CHECKING:
    from ddcalogen.geometry import CalorimeterFace, Geometry

__all__ = ["CalorimeterEntries", "EntryStatus", "transport"]

Floats = npt.NDArray[np.float64]

_SPEED_OF_LIGHT_MM_PER_NS = 299.792458
_GEV_PER_TESLA_MM = 0.299792458e-3  # momentum of a unit charge = this * field * radius of curvature
_ON_PLANE_MM = 1e-6  # a vertex this close to a face is on it
_INVISIBLE = frozenset(
    {12, 14, 16, 18, 39, 1000012, 1000014, 1000016, 1000022, 1000039, 2000012, 2000014, 2000016, *range(51, 61)}
)  # neutrinos, graviton, lightest supersymmetric particles, dark matter (PDG numbering scheme, items 9-11)


class EntryStatus(IntEnum):
    """What becomes of a stable particle on its way to the calorimeters."""

    ENTERED = 0
    """Meets the front face `face`."""
    BEAM_HOLE = 1
    """Leaves through the hole for the beam pipe."""
    GAP = 2
    """Passes the end plane where no calorimeter has a front face (between barrel, endcap and plug)."""
    CURLS = 3
    """Has not reached a calorimeter within the path limit."""
    INVISIBLE = 4
    """Does not interact: neutrinos and the like."""
    AT_REST = 5
    """Has no momentum."""
    DECAYS = 6
    """More likely than not decays before the face (proper time of flight above its half-life)."""
    OUTSIDE = 7
    """Its vertex is not in the volume in front of the calorimeters."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CalorimeterEntries:
    """Where the N stable particles of an event meet the calorimeters; structure of arrays, global frame.

    particle: int32 [N], index into the event's particles, rising; pdg: int32 [N]; status: int8 [N] (`EntryStatus`);
    face: int16 [N], index into `Geometry.faces`, -1 = none;
    sector: int16 [N], barrel: k of the plane with normal at phi0 + 2 pi k / symmetry; endcap: 0 for z > 0, 1 for z < 0;
    -1 = none;
    position_mm, momentum_gev, normal: float64 [N,3]; normal is the unit normal of the face, into the calorimeter;
    time_ns (vertex time + path / velocity), path_mm, mass_gev, charge (e): float64 [N];
    cos_angle: float64 [N], cosine of the angle between momentum and normal.
    Where the status is BEAM_HOLE or GAP, position, momentum, time and path are those at the end plane; normal and
    cos_angle need a face. Numbers that do not exist are NaN.
    """

    particle: npt.NDArray[np.int32]
    pdg: npt.NDArray[np.int32]
    status: npt.NDArray[np.int8]
    face: npt.NDArray[np.int16]
    sector: npt.NDArray[np.int16]
    position_mm: Floats
    momentum_gev: Floats
    normal: Floats
    time_ns: Floats
    path_mm: Floats
    mass_gev: Floats
    charge: Floats
    cos_angle: Floats

    def __len__(self) -> int:
        return len(self.particle)

    @property
    def entered(self) -> npt.NDArray[np.bool_]:
        """Which particles meet a calorimeter face, bool [N]."""
        return np.equal(self.status, EntryStatus.ENTERED)

    @property
    def direction(self) -> Floats:
        """Unit vector of the momentum at entry, float64 [N,3]."""
        return np.asarray(self.momentum_gev / np.sqrt((self.momentum_gev**2).sum(axis=1, keepdims=True)))

    @property
    def kinetic_energy_gev(self) -> Floats:
        """Kinetic energy at entry, GeV, float64 [N]."""
        squared = (self.momentum_gev**2).sum(axis=1)
        total = np.sqrt(squared + self.mass_gev**2)
        return np.asarray(squared / (total + self.mass_gev))  # no cancellation for slow particles


def transport(
    event: GeneratorEvent,
    geometry: Geometry,
    *,
    detectors: Collection[str] | None = None,
    max_path_mm: float = 1e5,
) -> CalorimeterEntries:
    """Move every stable particle (generator status 1) of `event` to the first calorimeter face on its way.

    Parameters
    ----------
    geometry
        Uses `faces` and `field`. Of the barrels the innermost counts; end faces are tried from the smallest |z| on.
    detectors
        Names of the detectors whose faces count; all when left out.
    max_path_mm
        Particles with a longer way are given up as CURLS.

    Raises
    ------
    InputError
        A stable particle with a vertex, momentum, time, mass or charge that is not finite, or with negative mass.
    GeometryError
        No faces, faces the transport cannot describe, or faces outside of the solenoid.
    """
    volume = _Volume.of(geometry, detectors)
    particles = event.particles
    index = np.flatnonzero(particles.generator_status == STABLE).astype(np.int32)
    pdg = particles.pdg[index]
    vertex = particles.vertex_mm[index]
    momentum = particles.momentum_gev[index]
    mass = particles.mass_gev[index]
    charge = particles.charge[index].astype(np.float64)
    start_ns = particles.time_ns[index].astype(np.float64)
    _check(event, index, np.column_stack((vertex, momentum, mass, charge, start_ns)), mass)

    p = np.sqrt((momentum**2).sum(axis=1))
    moving = p > 0.0
    unit = np.divide(momentum, p[:, None], out=np.zeros_like(momentum), where=moving[:, None])
    turn = np.divide(
        -_GEV_PER_TESLA_MM * geometry.field.b_inside_tesla * charge, p, out=np.zeros_like(p), where=moving
    )  # rad / mm

    status = np.full(len(index), EntryStatus.CURLS, np.int8)
    face = np.full(len(index), -1, np.int16)
    sector = np.full(len(index), -1, np.int16)
    normal = np.full((len(index), 3), np.nan)
    path = np.full(len(index), np.inf)

    status[~volume.contains(vertex)] = EntryStatus.OUTSIDE
    status[~moving] = EntryStatus.AT_REST
    status[np.isin(np.abs(pdg), list(_INVISIBLE))] = EntryStatus.INVISIBLE
    alive = status == EntryStatus.CURLS

    to_plane, plane = volume.first_barrel_crossing(vertex, unit, turn)
    to_end = _path_to_z(vertex[:, 2], unit[:, 2], volume.end_mm)
    z_at_plane = vertex[:, 2] + np.where(np.isfinite(to_plane), to_plane, 0.0) * unit[:, 2]
    barrel = alive & (to_plane <= max_path_mm) & (to_plane <= to_end) & (np.abs(z_at_plane) <= volume.barrel_half_z_mm)
    if volume.barrel is not None:
        face[barrel], sector[barrel], path[barrel] = volume.barrel, plane[barrel], to_plane[barrel]
        normal[barrel, :2], normal[barrel, 2] = volume.normals[plane[barrel]], 0.0
        status[barrel] = EntryStatus.ENTERED

    open_end = alive & ~barrel & (to_end <= max_path_mm)
    at_end = _positions(vertex, unit, turn, np.where(open_end, to_end, 0.0))
    path[open_end] = to_end[open_end]
    status[open_end] = np.where(volume.in_beam_hole(at_end[open_end]), EntryStatus.BEAM_HOLE, EntryStatus.GAP)
    for number, end_face in zip(volume.ends, volume.end_faces, strict=True):
        to_face = _path_to_z(vertex[:, 2], unit[:, 2], end_face.distance_mm)
        tried = np.flatnonzero((status == EntryStatus.GAP) & (to_face <= max_path_mm))
        there = _positions(vertex[tried], unit[tried], turn[tried], to_face[tried])
        hit = tried[_on_end_face(end_face, there)]
        face[hit], sector[hit], path[hit] = number, unit[hit, 2] < 0.0, to_face[hit]
        normal[hit] = np.sign(unit[hit, 2])[:, None] * [0.0, 0.0, 1.0]
        status[hit] = EntryStatus.ENTERED

    crossed = np.isin(status, (EntryStatus.ENTERED, EntryStatus.BEAM_HOLE, EntryStatus.GAP))
    half_life = np.array([_half_life_ns(int(code)) for code in pdg])
    path = np.where(crossed, path, np.nan)
    proper_ns = np.divide(path * mass, p * _SPEED_OF_LIGHT_MM_PER_NS, out=np.zeros_like(p), where=crossed)
    decays = crossed & (proper_ns > half_life)
    status[decays] = EntryStatus.DECAYS
    face[decays], sector[decays], normal[decays] = -1, -1, np.nan
    crossed &= ~decays

    path[decays] = np.nan
    direction = _directions(unit, turn, path)
    slowness = np.divide(np.hypot(p, mass), p, out=np.full_like(p, np.nan), where=moving) / _SPEED_OF_LIGHT_MM_PER_NS
    return CalorimeterEntries(
        particle=index,
        pdg=pdg,
        status=status,
        face=face,
        sector=sector,
        position_mm=_positions(vertex, unit, turn, path),
        momentum_gev=direction * p[:, None],
        normal=normal,
        time_ns=start_ns + path * slowness,
        path_mm=path,
        mass_gev=mass,
        charge=charge,
        cos_angle=(direction * normal).sum(axis=1),
    )


def _check(event: GeneratorEvent, index: npt.NDArray[np.int32], numbers: Floats, mass: Floats) -> None:
    bad = np.flatnonzero(~np.isfinite(numbers).all(axis=1) | (mass < 0.0))
    if bad.size:
        raise InputError(
            f"a stable particle of event {event.event_number} cannot be transported",
            found=f"particle {index[bad[0]]} with x, y, z, px, py, pz, mass, charge, time {numbers[bad[0]].tolist()}",
            expected="finite numbers and a mass that is not negative",
            remedy="Correct the event file.",
        )


@lru_cache(maxsize=4096)
def _half_life_ns(pdg: int) -> float:
    return particle_properties(pdg).lifetime_ns * float(np.log(2.0))


def _positions(start: Floats, unit: Floats, turn: Floats, path: Floats) -> Floats:
    """Positions after `path` mm from `start`; NaN path gives NaN."""
    angle = turn * path
    along = path * np.sinc(angle / np.pi)  # integral of cos(turn s) ds
    across = path * np.sin(0.5 * angle) * np.sinc(0.5 * angle / np.pi)  # integral of sin(turn s) ds
    ux, uy, uz = unit.T
    return np.asarray(start + np.column_stack((ux * along - uy * across, uy * along + ux * across, uz * path)))


def _directions(unit: Floats, turn: Floats, path: Floats) -> Floats:
    """Directions after `path` mm."""
    cosine, sine = np.cos(turn * path), np.sin(turn * path)
    ux, uy, uz = unit.T
    return np.column_stack((ux * cosine - uy * sine, uy * cosine + ux * sine, np.where(np.isnan(path), np.nan, uz)))


def _path_to_z(z: Floats, uz: Floats, end_mm: float) -> Floats:
    """Path to the plane |z| = `end_mm` ahead of a particle between them; infinite if it does not move in z."""
    with np.errstate(over="ignore"):
        return np.divide(np.sign(uz) * end_mm - z, uz, out=np.full_like(z, np.inf), where=uz != 0.0)


def _plane_normals(symmetry: int, phi0_rad: float) -> Floats:
    phi = phi0_rad + 2.0 * np.pi * np.arange(symmetry) / symmetry
    return np.column_stack((np.cos(phi), np.sin(phi)))


def _inside_polygon(xy: Floats, apothem_mm: float, symmetry: int, phi0_rad: float) -> npt.NDArray[np.bool_]:
    """Points in a regular polygon round the origin; symmetry 0 is a circle."""
    if symmetry == 0:
        return np.less_equal(np.hypot(xy[:, 0], xy[:, 1]), apothem_mm)
    return np.asarray((xy @ _plane_normals(symmetry, phi0_rad).T).max(axis=1) <= apothem_mm)


def _in_hole(face: CalorimeterFace, position: Floats) -> npt.NDArray[np.bool_]:
    return _inside_polygon(position[:, :2] - face.hole_centre_mm, face.r_inner_mm, face.hole_symmetry, 0.0)


def _on_end_face(face: CalorimeterFace, position: Floats) -> npt.NDArray[np.bool_]:
    inside = _inside_polygon(position[:, :2], face.r_outer_mm, face.symmetry, face.phi0_rad)
    return np.asarray(inside & ~_in_hole(face, position))


@dataclass(frozen=True)
class _Volume:
    """The convex volume in front of the calorimeters, and the faces around it (numbers into `Geometry.faces`)."""

    barrel: int | None
    ends: tuple[int, ...]  # by rising |z|
    end_faces: tuple[CalorimeterFace, ...]
    normals: Floats  # barrel planes, [K,2]
    apothem_mm: float
    barrel_half_z_mm: float
    end_mm: float

    @classmethod
    def of(cls, geometry: Geometry, detectors: Collection[str] | None) -> _Volume:
        faces = geometry.faces
        known = {face.detector for face in faces}
        if detectors is not None and not known.issuperset(detectors):
            raise GeometryError(
                "a detector has no calorimeter face",
                found=", ".join(sorted(set(detectors) - known)),
                expected=f"names out of {', '.join(sorted(known))}",
            )
        used = [i for i, face in enumerate(faces) if detectors is None or face.detector in detectors]
        if not used:
            raise GeometryError(
                "the geometry has no calorimeter faces, so nothing can be transported to them",
                remedy="Use a snapshot with calorimeters.",
            )
        barrel = min((i for i in used if faces[i].kind == "barrel"), key=lambda i: faces[i].distance_mm, default=None)
        ends = tuple(sorted((i for i in used if faces[i].kind == "endcap"), key=lambda i: faces[i].distance_mm))
        field = geometry.field
        end = max((faces[i].distance_mm for i in ends), default=0.0)
        if barrel is None:
            normals, apothem, half_z, corner = np.zeros((0, 2)), np.inf, 0.0, 0.0
        else:
            face = faces[barrel]
            if face.symmetry < 3:
                raise GeometryError(
                    f"the barrel {face.detector} is not a polygon",
                    found=f"symmetry {face.symmetry}",
                    expected="3 or more planes",
                )
            normals, apothem, half_z = _plane_normals(face.symmetry, face.phi0_rad), face.distance_mm, face.z_max_mm
            corner = apothem / np.cos(np.pi / face.symmetry)
        if corner > field.r_mm or max(end, half_z) > field.half_z_mm:
            raise GeometryError(
                "the calorimeter faces are not inside the solenoid field, the only field the transport knows",
                found=f"faces up to r = {corner:.1f} mm and |z| = {max(end, half_z):.1f} mm",
                expected=f"r < {field.r_mm:.1f} mm and |z| < {field.half_z_mm:.1f} mm",
            )
        front = min((faces[i].distance_mm for i in ends), default=half_z)
        return cls(barrel, ends, tuple(faces[i] for i in ends), normals, apothem, half_z, front)

    def contains(self, position: Floats) -> npt.NDArray[np.bool_]:
        """Points in the volume or on its surface."""
        inside = np.abs(position[:, 2]) <= self.end_mm + _ON_PLANE_MM
        if self.barrel is not None:
            inside &= (position[:, :2] @ self.normals.T).max(axis=1) <= self.apothem_mm + _ON_PLANE_MM
        return inside

    def in_beam_hole(self, position: Floats) -> npt.NDArray[np.bool_]:
        """Points at the first end plane that are in the hole of every end face there."""
        holes = [_in_hole(face, position) for face in self.end_faces if face.distance_mm <= self.end_mm]
        return np.logical_and.reduce(holes) if holes else np.zeros(len(position), np.bool_)

    def first_barrel_crossing(self, start: Floats, unit: Floats, turn: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
        """Path to the first of the barrel planes (infinite where none is met) and its number.

        `start` [N,3] in the volume, `unit` [N,3], `turn` dpsi/ds in rad/mm [N].
        """
        if self.barrel is None:
            return np.full(len(start), np.inf), np.zeros(len(start), np.intp)
        w = turn[:, None]
        f0 = start[:, :2] @ self.normals.T - self.apothem_mm
        f0 = np.where(np.abs(f0) <= _ON_PLANE_MM, 0.0, f0)
        A = unit[:, :2] @ self.normals.T
        B = np.column_stack((-unit[:, 1], unit[:, 0])) @ self.normals.T
        a = w * (f0 * w + 2.0 * B)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            root = np.sqrt(A * A - a * f0)  # NaN: the circle does not reach the plane
            q = -(A + np.copysign(root, A))
            paths = np.stack((_path_of_tau(q, a, w), _path_of_tau(f0, q, w)))
            paths = np.where(paths > 0.0, paths, np.inf)  # NaN compares false
        first = np.where((f0 == 0.0) & (A > 0.0), 0.0, paths.min(axis=0))
        plane = first.argmin(axis=1)
        return np.take_along_axis(first, plane[:, None], axis=1)[:, 0], plane


def _path_of_tau(numerator: Floats, denominator: Floats, w: Floats) -> Floats:
    """First path s >= 0 with tan(w s / 2) / w = numerator / denominator; the straight line where w = 0."""
    psi = 2.0 * np.arctan2(w * numerator, denominator)
    return np.where(w == 0.0, 2.0 * numerator / denominator, np.mod(psi * np.sign(w), 2.0 * np.pi) / np.abs(w))
