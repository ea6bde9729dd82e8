# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Fit of the parametrised shower (`ddcalogen.training.systems.parametrised`) to simulated showers.

Four steps, each on the showers of the training split:

1. along the axis: the energy score (a proper scoring rule: least when the simulated distribution is the true one) of
   the layer energies, by stochastic gradient descent through the model, the spots replaced by a compound Poisson draw;
2. beside the axis: maximum likelihood of the point positions in showers close to perpendicular, weighted with energy;
3. spots: quantiles of the cell energies in classes of depth and distance from the axis, by gradient descent on the
   tables of spot energies;
4. what is left (inclined showers, means and scatter of the radius): moments of simulated showers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddcalogen.errors import InputError, ModelError
from ddcalogen.training.data import Showers
from ddcalogen.training.parametrised_shower import (
    AXIS_ENERGY_GEV,
    CRITICAL_ENERGY_GEV,
    LAYERS,
    REACH_MM,
    ParametrisedShower,
)
from ddcalogen.training.sampler import draw_noise, incident, simulated_showers
from ddcalogen.training.stacks import ILD_ECAL_LAYER_DEPTH_MM
from ddcalogen.validation.observables import CELL_MM, GRID_ROTATION_RAD, Readout, make_cells, measure

__all__ = [
    "fit_longitudinal",
    "fit_moments",
    "fit_radial",
    "fit_spots",
    "simulate",
    "simulate_showers",
]

Report = Callable[[str], None]


