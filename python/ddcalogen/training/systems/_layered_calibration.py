# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Last corrections of the layered shower, fitted to the training split: what placing spots one by one gets wrong.

Spots are placed independently of one another, Geant4's deposits are not: a few more or fewer share a readout cell. So
energy spectrum and distances of readout cells are compared between showers of the sampler and of Geant4 for the same
incident particles, and the differences put into the spots: as shifts of the logarithms of their energies and of their
radii. What is off in the mean visible energy, in energies of layers and rings, in the number of cells of a layer and in
the azimuths of spots is corrected, too. (The number of cells of a shower is corrected in `_layered_showers`.)
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddcalogen.training.data import Showers
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._layered_spots import RING_EDGES_MM
from ddcalogen.validation.observables import make_cells
from ddcalogen.validation.samples import merge_as

__all__ = [
    "CellSample",
    "cells_of",
    "core_shift",
    "development_shifts",
    "groups_of_like",
    "layer_shifts",
    "radius_shift",
    "response_shifts",
    "ring_shifts",
    "slope_shifts",
    "spectrum_shift",
    "spectrum_shifts",
    "turn_shifts",
]

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

_SPECTRUM_RANGE_MEV = (0.015, 150.0)
_SPECTRUM_FADES_MEV = ((4.0, 8.0), (2.0, 4.0), (3.5, 6.0))
"""Where the correction ends, for each zone of radii: cells of more energy are sums of several spots, or too few."""
_SPECTRA_FADES_MEV = ((4.0, 8.0), (6.0, 12.0), (5.0, 9.0))
"""The same in `spectrum_shifts`, where less is taken of what few cells tell."""
_RADIUS_FADES_MM = ((3.0, 6.0), (500.0, 900.0))
"""Where the correction of radii begins, near the axis, and ends."""
_RADIUS_PRIOR = 0.1
"""Standard deviation expected of each term of the correction of the logarithms of radii."""
_SPECTRUM_PRIOR = (0.1, 0.05)
"""Shifts that are expected (standard deviation), and their change with the logarithm of the incident energy."""
_CELLS_TOGETHER = 3.0
_CORE_GAIN = 7.0
"""How much more excess of the core widens the spectrum of cells: change of the excess over that of the logarithm."""
_MOST = 0.25
"""Largest shift of a logarithm in one round."""
_ENERGY_BINS = 8
_INCLINE_BINS = 3
_RESPONSE_PRIOR = 0.01
"""Standard deviation expected of each term of the correction of the visible energy."""
_DEVELOPMENT_PRIOR = 0.03
"""... and of each term of the corrections of depth and width."""
_RING_PRIOR = 0.1
"""... and of each term of the corrections of the logits of rings."""
_TURN_PRIOR = 0.1
"""... and of the amplitudes of azimuths."""
_LAYER_PRIOR = (0.03, 0.02)
"""Corrections of layers that are expected (standard deviation), and their change with the logarithm of energy."""


@dataclasses.dataclass(frozen=True)
class CellSample:
    """Readout cells of N showers.

    Attributes
    ----------
    log_mev, cell_radius_mm, cell_shower
        float64 [C] and int64 [C], of all cells: logarithm of the energy, distance from the axis, shower.
    radius_mm
        float64 [H], distance of the cells above threshold from the axis.
    shower
        int64 [H], the shower of each of these.
    layer_mev, layer_hits
        float64 [N, layers], energy and number of the cells above threshold.
    ring_mev
        float64 [N, rings], energy of these in rings around the axis.
    ring_turns
        float64 [N, rings, 3], times cos(psi), cos(2 psi) and sin(2 psi) of azimuths psi to the inclination.
    spread
        float64 [N], width of the energies of the cells above threshold over their mean.
    """

    log_mev: Doubles
    cell_radius_mm: Doubles
    cell_shower: NDArray[np.int64]
    radius_mm: Doubles
    shower: NDArray[np.int64]
    layer_mev: Doubles
    layer_hits: Doubles
    ring_mev: Doubles
    ring_turns: Doubles
    spread: Doubles


