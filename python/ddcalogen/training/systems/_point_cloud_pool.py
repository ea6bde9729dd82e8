# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Merged showers kept in memory: points of which training steps draw some, mirrored at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._hadron_outline import start_layers, start_mev
from ddcalogen.training.systems._layered_networks import scales_of
from ddcalogen.training.systems._layered_spots import LEAST_MEV, merge_deposits, shape_latents

__all__ = ["ShowerPool", "draw_points", "draw_showers", "make_pool"]

_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class ShowerPool:
    """N merged showers, P points in all.

    Attributes
    ----------
    summaries
        ``energy``, ``direction``, ``pdg``, and ``layer_mev``, ``layer_counts`` float32 [N, layers], ``latents`` float32
        [N, LATENTS] (see `SpotSummaries`), ``start`` float32 [N, 1] (see `start_layers`).
    first, number
        int64 [N], of each shower's points.
    layer, offset_mm, mev
        int64 [P], float32 [P, 2] (along and across the inclination), float32 [P].
    """

    summaries: Batch
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    layer: torch.Tensor
    offset_mm: torch.Tensor
    mev: torch.Tensor

    def __len__(self) -> int:
        return len(self.first)


def make_pool(
    showers: Showers,
    stack: Stack,
    *,
    number: int,
    below_mev: NDArray[np.float64],
    factor: NDArray[np.float64] | None = None,
) -> ShowerPool:
    """Merge deposits and sum up; always the same for the same showers.

    Parameters
    ----------
    number
        Showers kept at most, drawn at random; those without any point are left out.
    below_mev
        See `merge_deposits`; points that lie at the centre of a merging cell are spread over it.
    factor
        float64 [layers], with which energies of points and layers are multiplied after merging; None: 1.
    """
    rng = np.random.default_rng(len(showers))
    chosen = np.sort(rng.permutation(len(showers))[:number])
    chosen = chosen[np.diff(showers.offsets)[chosen] > 0]
    edges = scales_of(stack).ring_edges_mm
    batches: list[Batch] = []
    columns: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]] = []
    each: list[NDArray[np.int64]] = []
    for start in range(0, len(chosen), _AT_ONCE):
        part = showers.select(chosen[start : start + _AT_ONCE])
        size = len(part)
        spots = merge_deposits(part, stack, rng, below_mev=below_mev)
        pitch = np.broadcast_to(np.asarray(part.pitch_mm, np.float64), stack.layers)[spots.layer]
        spots = dataclasses.replace(
            spots,
            along_mm=spots.along_mm + pitch * rng.uniform(-0.5, 0.5, len(pitch)),
            across_mm=spots.across_mm + pitch * rng.uniform(-0.5, 0.5, len(pitch)),
        )
        starts = start_layers(part.layer_energy_gev(stack.layers) * 1e3, start_mev(stack))
        if factor is not None:
            spots = dataclasses.replace(spots, mev=spots.mev * factor[spots.layer])
        slot = spots.shower * stack.layers + spots.layer
        counts = np.bincount(slot, minlength=size * stack.layers).reshape(size, -1)
        energy = np.bincount(slot, spots.mev, size * stack.layers).reshape(size, -1)
        latents = shape_latents(spots, size, rng, edges)
        batches.append(
            incident(part)
            | {
                "layer_mev": torch.from_numpy(energy.astype(np.float32)),
                "layer_counts": torch.from_numpy(counts.astype(np.float32)),
                "latents": torch.from_numpy(latents.astype(np.float32)),
                "start": torch.from_numpy(starts[:, None].astype(np.float32)),
            }
        )
        cos = part.direction[:, 2].astype(np.float64)[spots.shower]
        offset = np.stack([spots.along_mm * cos, spots.across_mm], 1)
        order = np.argsort(spots.shower, kind="stable")
        columns.append(
            (
                spots.layer[order].astype(np.int64),
                offset[order].astype(np.float32),
                np.maximum(spots.mev[order], LEAST_MEV).astype(np.float32),
            )
        )
        each.append(counts.sum(1))
    sizes = np.concatenate(each)
    layer, across, mev = (np.concatenate(c) for c in zip(*columns, strict=True))
    return ShowerPool(
        {name: torch.cat([b[name] for b in batches]) for name in batches[0]},
        np.cumsum(sizes) - sizes,
        sizes,
        *(torch.from_numpy(v) for v in (layer, across, mev)),
    )


def draw_showers(pool: ShowerPool, rng: np.random.Generator, number: int, mirror: Sequence[str]) -> Batch:
    """Draw showers without points, mirrored at random along axes (see `representations.mirrored`).

    Also ``index`` int64 [B] of the showers in the pool and ``turned`` float32 [B, 2]: signs of the offsets of their
    points, along and across the inclination.
    """
    full = number >= len(pool)
    index = np.arange(len(pool)) if full else rng.integers(0, len(pool), number)
    batch = {name: values[torch.from_numpy(index)] for name, values in pool.summaries.items()}
    signs = np.where(rng.random((len(index), 2)) < 0.5, -1.0, 1.0).astype(np.float32)
    for k, axis in enumerate("xy"):
        if axis not in mirror:
            signs[:, k] = 1.0
    sign = torch.from_numpy(signs)
    direction = batch["direction"].clone()
    upright = torch.hypot(direction[:, 0], direction[:, 1]) < 1e-3
    direction[:, :2] = direction[:, :2] * sign
    both = sign[:, 0] * sign[:, 1]
    # of inclined showers the frame is mirrored with them
    along = torch.where(upright, sign[:, 0], torch.ones_like(both))
    across = torch.where(upright, sign[:, 1], both)
    turned = torch.stack([along, across], 1)
    latents = batch["latents"].clone()
    latents[:, -2:] = latents[:, -2:] * turned
    return batch | {"direction": direction, "latents": latents, "index": torch.from_numpy(index), "turned": turned}


def draw_points(pool: ShowerPool, showers: Batch, rng: np.random.Generator, points: int) -> Batch:
    """Draw points of showers: ``shower``, ``layer`` int64 [P], ``across_mm`` float32 [P, 2], ``mev`` float32 [P]."""
    index = showers["index"].numpy()
    number = pool.number[index][:, None]
    drawn = pool.first[index][:, None] + (rng.random((len(index), points)) * number).astype(np.int64)
    there = np.broadcast_to(number > 0, drawn.shape)
    at = torch.from_numpy(drawn[there])
    shower = torch.from_numpy(np.broadcast_to(np.arange(len(index))[:, None], drawn.shape)[there])
    return {
        "shower": shower,
        "layer": pool.layer[at],
        "across_mm": pool.offset_mm[at] * showers["turned"][shower],
        "mev": pool.mev[at],
    }
