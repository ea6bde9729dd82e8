# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Where showers of the shower frame are put into the detector: in a barrel stave, at its edge, at a gap, an endcap."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.data import Showers

__all__ = ["REGIONS", "Region", "barrel_entries", "entries_in", "region_text"]

Doubles = NDArray[np.float64]
Region = Literal["barrel", "stave corner", "module gap", "endcap"]
REGIONS: tuple[Region, ...] = ("barrel", "stave corner", "module gap", "endcap")

_WHOLE = 28 / 30
"""Part of the layers that must have a cell on the straight way."""
_LEAST_GAP_MM = 5.0
"""Narrower gaps, those between wafers and towers, are everywhere."""
_CORNER_MM = (60.0, 20.0)
"""How far inside and outside the line where a stave's layers begin to lack its corner reaches."""
_BESIDE_GAP_MM = 10.0
_TRIES = 20
_ENDCAP_RADIUS_MM = (650.0, 1600.0)
_STAVE_HALF_MM = (1800.0, 250.0)
"""Along the beam and across, from the middle of a stave."""


@dataclasses.dataclass(frozen=True)
class _Face:
    """One stack of layers: index, axes (rows: x, y, normal), distance of its face and depth of its planes."""

    index: int
    axes: Doubles
    face_mm: float
    depth_mm: Doubles

    def point(self, x: Doubles, y: Doubles, depth: float | Doubles = 0.0) -> Doubles:
        """Global positions, float64 [..., 3]."""
        x, y, z = np.broadcast_arrays(x, y, self.face_mm + np.asarray(depth))
        return np.asarray(np.stack([x, y, z], axis=-1) @ self.axes, np.float64)

    def seen(self, generator: Generator, x: Doubles, y: Doubles, direction: Doubles) -> Doubles:
        """Part of the layers that have a cell on the straight way from (x, y) on the face, float64 [N]."""
        tangent = direction[:, :2] / direction[:, 2:]
        depth = self.depth_mm[None, :]
        points = self.point(x[:, None] + tangent[:, :1] * depth, y[:, None] + tangent[:, 1:] * depth, depth)
        cells = np.asarray(generator.geometry.surfaces.locate(points.reshape(-1, 3)))
        return np.asarray((cells != 0).reshape(len(x), -1).mean(axis=1), np.float64)


def _face(generator: Generator, barrel: bool) -> _Face:
    stacks = generator.stacks
    for i in range(len(stacks)):
        f = stacks.frame(i)
        if (abs(f["normal"][2]) < 0.5) == barrel:
            axes = np.array([f["x_axis"], f["y_axis"], f["normal"]])
            return _Face(i, axes, float(f["face_mm"]), np.array(f["depth_mm"]))
    raise ConfigurationError(
        f"the calorimeter has no {'barrel' if barrel else 'endcap'}", found=generator.card.calorimeter.name
    )


def _scan(
    generator: Generator, face: _Face, along_x: bool, at: float, reach: float
) -> tuple[Doubles, NDArray[np.bool_]]:
    """Positions in steps of half a millimetre, and whether the straight way there crosses enough layers."""
    place = np.arange(-reach, reach, 0.5)
    other = np.full(len(place), at)
    straight = np.tile([0.0, 0.0, 1.0], (len(place), 1))
    x, y = (place, other) if along_x else (other, place)
    return place, face.seen(generator, x, y, straight) >= _WHOLE


def _gaps(generator: Generator, face: _Face) -> list[tuple[bool, float, float]]:
    """Gaps of at least 5 mm inside a stave: (whether across x, centre, half width)."""
    found = []
    # where the other coordinate is no gap itself
    for along_x, at, reach in ((True, 150.3, 2200.0), (False, 100.3, 400.0)):
        place, whole = _scan(generator, face, along_x, at, reach)
        edges = np.flatnonzero(np.diff(whole.astype(np.int8)))
        for a, b in itertools.pairwise(edges):
            if not whole[a + 1] and place[b] - place[a] >= _LEAST_GAP_MM:
                found.append((along_x, float(place[a] + place[b]) / 2, float(place[b] - place[a]) / 2))
    return found


