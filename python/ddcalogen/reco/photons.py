# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Photon clusters from the cells of one event.

Cells close to each other in space form groups (single linkage). In each group the cells are projected from the origin
onto the plane across the line of sight, where showers are narrow and photons stand apart; peaks of the energy density
there are photons, and every cell goes to the nearest peak.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from ddcalogen.errors import InputError

__all__ = ["Photons", "find_photons"]

Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Photons:
    """K clusters of one event, the most energetic first.

    energy_gev float64 [K] (sum of the cell energies given); centre_mm float64 [K,3] (energy-weighted mean); axis
    float64 [K,3] (unit vector along the cluster, pointing away from where photons come from; zero for fewer than 3
    cells); hits int64 [K]; label int64 [H], cluster of each cell, -1 where there is none.
    """

    energy_gev: Doubles
    centre_mm: Doubles
    axis: Doubles
    hits: NDArray[np.int64]
    label: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.energy_gev)

    @property
    def direction(self) -> Doubles:
        """Unit vectors from (0, 0, 0) to the centres, float64 [K,3]."""
        result: Doubles = self.centre_mm / np.linalg.norm(self.centre_mm, axis=1, keepdims=True)
        return result


def find_photons(
    position_mm: NDArray[np.floating],
    energy_gev: NDArray[np.floating],
    *,
    origin_mm: tuple[float, float, float] | NDArray[np.floating] = (0.0, 0.0, 0.0),
    link_mm: float = 20.0,
    smear_mm: float = 9.0,
    apart_mm: float = 14.0,
    least_fraction: float = 0.05,
    least_gev: float = 0.3,
    least_hits: int = 5,
) -> Photons:
    """Find photons in the cells of one event.

    Parameters
    ----------
    position_mm, energy_gev
        Cells, [H,3] and [H]; energies on the scale of the incident particles (calibrated), noise cut.
    origin_mm
        Where the photons come from.
    link_mm
        Cells closer than this belong to one group.
    smear_mm
        Radius of the disc in which the energy density around a cell is summed.
    apart_mm
        Smallest distance between two peaks.
    least_fraction, least_gev, least_hits
        A cluster must have this fraction of the energy of its group's strongest, this energy and this number of cells,
        else its cells go to the other peaks of its group, or to none.

    Raises
    ------
    InputError
        The arrays do not fit together or hold values that are not finite.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    origin = np.asarray(origin_mm, np.float64)
    position, energy = np.asarray(position_mm, np.float64) - origin, np.asarray(energy_gev, np.float64)
    n = len(energy)
    if position.shape != (n, 3) or energy.shape != (n,):
        raise InputError("cells do not pair up", found=f"{position.shape}, {energy.shape}", expected="[H,3] and [H]")
    if not (np.isfinite(position).all() and np.isfinite(energy).all()):
        raise InputError("cells with values that are not finite", expected="finite positions and energies")
    label = np.full(n, -1, np.int64)
    if n == 0:
        return Photons(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)), np.zeros(0, np.int64), label)
    pairs = cKDTree(position).query_pairs(link_mm, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    groups, group = connected_components(graph, directed=False)
    found = 0
    for g in range(groups):
        member = np.flatnonzero(group == g)
        if len(member) < least_hits or energy[member].sum() < least_gev:
            continue
        part = _split(position[member], energy[member], smear_mm, apart_mm, least_fraction, least_gev, least_hits)
        label[member] = part + found
        found += int(part.max()) + 1
    order = np.argsort(-np.bincount(label[label >= 0], energy[label >= 0], found), kind="stable")
    rank = np.empty(found, np.int64)
    rank[order] = np.arange(found)
    label[label >= 0] = rank[label[label >= 0]]
    centre, axis = np.zeros((found, 3)), np.zeros((found, 3))
    total, hits = np.zeros(found), np.zeros(found, np.int64)
    for k in range(found):
        mine = label == k
        total[k], hits[k] = energy[mine].sum(), mine.sum()
        centre[k] = energy[mine] @ position[mine] / total[k]
        if hits[k] >= 3:
            away = position[mine] - centre[k]
            axis[k] = np.linalg.eigh((away * energy[mine][:, None]).T @ away)[1][:, -1]
            axis[k] *= 1.0 if axis[k] @ centre[k] >= 0 else -1.0
    return Photons(total, centre + origin, axis, hits, label)


def _split(
    position: Doubles, energy: Doubles, smear: float, apart: float, fraction: float, least_gev: float, least_hits: int
) -> NDArray[np.int64]:
    """Peak of each cell of one group, int64 [H], from 0 without gaps."""
    from scipy.spatial import cKDTree

    sight = energy @ position / energy.sum()
    distance = float(np.linalg.norm(sight))
    sight = sight / distance
    side = np.cross(sight, np.eye(3)[np.argmin(np.abs(sight))])
    side /= np.linalg.norm(side)
    frame = np.stack([side, np.cross(sight, side)])
    depth = position @ sight
    flat = (position @ frame.T) * (distance / np.where(depth > 0.1 * distance, depth, distance))[:, None]
    tree = cKDTree(flat)
    a, b = tree.query_pairs(smear, output_type="ndarray").T
    n = len(energy)
    density = energy + np.bincount(a, energy[b], n) + np.bincount(b, energy[a], n)
    a, b = tree.query_pairs(apart, output_type="ndarray").T
    highest = density >= 0.5 * fraction * density.max()
    highest[np.where(density[a] >= density[b], b, a)] = False
    peaks = np.flatnonzero(highest).tolist()
    while True:
        part = np.asarray(cKDTree(flat[peaks]).query(flat)[1], np.int64)
        total = np.bincount(part, energy, len(peaks))
        weak = np.flatnonzero(
            (total < max(least_gev, fraction * total.max())) | (np.bincount(part, minlength=len(peaks)) < least_hits)
        )
        if len(peaks) == 1 or len(weak) == 0:
            return part
        del peaks[int(weak[np.argmin(total[weak])])]
