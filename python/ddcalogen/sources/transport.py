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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ddcalogen.errors import GeometryError, InputError
from ddcalogen.sources.events import STABLE, GeneratorEvent, lifetimes_ns

if TYPE_CHECKING:
    from ddcalogen.geometry import CalorimeterFace, Geometry

__all__ = ["CalorimeterEntries", "EntryStatus", "transport"]

Floats = npt.NDArray[np.float64]

_SPEED_OF_LIGHT_MM_PER_NS = 299.792458
_GEV_PER_TESLA_MM = 0.299792458e-3  # momentum of a unit charge = this * field * radius of curvature
_AT_REST_GEV = 1e-12
_LARGEST = 1e30  # more is nonsense, and would overflow
_ON_PLANE_MM = 1e-6  # a vertex this close to a face is on it
_INVISIBLE = (12, 14, 16, 18, 39, 1000012, 1000014, 1000016, 1000022, 1000039, *range(51, 61))
# neutrinos, graviton, lightest supersymmetric particles, dark matter (PDG numbering scheme, items 9-11)


class EntryStatus(IntEnum):
    """What becomes of a stable particle on its way to the calorimeters."""

    ENTERED = 0
    """Meets the front face `face`."""
    BEAM_HOLE = 1
    """Leaves through the hole for the beam pipe."""
    GAP = 2
    """Leaves where no calorimeter has a front face: between barrel, endcap and plug."""
    CURLS = 3
    """Has not reached a calorimeter within the path limit."""
    INVISIBLE = 4
    """Does not interact: neutrinos and the like."""
    AT_REST = 5
    """Has a momentum below 1 meV."""
    DECAYS = 6
    """More likely than not decays before the face (proper time of flight above its half-life)."""
    OUTSIDE = 7
    """Its vertex is not in the volume in front of the calorimeters."""


_CROSSING = (EntryStatus.ENTERED, EntryStatus.BEAM_HOLE, EntryStatus.GAP)


