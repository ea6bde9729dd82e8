# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of the hot path: mid-plane point to cellID."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ddcalogen.errors import GeometryError
from ddcalogen.geometry.description import Geometry

__all__ = ["LocateBenchmark", "bench_locate"]


@dataclass(frozen=True, kw_only=True)
class LocateBenchmark:
    """Processor time per look-up on one core, points spread as in showers and over the whole detector."""

    detector: str
    points: int
    shower_ns: float
    random_ns: float
    found_fraction: float


def bench_locate(
    geometry: Geometry, points: int = 1_000_000, *, detector: str = "EcalBarrel", seed: int = 1
) -> LocateBenchmark:
    """Time `locate_in_plane`.

    "shower": clusters of 3000 points (a photon of 50 GeV) with a width of 20 mm around random axes, through one plane
    of every layer of a stave or endcap, as placement asks for them. "random": every point in a random plane of the
    detector, the worst case for the caches.

    Raises GeometryError for an unknown detector.
    """
    surfaces = geometry.surfaces
    index = surfaces.detector_index(detector)
    planes = surfaces.planes
    mine = np.array([i for i, plane in enumerate(planes) if plane.detector == index], dtype=np.uint32)
    if not len(mine):
        raise GeometryError(f"detector {detector} has no sensitive plane")
    low = np.array([[planes[i].u_min_mm, planes[i].v_min_mm] for i in mine])
    high = np.array([[planes[i].u_max_mm, planes[i].v_max_mm] for i in mine])
    generator = np.random.default_rng(seed)

    pick = generator.integers(len(mine), size=points)
    random_uv = generator.uniform(low[pick], high[pick])

    normals = np.array([planes[i].normal for i in mine])
    per_shower = 3000
    showers = -(-points // per_shower)
    axes = generator.integers(len(mine), size=showers)
    layers = np.array([planes[i].layer for i in mine])
    same = []
    for a in range(len(mine)):
        parallel = np.flatnonzero(normals @ normals[a] > 1 - 1e-9)
        same.append(parallel[np.unique(layers[parallel], return_index=True)[1]])
    stack = np.concatenate([generator.choice(same[a], per_shower) for a in axes])[:points]
    centre = np.repeat(generator.uniform(low[axes], high[axes]), per_shower, axis=0)[:points]
    shower_uv = centre + generator.normal(0.0, 20.0, (points, 2))

    shower_s = min(surfaces.time_locate_in_plane(mine[stack], shower_uv)[0] for _ in range(5))
    random_s = min(surfaces.time_locate_in_plane(mine[pick], random_uv)[0] for _ in range(5))
    found = surfaces.locate_in_plane(mine[pick[:10000]], random_uv[:10000]) != 0
    return LocateBenchmark(
        detector=detector,
        points=points,
        shower_ns=shower_s / points * 1e9,
        random_ns=random_s / points * 1e9,
        found_fraction=float(found.mean()),
    )