def cells_of(showers: Showers, like: Showers, stack: Stack, seed: int, layers: slice | None = None) -> CellSample:
    """Sum showers into readout cells, after merging them as others were; of several calorimeters, layers of one."""
    merged, depth_mm = merge_as(showers, like), np.array(stack.layer_depth_mm)
    first = 0
    if layers is not None:
        merged, depth_mm, first = merged.of_layers(layers), depth_mm[layers], layers.start
    cells = make_cells(
        merged,
        depth_mm,
        cell_mm=stack.cell_mm[first],
        rotation_rad=like.grid_rotation_rad,
        rng=np.random.default_rng(seed),
    )
    hit = cells.above(stack.threshold_gev[first])
    slot = hit.shower.astype(np.int64) * len(depth_mm) + hit.layer
    ring, rings = np.searchsorted(np.array(RING_EDGES_MM), hit.radius_mm, side="right"), len(RING_EDGES_MM) + 1
    mev, psi = hit.energy_gev * 1e3, np.arctan2(hit.across_mm, hit.along_mm)

    def summed(index: NDArray[np.int64], size: int, values: Doubles) -> Doubles:
        return np.bincount(index, values, len(showers) * size).astype(np.float64).reshape(len(showers), size)

    of_ring = functools.partial(summed, hit.shower * rings + ring, rings)
    number, total, squares = (summed(hit.shower, 1, mev**k)[:, 0] for k in range(3))
    return CellSample(
        np.log(np.maximum(cells.energy_gev * 1e3, 1e-6)),
        cells.radius_mm,
        cells.shower.astype(np.int64),
        hit.radius_mm,
        hit.shower.astype(np.int64),
        summed(slot, len(depth_mm), mev),
        summed(slot, len(depth_mm), np.ones_like(mev)),
        of_ring(mev),
        np.stack([of_ring(mev * f) for f in (np.cos(psi), np.cos(2.0 * psi), np.sin(2.0 * psi))], 2),
        np.sqrt(np.maximum(number * squares / np.maximum(total, 1e-9) ** 2 - 1.0, 0.0)),
    )


def layer_shifts(made: CellSample, truth: CellSample, log_energy: Doubles) -> Doubles:
    """Shifts of the logarithms of layer energies and of the numbers of spots in layers, float64 [3, layers].

    Rows: the shift of the energy, its change with `log_energy`, the shift of the number.
    Energies are compared as shares of each shower, in bins of `log_energy`; the less sure a difference is, the less of
    it is taken. Numbers are compared relative to energies.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy.
    """
    order = np.array_split(np.argsort(log_energy, kind="stable"), _ENERGY_BINS)
    at = np.array([log_energy[rows].mean() for rows in order if len(rows)])
    powers = np.stack([np.ones_like(at), at], 1)

    def shares(values: Doubles) -> Doubles:
        return np.asarray(values / np.maximum(values.sum(1, keepdims=True), 1e-9), np.float64)

    ratios, weights = [], []
    for rows in (r for r in order if len(r)):
        mine, theirs = (shares(s.layer_mev[rows]) for s in (made, truth))
        a, b = (np.maximum(x.mean(0), 1e-9) for x in (mine, theirs))
        variance = (mine.var(0) / a**2 + theirs.var(0) / b**2) / len(rows)
        ratios.append(np.log(b / a))
        weights.append(1.0 / (variance + 1e-6))
    result = np.zeros((3, truth.layer_mev.shape[1]))
    prior = np.diag(np.array(_LAYER_PRIOR) ** -2.0)
    for layer, (ratio, weight) in enumerate(zip(np.array(ratios).T, np.array(weights).T, strict=True)):
        known = powers.T @ (weight[:, None] * powers) + prior
        result[:2, layer] = np.linalg.solve(known, powers.T @ (weight * ratio))
    off = []
    for s in (made, truth):
        hits, mev = (shares(v).mean(0) for v in (s.layer_hits, s.layer_mev))
        off.append(np.log(np.maximum(hits, 1e-9) / np.maximum(mev, 1e-9)))
    result[2] = off[1] - off[0]
    return np.asarray(np.clip(result, -_MOST, _MOST), np.float64)