def _corners(generator: Generator, face: _Face) -> list[float]:
    """Where, from the middle of the stave outwards, layers begin to lack for good: y in mm, below and above."""
    place, whole = _scan(generator, face, False, 100.3, 1500.0)
    steps = 40  # 20 mm: gaps between wafers are narrower than a quarter of it
    lacking = np.concatenate(([0], np.cumsum(~whole)))
    above = np.arange(len(place) - steps)
    found = []
    for side in (-1, 1):
        outside = place[above] > 400 if side > 0 else place[above + steps - 1] < -400
        here = ~whole[above if side > 0 else above + steps - 1]
        good = above[outside & here & (lacking[above + steps] - lacking[above] >= steps // 4)]
        found.append(float(place[good[0]] if side > 0 else place[good[-1] + steps - 1]))
    return found


def region_text(generator: Generator, region: Region) -> str:
    """What a region is, in words."""
    near = _beside_gap(generator)
    return {
        "barrel": "random points of a barrel stave, 250 mm to both sides of its middle",
        "stave corner": f"from {_CORNER_MM[0]:.0f} mm inside to {_CORNER_MM[1]:.0f} mm outside of the line where "
        "layers of a barrel stave begin to lack",
        "module gap": f"within {near:.0f} mm of a gap of at least {_LEAST_GAP_MM:.0f} mm between modules of the barrel",
        "endcap": f"an endcap, {_ENDCAP_RADIUS_MM[0]:.0f} to {_ENDCAP_RADIUS_MM[1]:.0f} mm from the beam",
    }[region]


def _beside_gap(generator: Generator) -> float:
    return _BESIDE_GAP_MM if generator.card.calorimeter.name == "ECAL" else 3 * _BESIDE_GAP_MM


def barrel_entries(generator: Generator, showers: Showers, rng: np.random.Generator) -> IncidentParticles:
    """Put showers on random points of one barrel stave, away from its edges, with their own directions."""
    n = len(showers)
    x, y = (rng.uniform(-half, half, n) for half in _STAVE_HALF_MM)
    return _particles(_face(generator, True), showers, x, y)


def entries_in(
    region: Region, generator: Generator, showers: Showers, rng: np.random.Generator
) -> IncidentParticles | None:
    """Put showers into a region, with their own directions relative to the layers; None if there is no such place.

    Showers that would start in a stack whose layers are turned against those of the region are put elsewhere in it.

    Raises
    ------
    ConfigurationError
        The calorimeter has no barrel, or no endcap.
    """
    if region == "barrel":
        return barrel_entries(generator, showers, rng)
    face = _face(generator, region != "endcap")
    particles = _draw(region, generator, face, showers, rng)
    for _ in range(_TRIES):
        if particles is None:
            return None
        astray = np.flatnonzero([
            generator.stacks.find_entry(p.tolist(), d.tolist()).get("stack") != face.index
            for p, d in zip(particles.position_mm, particles.direction, strict=True)
        ])  # fmt: skip
        if not len(astray):
            return particles
        again = _draw(region, generator, face, showers.select(astray), rng)
        if again is not None:
            particles.position_mm[astray] = again.position_mm
    return particles


def _draw(
    region: Region, generator: Generator, face: _Face, showers: Showers, rng: np.random.Generator
) -> IncidentParticles | None:
    n = len(showers)
    if region == "endcap":
        radius = np.sqrt(rng.uniform(_ENDCAP_RADIUS_MM[0] ** 2, _ENDCAP_RADIUS_MM[1] ** 2, n))
        angle = rng.uniform(0, 2 * np.pi, n)
        return _particles(face, showers, radius * np.cos(angle), radius * np.sin(angle))
    x, y = (rng.uniform(-half, half, n) for half in _STAVE_HALF_MM)
    if region == "module gap":
        gaps = _gaps(generator, face)
        if not gaps:
            return None
        for i, k in enumerate(rng.integers(0, len(gaps), n)):
            across_x, centre, half = gaps[k]
            place = centre + rng.uniform(-1, 1) * (half + _beside_gap(generator))
            (x if across_x else y)[i] = place
        return _particles(face, showers, x, y)
    low, high = _corners(generator, face)
    outwards = rng.uniform(-_CORNER_MM[0], _CORNER_MM[1], n)
    y = np.where(rng.random(n) < 0.5, low - outwards, high + outwards)
    return _particles(face, showers, x, y)


def _particles(face: _Face, showers: Showers, x: Doubles, y: Doubles) -> IncidentParticles:
    direction = showers.direction.astype(np.float64)
    n = len(showers)
    return IncidentParticles(
        pdg=showers.pdg,
        energy_gev=showers.energy_gev.astype(np.float64),
        position_mm=face.point(x, y),
        direction=(direction / np.linalg.norm(direction, axis=1, keepdims=True)) @ face.axes,
        time_ns=np.zeros(n),
        event=np.arange(n, dtype=np.uint64),
        particle=np.zeros(n, np.uint32),
    )