@dataclass(frozen=True, eq=False, kw_only=True)
class CalorimeterEntries:
    """Where the N stable particles of an event meet the calorimeters; structure of arrays, global frame.

    particle: int32 [N], index into the event's particles, rising; pdg: int32 [N]; status: int8 [N] (`EntryStatus`);
    face: int16 [N], index into `Geometry.faces`, -1 = none;
    sector: int16 [N], barrel: k of the plane with normal at phi0 + 2 pi k / symmetry; endcap: 0 at z > 0, 1 at z < 0;
    -1 = none;
    position_mm, momentum_gev, normal: float64 [N,3]; normal is the unit normal of the face, into the calorimeter;
    time_ns (vertex time + path / velocity), path_mm, mass_gev, charge (e): float64 [N];
    kinetic_energy_gev: float64 [N], the same at vertex and entry, and given for every particle;
    cos_angle: float64 [N], cosine of the angle between momentum and normal.
    Where the status is BEAM_HOLE or GAP, position, momentum, time and path are those where it leaves; normal and
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
    kinetic_energy_gev: Floats
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
        A stable particle with a vertex, momentum, time, mass or charge that is not finite or above 1e30, or with
        negative mass.
    GeometryError
        No faces, faces the transport cannot describe, or faces outside of the solenoid.
    """
    faces = _Faces.of(geometry, detectors)
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

    half_life_ns = np.log(2.0) * lifetimes_ns(pdg)
    moving = p > _AT_REST_GEV
    with np.errstate(divide="ignore", invalid="ignore"):
        helices = _Helices(
            start=vertex,
            unit=momentum / p[:, None],
            turn=-_GEV_PER_TESLA_MM * geometry.field.b_inside_tesla * charge / p,
        )
        inverse_speed = np.hypot(p, mass) / (p * _SPEED_OF_LIGHT_MM_PER_NS)
        inverse_proper_speed = mass / (p * _SPEED_OF_LIGHT_MM_PER_NS)

    status = np.full(len(index), EntryStatus.CURLS, np.int8)
    status[~faces.around(vertex)] = EntryStatus.OUTSIDE
    status[~moving] = EntryStatus.AT_REST
    status[np.isin(np.abs(pdg), _INVISIBLE)] = EntryStatus.INVISIBLE

    on_the_way = np.flatnonzero(status == EntryStatus.CURLS)
    meeting = faces.first_met(helices.take(on_the_way), max_path_mm)
    met = np.isin(meeting.status, _CROSSING)
    decays = met & (meeting.path_mm * inverse_proper_speed[on_the_way] > half_life_ns[on_the_way])
    meeting.clear(decays, EntryStatus.DECAYS)
    status[on_the_way] = meeting.status

    def spread(values: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        full = np.full((len(index), *values.shape[1:]), empty, values.dtype)
        full[on_the_way] = values
        return full

    path = spread(meeting.path_mm, np.nan)
    normal = spread(meeting.normal, np.nan)
    direction = helices.direction(path)
    return CalorimeterEntries(
        particle=index,
        pdg=pdg,
        status=status,
        face=spread(meeting.face, -1),
        sector=spread(meeting.sector, -1),
        position_mm=helices.position(path),
        momentum_gev=direction * p[:, None],
        normal=normal,
        time_ns=start_ns + path * inverse_speed,
        path_mm=path,
        mass_gev=mass,
        kinetic_energy_gev=p * p / (np.hypot(p, mass) + np.where(moving, mass, 1.0)),  # no cancellation for slow ones
        charge=charge,
        cos_angle=(direction * normal).sum(axis=1),
    )


def _check(event: GeneratorEvent, index: npt.NDArray[np.int32], numbers: Floats, mass: Floats) -> None:
    bad = np.flatnonzero(~(np.abs(numbers) < _LARGEST).all(axis=1) | (mass < 0.0))  # NaN compares false
    if bad.size:
        raise InputError(
            f"a stable particle of event {event.event_number} cannot be transported",
            found=f"particle {index[bad[0]]}: x, y, z, px, py, pz, mass, charge, time = {numbers[bad[0]].tolist()}",
            expected="finite, sensible numbers and a mass that is not negative",
            remedy="Correct the event file.",
        )


@dataclass(frozen=True)
class _Helices:
    """start [N,3] mm; unit [N,3], direction there; turn [N], rotation about z per path, rad/mm (0: straight)."""

    start: Floats
    unit: Floats
    turn: Floats

    def take(self, selection: npt.NDArray[np.intp]) -> _Helices:
        return _Helices(self.start[selection], self.unit[selection], self.turn[selection])

    def position(self, path: Floats) -> Floats:
        """Positions after `path` mm [N]; NaN gives NaN."""
        angle = self.turn * path
        along = path * np.sinc(angle / np.pi)  # integral of cos(turn s) ds
        across = path * np.sin(0.5 * angle) * np.sinc(0.5 * angle / np.pi)  # integral of sin(turn s) ds
        ux, uy, uz = self.unit.T
        return np.asarray(self.start + np.column_stack((ux * along - uy * across, uy * along + ux * across, uz * path)))

    def direction(self, path: Floats) -> Floats:
        """Directions after `path` mm [N]; NaN gives NaN."""
        cosine, sine = np.cos(self.turn * path), np.sin(self.turn * path)
        ux, uy, uz = self.unit.T
        return np.column_stack((ux * cosine - uy * sine, uy * cosine + ux * sine, np.where(np.isnan(path), path, uz)))

    def path_to_end(self, end_mm: float) -> Floats:
        """Path to the plane |z| = `end_mm` ahead, from between the two; infinite without motion along z."""
        z, uz = self.start[:, 2], self.unit[:, 2]
        with np.errstate(over="ignore"):
            return np.divide(np.sign(uz) * end_mm - z, uz, out=np.full_like(z, np.inf), where=uz != 0.0)

    def path_to_planes(self, normals: Floats, distance_mm: float) -> Floats:
        """Path [N,K] to each plane n.r = distance, n [K,2] perpendicular to z, from behind it; infinite if not met."""
        w = self.turn[:, None]
        f0 = _components(self.start[:, 0], self.start[:, 1], normals) - distance_mm
        f0 = np.where(np.abs(f0) <= _ON_PLANE_MM, 0.0, f0)
        A = _components(self.unit[:, 0], self.unit[:, 1], normals)
        B = _components(-self.unit[:, 1], self.unit[:, 0], normals)
        a = w * (f0 * w + 2.0 * B)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            root = np.sqrt(A * A - a * f0)  # NaN: the circle does not reach the plane
            q = -(A + np.copysign(root, A))
            paths = np.stack((_path_of_tau(q, a, w), _path_of_tau(f0, q, w)))
        first = np.where(paths > 0.0, paths, np.inf).min(axis=0)  # NaN compares false
        return np.where((f0 == 0.0) & (A > 0.0), 0.0, first)


def _path_of_tau(numerator: Floats, denominator: Floats, w: Floats) -> Floats:
    """First path s >= 0 with tan(w s / 2) / w = numerator / denominator; the straight line where w = 0."""
    flip = np.where(denominator < 0.0, -1.0, 1.0)  # keeps small angles small, and so exact
    turned = 2.0 * np.arctan2(w * numerator * flip, denominator * flip) * np.sign(w)
    turned += np.where(turned < 0.0, 2.0 * np.pi, 0.0)
    return np.where(w == 0.0, 2.0 * numerator / denominator, turned / np.abs(w))


def _components(x: Floats, y: Floats, normals: Floats) -> Floats:
    """n.(x, y), [N,K]; not a matrix product, whose rounding depends on N."""
    return np.asarray(x[:, None] * normals[:, 0] + y[:, None] * normals[:, 1])


def _plane_normals(symmetry: int, phi0_rad: float) -> Floats:
    phi = phi0_rad + 2.0 * np.pi * np.arange(symmetry) / symmetry
    return np.column_stack((np.cos(phi), np.sin(phi)))


def _inside_polygon(xy: Floats, apothem_mm: float, symmetry: int, phi0_rad: float) -> npt.NDArray[np.bool_]:
    """Points in a regular polygon round the origin; symmetry 0 is a circle."""
    if symmetry == 0:
        return np.less_equal(np.hypot(xy[:, 0], xy[:, 1]), apothem_mm)
    return np.asarray(_components(xy[:, 0], xy[:, 1], _plane_normals(symmetry, phi0_rad)).max(axis=1) <= apothem_mm)


def _in_hole(face: CalorimeterFace, position: Floats) -> npt.NDArray[np.bool_]:
    return _inside_polygon(position[:, :2] - face.hole_centre_mm, face.r_inner_mm, face.hole_symmetry, 0.0)


def _on_end_face(face: CalorimeterFace, position: Floats) -> npt.NDArray[np.bool_]:
    inside = _inside_polygon(position[:, :2], face.r_outer_mm, face.symmetry, face.phi0_rad)
    return np.asarray(inside & ~_in_hole(face, position))


@dataclass
class _Meeting:
    """What N particles meet; columns as in `CalorimeterEntries`."""

    status: npt.NDArray[np.int8]
    face: npt.NDArray[np.int16]
    sector: npt.NDArray[np.int16]
    normal: Floats
    path_mm: Floats

    def clear(self, which: npt.NDArray[np.bool_], status: EntryStatus) -> None:
        self.status[which] = status
        self.face[which], self.sector[which] = -1, -1
        self.normal[which], self.path_mm[which] = np.nan, np.nan


@dataclass(frozen=True)
class _Faces:
    """The faces round the volume in front of the calorimeters; faces by their number in `Geometry.faces`."""

    barrel: tuple[int, CalorimeterFace] | None
    ends: tuple[tuple[int, CalorimeterFace], ...]  # by rising |z|
    normals: Floats  # of the barrel planes, [K,2]

    @classmethod
    def of(cls, geometry: Geometry, detectors: Collection[str] | None) -> _Faces:
        known = {face.detector for face in geometry.faces}
        if detectors is not None and not known.issuperset(detectors):
            raise GeometryError(
                "a detector has no calorimeter face",
                found=", ".join(sorted(set(detectors) - known)),
                expected=f"names out of {', '.join(sorted(known))}",
            )
        used = [(i, face) for i, face in enumerate(geometry.faces) if detectors is None or face.detector in detectors]
        if not used:
            raise GeometryError(
                "there is no calorimeter face that particles could be transported to",
                found=f"{len(known)} detectors with faces in {geometry.name}, of which none was chosen",
                remedy="Use a geometry with calorimeters.",
            )
        by_distance = sorted(used, key=lambda item: item[1].distance_mm)
        barrel = next((item for item in by_distance if item[1].kind == "barrel"), None)
        ends = tuple(item for item in by_distance if item[1].kind == "endcap")
        reach_z = max((face.distance_mm for _, face in ends), default=0.0)
        reach_r, normals = 0.0, np.zeros((0, 2))
        if barrel is not None:
            face = barrel[1]
            if face.symmetry < 3:
                raise GeometryError(
                    f"the barrel {face.detector} is not a polygon",
                    found=f"symmetry {face.symmetry}",
                    expected="3 or more planes",
                )
            normals = _plane_normals(face.symmetry, face.phi0_rad)
            reach_r, reach_z = face.distance_mm / np.cos(np.pi / face.symmetry), max(reach_z, face.z_max_mm)
        field = geometry.field
        if reach_r > field.r_mm or reach_z > field.half_z_mm:
            raise GeometryError(
                "the calorimeter faces are not inside the solenoid, where the transport knows the field",
                found=f"faces up to r = {reach_r:.1f} mm and |z| = {reach_z:.1f} mm",
                expected=f"r < {field.r_mm:.1f} mm and |z| < {field.half_z_mm:.1f} mm",
            )
        return cls(barrel, ends, normals)

    @property
    def first_end_mm(self) -> float:
        """|z| of the planes that close the volume."""
        if self.ends:
            return self.ends[0][1].distance_mm
        return self.barrel[1].z_max_mm if self.barrel else np.inf

    def around(self, position: Floats) -> npt.NDArray[np.bool_]:
        """Points in the volume or on its surface."""
        inside = np.abs(position[:, 2]) <= self.first_end_mm + _ON_PLANE_MM
        if self.barrel is not None:
            apothem = self.barrel[1].distance_mm + _ON_PLANE_MM
            inside &= _inside_polygon(position[:, :2], apothem, self.barrel[1].symmetry, self.barrel[1].phi0_rad)
        return np.asarray(inside)

    def first_met(self, helices: _Helices, max_path_mm: float) -> _Meeting:
        """The first face on the way of particles that start in the volume."""
        count = len(helices.turn)
        meeting = _Meeting(
            status=np.full(count, EntryStatus.CURLS, np.int8),
            face=np.full(count, -1, np.int16),
            sector=np.full(count, -1, np.int16),
            normal=np.full((count, 3), np.nan),
            path_mm=np.full(count, np.nan),
        )
        to_end = helices.path_to_end(self.first_end_mm)
        past_barrel = np.ones(count, np.bool_)
        if self.barrel is not None:
            number, face = self.barrel
            to_plane = helices.path_to_planes(self.normals, face.distance_mm)
            plane = to_plane.argmin(axis=1)
            path = to_plane.min(axis=1)
            near = path <= np.minimum(to_end, max_path_mm)
            z = helices.start[:, 2] + np.where(near, path, 0.0) * helices.unit[:, 2]
            in_front = np.abs(z) <= face.z_max_mm
            hit = np.flatnonzero(near & in_front)
            away = (z * helices.unit[:, 2] > 0.0) & (to_end <= max_path_mm)
            lost = np.flatnonzero(near & ~in_front & ~away)  # into the slit at the end of the barrel, for good
            past_barrel[hit], past_barrel[lost] = False, False
            meeting.status[lost], meeting.path_mm[lost] = EntryStatus.GAP, path[lost]
            meeting.status[hit], meeting.path_mm[hit] = EntryStatus.ENTERED, path[hit]
            meeting.face[hit], meeting.sector[hit] = number, plane[hit]
            meeting.normal[hit] = np.pad(self.normals, ((0, 0), (0, 1)))[plane[hit]]

        leaves = np.flatnonzero(past_barrel & (to_end <= max_path_mm))
        meeting.path_mm[leaves] = to_end[leaves]
        # of several faces (HCAL: a ring in front of the endcap) each has a hole of its own; the beam passes all
        leaving = helices.take(leaves)
        holes = [_in_hole(face, leaving.position(leaving.path_to_end(face.distance_mm))) for _, face in self.ends]
        in_hole = np.logical_and.reduce(holes) if holes else np.zeros(len(leaves), np.bool_)
        meeting.status[leaves] = np.where(in_hole, EntryStatus.BEAM_HOLE, EntryStatus.GAP)
        unmet = past_barrel & (meeting.status == EntryStatus.GAP)
        for number, face in self.ends:
            to_face = helices.path_to_end(face.distance_mm)
            tried = np.flatnonzero(unmet & (to_face <= max_path_mm))
            hit = tried[_on_end_face(face, helices.take(tried).position(to_face[tried]))]
            backward = helices.unit[hit, 2] < 0.0
            unmet[hit] = False
            meeting.status[hit], meeting.path_mm[hit] = EntryStatus.ENTERED, to_face[hit]
            meeting.face[hit], meeting.sector[hit] = number, backward
            meeting.normal[hit] = np.where(backward, -1.0, 1.0)[:, None] * (0.0, 0.0, 1.0)
        return meeting