def response_shifts(made: CellSample, truth: CellSample, log_energy: Doubles, terms: Doubles) -> Doubles:
    """Shifts of the logarithm of the visible energy, for each of the terms: float64 [K].

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy; showers of about the same are compared.
    terms
        float64 [N, K], of the showers.
    """
    a, b = (s.layer_mev.sum(1) for s in (made, truth))
    gain, weight = np.zeros(len(a)), np.zeros(len(a))
    for rows in np.array_split(np.argsort(log_energy, kind="stable"), 4 * _ENERGY_BINS):
        if len(rows):  # the incident energy still differs within a bin, the ratio to that of the other does not
            usual = 0.5 * (a[rows] + b[rows]).mean() * np.exp(_slope_within(log_energy[rows], a[rows] + b[rows]))
            gain[rows] = (b[rows] - a[rows]) / usual
            weight[rows] = 1.0 / (gain[rows].var() + 1e-6)
    known = terms.T @ (weight[:, None] * terms) + np.eye(terms.shape[1]) / _RESPONSE_PRIOR**2
    return np.asarray(np.linalg.solve(known, terms.T @ (weight * gain)), np.float64)


def development_shifts(
    made: CellSample, truth: CellSample, log_energy: Doubles, path: Doubles, terms: Doubles
) -> Doubles:
    """Shifts of the logarithms of mean depth and width, for each of the terms: float64 [K, 2].

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy; showers of about the same count by their fluctuations.
    path
        float64 [N, layers], depths of the layers along the axes of the showers.
    terms
        float64 [N, K], of the showers.
    """
    logarithms = []
    for s in (made, truth):
        share = s.layer_mev / np.maximum(s.layer_mev.sum(1, keepdims=True), 1e-9)
        mean = (share * path).sum(1)
        width = np.sqrt((share * (path - mean[:, None]) ** 2).sum(1))
        logarithms.append(np.log(np.maximum(np.stack([mean, width], 1), 0.1)))
    gain = logarithms[1] - logarithms[0]
    result = np.zeros((terms.shape[1], 2))
    for k in range(2):
        weight = np.zeros(len(gain))
        for rows in np.array_split(np.argsort(log_energy, kind="stable"), _ENERGY_BINS):
            weight[rows] = 1.0 / (gain[rows, k].var() + 1e-6) if len(rows) else 0.0
        known = terms.T @ (weight[:, None] * terms) + np.eye(terms.shape[1]) / _DEVELOPMENT_PRIOR**2
        result[:, k] = np.linalg.solve(known, terms.T @ (weight * gain[:, k]))
    return np.asarray(np.clip(result, -_MOST, _MOST), np.float64)


def groups_of_like(log_energy: Doubles, incline: Doubles, along_field: Doubles) -> list[Integers]:
    """Groups of showers of about the same energy, inclination and direction to the field, int64 [..] each.

    Parameters
    ----------
    log_energy, incline, along_field
        float64 [N], of the showers; any increasing functions of them do.
    """
    groups = [np.arange(len(log_energy))]
    for key, parts in ((log_energy, _ENERGY_BINS), (incline, _INCLINE_BINS), (along_field, 2)):
        groups = [g[part] for g in groups for part in np.array_split(np.argsort(key[g], kind="stable"), parts)]
    return [g for g in groups if len(g) > 1]


def ring_shifts(made: CellSample, truth: CellSample, groups: Sequence[Integers], terms: Doubles) -> Doubles:
    """Shifts of the logits of rings, for each of the terms: float64 [K, rings - 1].

    Of each ring the logit of its energy as a share of what lies in it and outside is compared, of the sums over
    showers of about the same energy and inclination; the less sure a difference is, the less of it is taken.

    Parameters
    ----------
    groups
        Showers that are compared, see `groups_of_like`.
    terms
        float64 [N, K], of the showers.
    """
    rings = truth.ring_mev.shape[1]
    result = np.zeros((terms.shape[1], rings - 1))
    if not groups:
        return result
    at = np.array([terms[g].mean(0) for g in groups])
    for ring in range(rings - 1):
        logits, weights = [], []
        for g in groups:
            values, variance = [], 1e-6
            for s in (made, truth):
                # shares of each shower, so that those of high energy do not have all the weight
                share = s.ring_mev[g] / np.maximum(s.ring_mev[g].sum(1, keepdims=True), 1e-9)
                here, beyond = share[:, ring], share[:, ring + 1 :].sum(1)
                p, q = max(here.mean(), 1e-6), max(beyond.mean(), 1e-6)
                values.append(np.log(p / q))
                variance += float((here / p - beyond / q).var()) / len(g)
            logits.append(values[1] - values[0])
            weights.append(1.0 / variance)
        w = np.array(weights)
        known = at.T @ (w[:, None] * at) + np.eye(at.shape[1]) / _RING_PRIOR**2
        result[:, ring] = np.linalg.solve(known, at.T @ (w * np.array(logits)))
    return np.asarray(np.clip(result, -_MOST, _MOST), np.float64)