def simulate(
    model: ParametrisedShower, energy: Tensor, direction: Tensor, pdg: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Run the model on fresh noise; return packed spots [P, 4] and counts [B]."""
    drawn = draw_noise(model, len(energy), model.capacity(float(energy.max())), generator)
    spots, counts = model(energy, direction, pdg, **drawn)
    return spots, counts


def simulate_showers(model: ParametrisedShower, like: Showers, generator: torch.Generator, batch: int = 64) -> Showers:
    """Run the model on the incident particles of `like`, in batches."""
    energy, direction, pdg = incident(like).values()
    with torch.no_grad():
        made = [
            simulate(model, energy[i : i + batch], direction[i : i + batch], pdg[i : i + batch], generator)
            for i in range(0, len(like), batch)
        ]
    return simulated_showers(like, torch.cat([m[0] for m in made]).numpy(), torch.cat([m[1] for m in made]).numpy())


# ---------------------------------------------------------------------------------------------------- along the axis


def _features(layer_mev: Tensor, energy: Tensor) -> Tensor:
    """Features of the layer energies in which the energy score is measured; [..., layers] to [..., features]."""
    scaled = layer_mev / energy
    root = torch.sqrt(scaled + 0.01)
    number = torch.arange(LAYERS, dtype=torch.float32)
    total = scaled.sum(-1, keepdim=True)
    mean = (scaled * number).sum(-1, keepdim=True) / (total + 1e-3)
    variance = (scaled * (number - mean) ** 2).sum(-1, keepdim=True) / (total + 1e-3)
    return torch.cat(
        [
            2.0 * root,
            0.06 * torch.cumsum(scaled, -1),
            2.0 * total,
            2.0 * mean,
            3.0 * torch.sqrt(variance + 0.05),
        ],
        -1,
    )


def _energy_score(model: ParametrisedShower, data: tuple[Tensor, ...], copies: int, spot_mev: float) -> Tensor:
    energy, cos, photon, layer_mev = data
    shape = (len(energy), copies)
    profile = model.longitudinal(
        energy[:, None],
        cos[:, None],
        photon[:, None],
        torch.randn(*shape, 6),
        torch.rand(*shape, 1).clamp_min(1e-7),
        torch.randn(*shape, LAYERS),
    )
    mean = profile.mean_mev
    if not torch.isfinite(mean).all():
        raise ModelError("the fit of the longitudinal profile diverged", found="energies that are not finite")
    with torch.no_grad():  # compound Poisson: exponential spots
        number = torch.poisson(mean / spot_mev)
        ratio = torch._standard_gamma(number.clamp_min(1e-3)) * (number > 0) * spot_mev / mean.clamp_min(1e-9)
    sample = _features(mean * ratio, energy[:, None])
    truth = _features(layer_mev, energy)[:, None]
    distance = torch.sqrt(((sample - truth) ** 2).sum(-1) + 1e-8).mean()
    pairs = torch.sqrt(((sample[:, :, None] - sample[:, None]) ** 2).sum(-1) + 1e-8).sum((1, 2)).mean()
    # the mean profile in two ranges of energy, so that layers with little energy count as well
    penalty = torch.zeros(())
    for chosen in (energy[:, 0] < 10.0, energy[:, 0] >= 10.0):
        if int(chosen.sum()) > 20:
            simulated = (mean[chosen].mean(1) / energy[chosen]).mean(0)
            seen = (layer_mev[chosen] / energy[chosen]).mean(0)
            penalty = penalty + (((simulated - seen) / (0.03 + 0.1 * seen)) ** 2).mean()
    return distance - 0.5 * pairs / (copies * (copies - 1)) + 0.05 * penalty


def fit_longitudinal(
    model: ParametrisedShower, train: Showers, *, steps: int = 1500, batch: int = 512, copies: int = 5, report: Report
) -> list[float]:
    """Fit the profile along the axis; return the score per 100 steps.

    Raises
    ------
    ModelError
        The score stopped being a number.
    """
    # inclined showers follow from those near the normal; their layer energies are smeared by the radial profile
    train = train.select(train.direction[:, 2] > math.cos(math.radians(25.0)))
    energy, direction, pdg = incident(train).values()
    data = (
        energy,
        direction[:, 2:3].clamp(0.2, 1.0),
        (pdg == 22).to(torch.float32),
        torch.from_numpy(train.layer_energy_gev(LAYERS) * 1e3).to(torch.float32),
    )
    names = (
        *("log_conversion_x0", "front_x0", "t_max", "shape", "log_sigma_t_max", "log_sigma_shape", "correlation"),
        *("broad", "log_backscatter", "log_weight", "weight_energy", "log_sigma_scale"),
        "log_sigma_layer",
    )
    parameters = [getattr(model, name) for name in names]
    optimiser = torch.optim.Adam(parameters, 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-2, steps)
    history, recent = [], []
    model.fitting = True
    for step in range(steps):
        index = torch.randint(len(energy), (batch,))
        loss = _energy_score(model, tuple(d[index] for d in data), copies, spot_mev=0.3)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if not math.isfinite(recent[-1]):
            raise ModelError("the fit of the longitudinal profile diverged", found=f"score {recent[-1]} in step {step}")
        if len(recent) == 100 or step == steps - 1:
            history.append(float(np.mean(recent)))
            report(f"longitudinal: step {step + 1}, energy score {history[-1]:.4f}")
            recent = []
    model.fitting = False
    return history


# ---------------------------------------------------------------------------------------------------- beside the axis


def fit_radial(
    model: ParametrisedShower, train: Showers, *, points: int = 300_000, steps: int = 400, report: Report
) -> float:
    """Fit radial profile, its widening by the field and the shift; return the negative log-likelihood per point."""
    depth_x0 = model.depth_x0.numpy().astype(np.float64) + float(model.front_x0.detach())
    depth_mm = np.array(ILD_ECAL_LAYER_DEPTH_MM)
    row, layer, gev = train.shower_of_point, train.layer.astype(np.int64), train.point_energy_gev.astype(np.float64)
    cos = train.direction[:, 2].astype(np.float64)
    # mean depth of each shower, plates of double thickness counted twice
    weight = gev * np.where(layer < 20, 1.0, 2.0)
    n = len(train)
    mean_x0 = np.bincount(row, weight * depth_x0[layer], n) / np.bincount(row, weight, n).clip(1e-12)
    near = np.flatnonzero((cos > math.cos(math.radians(12.0)))[row] & (gev > 0))
    near = near[torch.randperm(len(near))[:points].numpy()]
    tangent = train.direction[:, :2].astype(np.float64) / cos[:, None]
    half = 0.5 * np.where(train.on_grid, train.point_pitch_mm[near], 1.0)[:, None]
    jitter = (torch.rand(len(near), 2, dtype=torch.float64).numpy() * 2 - 1) * half  # points lie on sub-cell centres
    dx = train.x_mm[near] - depth_mm[layer[near]] * tangent[row[near], 0] + jitter[:, 0]
    dy = train.y_mm[near] - depth_mm[layer[near]] * tangent[row[near], 1] + jitter[:, 1]
    tau = depth_x0[layer[near]] / mean_x0[row[near]]
    # energy-weighted profile, showers of all energies with the same weight; almost nothing lies as far as the reach
    w = gev[near] / train.energy_gev[row[near]] * (np.hypot(dx, dy) < 0.85 * REACH_MM)
    slope = 0.5 * (np.log(train.energy_gev[row[near]] / CRITICAL_ENERGY_GEV) - 8.5)
    x, y, depth, slopes, weights = (torch.from_numpy(a.astype(np.float32)) for a in (dx, dy, tau, slope, w / w.mean()))
    near_normal = train.direction[row, 2] > 0.9999
    with torch.no_grad():  # the shift in y is a matter of the first moment
        far = np.hypot(train.x_mm[near_normal], train.y_mm[near_normal])
        weight = gev[near_normal]
        if len(weight):
            model.field[1] = float((weight * train.y_mm[near_normal]).sum() / (weight * far).sum())
    parameters = [
        *(model.core, model.tail, model.core_share, model.tail_power, model.radius_energy),
        model.field,
    ]
    optimiser = torch.optim.Adam(parameters, 2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-2, steps)
    value = math.nan
    for step in range(steps):
        core, tail, share, k = model.radial(depth, slopes)
        wide = model.field[0]
        shift = (model.field[1] * torch.hypot(x, y)).detach()
        seen = torch.sqrt((x / (1.0 - wide)) ** 2 + ((y - shift) / (1.0 + wide)) ** 2 + 1e-6)
        shrink = torch.clamp(1.0 - seen * (1.0 / REACH_MM), min=0.02)
        r2 = (seen / shrink) ** 2
        inside = core**2 / (r2 + core**2) ** 2
        outside = k / tail**2 * (1.0 + r2 / tail**2) ** (-1.0 - k)
        density = (share * inside + (1.0 - share) * outside) / (1.0 - wide * wide) / shrink**3
        loss = -(weights * torch.log(density)).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        value = float(loss.detach())
        if (step + 1) % 100 == 0:
            report(f"radial: step {step + 1}, negative log-likelihood {value:.5f}")
    if not math.isfinite(value):
        raise ModelError("the fit of the radial profile diverged", found=f"negative log-likelihood {value}")
    return value


# ------------------------------------------------------------------------------------------------- by moments


def fit_moments(model: ParametrisedShower, train: Showers, *, seed: int = 0, report: Report) -> None:
    """Fit, by moments of simulated showers, what the likelihoods above do not see.

    In inclined showers: how the shape of the longitudinal profile and its energy change with 1 / cos(theta), the lean
    along the inclination. In all showers: the tail radius and its change with energy (mean distance from the axis), the
    scatter of the radius and of the axis (centre of gravity across the inclination).
    """
    depth, rng = np.array(ILD_ECAL_LAYER_DEPTH_MM), np.random.default_rng(seed)
    cos, energy = train.direction[:, 2], train.energy_gev

    def observe(showers: Showers) -> dict[str, NDArray[np.float64]]:
        rotation = showers.grid_rotation_rad if showers.on_grid else GRID_ROTATION_RAD
        cells = make_cells(showers, depth, cell_mm=CELL_MM, rotation_rad=rotation, rng=rng)
        return measure(showers, cells, Readout.single("ecal", depth, CELL_MM)).scalars

    def remake(truth: Showers) -> dict[str, NDArray[np.float64]]:
        return observe(simulate_showers(model, truth, torch.Generator().manual_seed(seed)))

    def part(chosen: NDArray[np.bool_], most: int) -> Showers:
        if not chosen.any():
            raise InputError(
                "the training showers do not cover the domain",
                expected="photons of 1-10 GeV and above 10 GeV, near the normal and inclined by more than 35 degrees",
                remedy="Add files with such showers.",
            )
        return train.select(np.flatnonzero(chosen)[:most])

    def scan(truth: Showers, parameter: nn.Parameter, index: int, steps: Sequence[float], name: str, what: str) -> None:
        """Set one number where the mean of an observable crosses that of the data (linear interpolation)."""
        real, start, excess = float(np.mean(observe(truth)[name])), float(parameter[index].detach()), []
        for step in steps:
            with torch.no_grad():
                parameter[index] = start + step
            excess.append(float(np.mean(remake(truth)[name])) / real - 1.0)
        order = np.argsort(excess)
        best = start + float(np.interp(0.0, np.array(excess)[order], np.array(steps)[order]))
        with torch.no_grad():
            parameter[index] = best
        report(f"moments: {what} {best:.3f} (excess {', '.join(f'{e:.3f}' for e in excess)})")

    steep = part((cos < math.cos(math.radians(35.0))) & (energy > 5.0), 600)
    near = part((energy > 10.0) & (cos > 0.97), 700)
    soft = part((energy < 10.0) & (energy > 1.0) & (cos > 0.85), 1000)
    scan(steep, model.angle, 1, (-0.1, 0.0, 0.1, 0.2), "rms_layer", "change of the shape with angle")
    scan(steep, model.angle, 0, (-0.05, 0.0, 0.05), "response", "change of the energy with angle")
    scan(near, model.tail, 0, (-0.1, 0.0, 0.1), "radius_mm", "ln of the tail radius")
    scan(soft, model.radius_energy, 1, (-0.1, 0.0, 0.1, 0.2), "radius_mm", "change of the tail radius with energy")
    scan(near, model.tail, 0, (-0.1, 0.0, 0.1), "radius_mm", "ln of the tail radius")
    scan(steep, model.lean, 0, (-0.1, 0.0, 0.1), "cog_along_mm", "lean")

    # two widths, from the parts of them that the spots do not make: of the radius in showers near the normal (where it
    # does not depend on the angle), and of the centre of gravity
    hard = part((energy > 10.0) & (cos > 0.5), 800)

    def spread(values: NDArray[np.float64]) -> float:
        low, high = np.quantile(values, [0.16, 0.84])
        return float(0.5 * (high - low))

    def relative_radius(observables: dict[str, NDArray[np.float64]]) -> float:
        return spread(np.log(observables["radius_mm"]))

    def axis(observables: dict[str, NDArray[np.float64]]) -> float:
        return spread(observables["cog_across_mm"] * (hard.energy_gev + AXIS_ENERGY_GEV) / np.sqrt(hard.energy_gev))

    for parameter, truth, width, what in (
        (model.sigma_width, near, relative_radius, "scatter of the radius"),
        (model.sigma_axis_mm, hard, axis, "scatter of the axis, mm sqrt(GeV)"),
    ):
        with torch.no_grad():
            parameter[0] = 0.0
            parameter[0] = math.sqrt(max(0.0, width(observe(truth)) ** 2 - width(remake(truth)) ** 2))
        report(f"moments: {what} {float(parameter.detach()):.4f}")


# -------------------------------------------------------------------------------------------------------------- spots

_RADIUS_EDGES_MM = (5.0, 10.0, 20.0, 40.0, 80.0)
_LAYER_EDGES = (8, 14, 20)
_ENERGY_EDGES_GEV = (5.0, 30.0)
_CLASSES = (len(_RADIUS_EDGES_MM) + 1) * (len(_LAYER_EDGES) + 1) * (len(_ENERGY_EDGES_GEV) + 1)


def _classes(
    energy_gev: NDArray[np.float32], layer: NDArray[np.int64], radius_mm: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Class of each cell: by incident energy, depth and distance from the axis."""
    by_energy = np.searchsorted(_ENERGY_EDGES_GEV, energy_gev, side="right")
    by_layer = np.searchsorted(_LAYER_EDGES, layer, side="right")
    by_radius = np.searchsorted(_RADIUS_EDGES_MM, radius_mm, side="right")
    number = (by_energy * (len(_LAYER_EDGES) + 1) + by_layer) * (len(_RADIUS_EDGES_MM) + 1) + by_radius
    return np.asarray(number, np.int64)


class _SpotTable(nn.Module):
    """Rising quantile tables with mean one."""

    def __init__(self, quantiles: Tensor) -> None:
        super().__init__()
        steps = torch.cat([quantiles[:, :1], torch.diff(quantiles, dim=1)], 1)
        self.log_steps = nn.Parameter(torch.log(steps.clamp_min(1e-3)))

    def forward(self) -> Tensor:
        quantiles = torch.cumsum(torch.exp(self.log_steps), 1)
        return quantiles / (0.5 * (quantiles[:, 1:] + quantiles[:, :-1])).mean(1, keepdim=True)


def _spot_loss(
    model: ParametrisedShower, table: Tensor, truth: Showers, generator: torch.Generator, rng: np.random.Generator
) -> Tensor:
    """Distance of the sorted cell energies (square roots) per class, weighted with the root of the cells in it."""
    depth = np.array(ILD_ECAL_LAYER_DEPTH_MM)
    with torch.no_grad():
        model.spot_quantiles.copy_(table)
        energy, direction, pdg = incident(truth).values()
    spots, counts = torch.func.functional_call(
        model,
        {"spot_quantiles": table},
        (energy, direction, pdg),
        draw_noise(model, len(truth), model.capacity(float(energy.max())), generator),
    )
    made = simulated_showers(truth, spots.detach().numpy(), counts.numpy())
    cells = make_cells(made, depth, cell_mm=CELL_MM, rotation_rad=GRID_ROTATION_RAD, rng=rng)
    made_mev = torch.zeros(len(cells.energy_gev)).index_add(0, torch.from_numpy(cells.of_point), spots[:, 3] * 1e3)
    made_class = torch.from_numpy(_classes(truth.energy_gev[cells.shower], cells.layer, cells.radius_mm))
    real = make_cells(truth, depth, cell_mm=CELL_MM, rotation_rad=truth.grid_rotation_rad, rng=rng)
    real_mev = torch.from_numpy(real.energy_gev.astype(np.float32) * 1e3)
    real_class = torch.from_numpy(_classes(truth.energy_gev[real.shower], real.layer, real.radius_mm))
    total, weights = torch.zeros(()), 0.0
    for number in range(_CLASSES):
        pair = [made_mev[made_class == number], real_mev[real_class == number]]
        size = max(len(p) for p in pair)
        if size < 50:
            continue
        # cells without energy count as cells of energy 0, so that the number of cells is fitted too
        a, b = (torch.sqrt(torch.sort(nn.functional.pad(p, (size - len(p), 0)))[0] + 0.01) for p in pair)
        total = total + math.sqrt(size) * (a - b).abs().mean()
        weights += math.sqrt(size)
    return total / weights


def fit_spots(
    model: ParametrisedShower, train: Showers, *, steps: int = 150, batch: int = 48, seed: int = 0, report: Report
) -> float:
    """Fit the tables of spot energies at the model's mean spot energies; return the mean loss of the last third."""
    train = train.select(train.direction[:, 2] > math.cos(math.radians(25.0)))
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    table = _SpotTable(model.spot_quantiles.detach())
    optimiser = torch.optim.Adam(table.parameters(), 3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    # showers of low energy as often as those of high energy, which have many more cells
    chance = 1.0 / train.energy_gev.astype(np.float64)
    chance /= chance.sum()
    losses = []
    for step in range(steps):
        index = rng.choice(len(train), batch, replace=False, p=chance)
        loss = _spot_loss(model, table(), train.select(index), generator, rng)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 25 == 0:
            report(f"spots: step {step + 1}, loss {np.mean(losses[-25:]):.5f}")
    with torch.no_grad():
        model.spot_quantiles.copy_(table())
    return float(np.mean(losses[-max(1, steps // 3) :]))