def core_shift(made: CellSample, truth: CellSample, log_energy: Doubles) -> float:
    """Shift of the excess of energy near the axis that gives cells Geant4's width of energies, at high energies.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy: the highest third of the showers is compared.
    """
    rows = np.argsort(log_energy, kind="stable")[len(log_energy) * 2 // 3 :]
    mine, theirs = (max(float(s.spread[rows].mean()), 1e-9) for s in (made, truth))
    return _CORE_GAIN * float(np.clip(np.log(theirs / mine), -0.02, 0.02))


def turn_shifts(
    made: CellSample, truth: CellSample, log_energy: Doubles, direction: Doubles, at: Doubles, edges_mm: Sequence[float]
) -> Doubles:
    """Shifts of the amplitudes of azimuths: of the first and second harmonic of the inclination, and of the field's.

    The second harmonic of the inclination goes with the square of its sine, and with the fourth power.

    Energies of cells in rings, times cosine and sine of their azimuths, are compared; the field's harmonic lies along x
    of the shower frame. The less sure a difference is, the less of it is taken.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy; showers of about the same count by their fluctuations.
    direction
        float64 [N, 3], of the incident particles.
    at
        float64 [K], increasing: logarithms of radii where shifts are wanted; in between rings they are interpolated.
    edges_mm
        Between rings.

    Returns
    -------
    Doubles
        float64 [4, K].
    """
    sin = np.hypot(direction[:, 0], direction[:, 1])
    upright = sin < 1e-3
    e = np.where(upright[:, None], (1.0, 0.0), direction[:, :2] / np.where(upright, 1.0, sin)[:, None])
    along_field, beside = e[:, 0] ** 2 - e[:, 1] ** 2, -2.0 * e[:, 0] * e[:, 1]
    none = np.zeros_like(sin)
    terms = np.stack([np.stack([sin, none, none, none], 1), np.stack([none, sin**2, sin**4, along_field], 1),
                      np.stack([none, none, none, beside], 1)], 1)  # fmt: skip
    bins = [rows for rows in np.array_split(np.argsort(log_energy, kind="stable"), _ENERGY_BINS) if len(rows)]
    rings, prior = truth.ring_mev.shape[1], np.eye(4) / _TURN_PRIOR**2
    found = np.zeros((4, rings))
    for ring in range(rings):
        share = truth.ring_mev[:, ring] / np.maximum(truth.ring_mev.sum(1), 1e-9)
        off = [s.ring_turns[:, ring] / np.maximum(s.ring_mev.sum(1, keepdims=True), 1e-9) for s in (truth, made)]
        known, seen = prior.copy(), np.zeros(4)
        for rows in bins:
            gain, mine = (off[0] - off[1])[rows], share[rows].mean() * terms[rows]
            weight = 1.0 / (gain.var(0) + 1e-12)
            known += np.einsum("nqa,q,nqb->ab", mine, weight, mine)
            seen += np.einsum("nqa,q,nq->a", mine, weight, gain)
        found[:, ring] = np.clip(np.linalg.solve(known, seen), -_MOST, _MOST)
    middle = [0.5 * edges_mm[0], *(0.5 * (a + b) for a, b in itertools.pairwise(edges_mm)), 1.4 * edges_mm[-1]]
    return np.stack([np.interp(at, np.log(middle), row) for row in found])


def spectrum_shift(
    made: CellSample,
    truth: CellSample,
    log_mev: Doubles,
    edges_mm: Sequence[float],
    *,
    range_mev: tuple[float, float] = _SPECTRUM_RANGE_MEV,
    fades_mev: Sequence[tuple[float, float]] = _SPECTRUM_FADES_MEV,
) -> Doubles:
    """Shift of the logarithm of an energy that brings the spectrum of the model's cells to Geant4's.

    Parameters
    ----------
    log_mev
        float64 [zones, K], increasing: where the shift is wanted.
    edges_mm
        Radii between zones.
    range_mev
        Energies of the cells that are compared.
    fades_mev
        For each zone, where the correction begins to fade and where it ends.
    """
    low, high = np.log(range_mev)
    grid = np.linspace(low, high, 400)
    zone_of = [np.searchsorted(np.array(edges_mm), s.cell_radius_mm, side="right") for s in (made, truth)]
    shifts = []
    for zone, (at, fades) in enumerate(zip(log_mev, fades_mev, strict=True)):
        mine, theirs = (s.log_mev[z == zone] for s, z in zip((made, truth), zone_of, strict=True))
        start, end = np.log(fades)
        shift = _quantile_shift(mine, theirs, grid) * np.clip((end - grid) / (end - start), 0.0, 1.0)
        shifts.append(np.interp(at, grid, shift))
    return np.stack(shifts)


def spectrum_shifts(
    made: CellSample, truth: CellSample, log_energy: Doubles, log_mev: Doubles, edges_mm: Sequence[float]
) -> Doubles:
    """Like `spectrum_shift`, but with its change with the incident energy: float64 [2, zones, K].

    A straight line in `log_energy` through the shifts of four groups of showers; the less sure a shift is, the less
    of it is taken.

    Parameters
    ----------
    log_energy
        float64 [N], scaled logarithm of the incident energy.
    log_mev
        float64 [zones, K], increasing: where the shift is wanted.
    """
    low, high = np.log(_SPECTRUM_RANGE_MEV)
    grid = np.linspace(low, high, 400)
    zone_of = [np.searchsorted(np.array(edges_mm), s.cell_radius_mm, side="right") for s in (made, truth)]
    groups = [g for g in np.array_split(np.argsort(log_energy, kind="stable"), 4) if len(g)]
    group_of = np.empty(len(log_energy), np.int64)
    for k, group in enumerate(groups):
        group_of[group] = k
    powers = np.array([(1.0, log_energy[g].mean()) for g in groups])
    prior = np.diag(np.array(_SPECTRUM_PRIOR) ** -2.0)
    result = np.zeros((2, *log_mev.shape))
    for zone, (at, fades) in enumerate(zip(log_mev, _SPECTRA_FADES_MEV, strict=True)):
        known, seen = np.tile(prior, (len(grid), 1, 1)), np.zeros((len(grid), 2))
        for k, power in enumerate(powers):
            mine, theirs = (
                s.log_mev[(z == zone) & (group_of[s.cell_shower] == k)]
                for s, z in zip((made, truth), zone_of, strict=True)
            )
            weight = 1.0 / _variance_of_quantiles(theirs, grid)
            known += weight[:, None, None] * np.outer(power, power)
            seen += (weight * _quantile_shift(mine, theirs, grid))[:, None] * power
        start, end = np.log(fades)
        lines = (
            np.linalg.solve(known, seen[:, :, None])[:, :, 0] * np.clip((end - grid) / (end - start), 0.0, 1.0)[:, None]
        )
        result[:, zone] = [np.interp(at, grid, line) for line in lines.T]
    return result


def radius_shift(
    made: CellSample,
    truth: CellSample,
    groups: Sequence[Integers],
    terms: Doubles,
    radius_mm: Doubles,
    offset_mm: float,
) -> Doubles:
    """Shift of ln(r + offset) that brings the distances of the model's cells to Geant4's, and how it changes.

    Inside a cell's width and far out, where there are few cells, there is none. Fitted as linear in the terms to the
    shifts of groups of showers; the less sure a shift is, the less of it is taken.

    Parameters
    ----------
    groups
        Showers that are compared, see `groups_of_like`.
    terms
        float64 [N, K], of the showers.
    radius_mm
        float64 [R], increasing: where the shift is wanted.

    Returns
    -------
    Doubles
        One row for each term, of the length of `radius_mm`.
    """
    grid = np.geomspace(2.0, 1.01 * _RADIUS_FADES_MM[1][1], 90)
    at = np.log(grid + offset_mm)
    near, far = _RADIUS_FADES_MM
    fade = np.clip((grid - near[0]) / (near[1] - near[0]), 0.0, 1.0)
    fade *= np.clip((far[1] - grid) / (far[1] - far[0]), 0.0, 1.0)
    size = terms.shape[1]
    known, seen = np.tile(np.eye(size) / _RADIUS_PRIOR**2, (len(grid), 1, 1)), np.zeros((len(grid), size))
    group_of = np.full(len(terms), len(groups))
    for number, group in enumerate(groups):
        group_of[group] = number
    radii = []
    for s in (made, truth):
        of_cells = group_of[s.shower]
        ends = np.cumsum(np.bincount(of_cells, minlength=len(groups) + 1))
        logs = np.log(s.radius_mm + offset_mm)[np.argsort(of_cells, kind="stable")]
        radii.append(np.split(logs, ends[:-1])[: len(groups)])
    for group, mine, theirs in zip(groups, *radii, strict=True):
        x, weight = terms[group].mean(0), 1.0 / _variance_of_quantiles(theirs, at)
        known += weight[:, None, None] * np.outer(x, x)
        seen += (weight * _quantile_shift(mine, theirs, at))[:, None] * x
    planes = fade * np.linalg.solve(known, seen[:, :, None])[:, :, 0].T
    return np.stack([np.interp(radius_mm, grid, plane, left=0.0, right=0.0) for plane in planes])


def slope_shifts(
    made: CellSample, truth: CellSample, log_energy: Doubles, features: tuple[Doubles, Doubles]
) -> Doubles:
    """Shift of how the logarithm of the number of cells depends on features of a shower, float64 [F].

    Parameters
    ----------
    log_energy
        float64 [N]: only showers of about the same energy are compared.
    features
        Of the showers made and of the true ones, float64 [N, F] each.
    """
    bins = np.array_split(np.argsort(log_energy, kind="stable"), 4 * _ENERGY_BINS)
    slopes = []
    for s, x in zip((made, truth), features, strict=True):
        y = np.log(np.maximum(s.layer_hits.sum(1), 1.0))
        off = [(x[rows] - x[rows].mean(0), y[rows] - y[rows].mean()) for rows in bins if len(rows)]
        a, b = (np.concatenate(columns) for columns in zip(*off, strict=True))
        slopes.append(np.linalg.lstsq(a, b, rcond=None)[0])
    return np.asarray(slopes[1] - slopes[0], np.float64)


def _slope_within(x: Doubles, y: Doubles) -> Doubles:
    """Logarithm of what a power law in exp(x) gives for y, relative to its mean, float64 [N]."""
    slope = np.polyfit(x, np.log(np.maximum(y, 1e-9)), 1)[0] if x.std() > 1e-9 else 0.0
    off = slope * (x - x.mean())
    return np.asarray(off - np.log(np.exp(off).mean()), np.float64)


def _variance_of_quantiles(values: Doubles, at: Doubles) -> Doubles:
    """About the variance of the difference of quantiles of two samples like this one, where these are `at`.

    From the density there; cells of a shower go together, so that they count for fewer.
    """
    ordered = np.sort(values)
    below = np.searchsorted(ordered, at)
    width = 4.0 * (at[1] - at[0])
    near = np.searchsorted(ordered, at + 0.5 * width) - np.searchsorted(ordered, at - 0.5 * width)
    number = len(ordered) + 2
    share = (below + 1) / number
    variance = 2.0 * _CELLS_TOGETHER * share * (1.0 - share) * number * (width / np.maximum(near, 0.1)) ** 2
    return np.asarray(variance + 1e-6, np.float64)


def _quantile_shift(made: Doubles, truth: Doubles, at: Doubles) -> Doubles:
    """Truth's quantile at the level of each value in what was made, less the value; within the span of the values."""
    a, b = (np.sort(values[(values >= at[0]) & (values <= at[-1])]) for values in (made, truth))
    if min(len(a), len(b)) < 100:
        return np.zeros_like(at)
    level = np.searchsorted(a, at) / len(a)
    shift = np.quantile(b, level) - at
    # a running mean: steps of the size of the bins are noise
    kernel = np.ones(5) / 5.0
    smooth = np.convolve(np.pad(shift, 2, mode="edge"), kernel, mode="valid")
    return np.asarray(np.clip(smooth, -_MOST, _MOST), np.float64)
