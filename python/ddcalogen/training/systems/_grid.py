# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What the grid systems share: how numbers of a network become cell energies, and what is calibrated in the end.

Options, all off by default since the sources have none of them, that make trainings of minutes worth looking at:

``cells``
    The network's numbers are taken relative to what each cell usually holds (`CellHead`), optionally with noise of each
    cell's own (as StyleGAN injects it, arXiv:1812.04948).
``profile``, ``critic_profile``
    Numbers of layers and rings straight from the latent variables, and layers and rings as critics see them
    (`ddcalogen.training.grid_profiles`).
``calibration``
    Behind the network, in the exported graph, factors of the layers and of rings around the axis, a monotone map of
    cell energies and a monotone map of the visible energy, all fitted to training showers in a last stage
    (`Calibration`). Factors and map are what the layer-to-layer flows do (arXiv:2302.11594), energy scales what point
    clouds do (arXiv:2309.05704).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.grid_networks import MEV_PER_GEV, Size, cut_and_convert
from ddcalogen.training.grid_profiles import ProfileHead, Profiles, ring_of_cells
from ddcalogen.training.operators import natural_log
from ddcalogen.training.representations import Batch, Grids
from ddcalogen.training.sampler import Sampler, draw_noise, incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Stage, Step, System, SystemConfig
from ddcalogen.training.systems.l2lflows import LOG10, MonotoneCubic
from ddcalogen.validation.observables import START_GEV

__all__ = [
    "Calibration",
    "CalibrationConfig",
    "CellHead",
    "CellsConfig",
    "GridConfig",
    "GridSampler",
    "GridSystem",
    "annealed",
]

CALIBRATE = "calibrate"
VISIBLE_ENERGIES = 5
"""Incident energies, evenly over the domain, at which quantiles of the visible energy are fitted."""
VISIBLE_LEVELS = (0.01, 0.03, 0.07, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.93, 0.97, 0.99)
"""Levels of these quantiles."""
ROUNDS = 2
"""How often factors and map are fitted in turn, each behind the other."""
STEEPEST = 20.0
"""Largest slope of the map of cell energies, in logarithms."""


class CellsConfig(SystemConfig):
    """How numbers of a network become cell energies."""

    standardise: bool = Field(
        default=False, description="relative to occupancy and mean energy of each cell in training showers"
    )
    noise: bool = Field(default=False, description="noise of each cell's own")


class CalibrationConfig(SystemConfig):
    """What is fitted behind the network."""

    layers: bool = Field(
        default=False, description="mean energy of each layer and each ring around the axis against the incident energy"
    )
    spectrum: bool = Field(default=False, description="monotone map of cell energies")
    visible: bool = Field(default=False, description="monotone map of the visible energy, given the incident one")
    nodes: int = Field(default=200, ge=8, description="of the map")
    showers: int = Field(default=2000, ge=64, description="training showers it is fitted to")

    @property
    def wanted(self) -> bool:
        """Whether anything is fitted."""
        return self.layers or self.spectrum or self.visible


class GridConfig(SystemConfig):
    """What all grid systems can be told."""

    cells: CellsConfig = CellsConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    threshold_mev: float = Field(default=0.01, ge=0, description="cells below are zero, MeV")
    profile: int = Field(
        default=0,
        ge=0,
        description="width of a dense network that gives numbers of layers and rings straight from the latent "
        "variables; 0: none",
    )
    critic_profile: int = Field(
        default=0,
        ge=0,
        description="width of dense networks by which critics (and the encoder of a BIB-AE) also see layers, rings and "
        "the start of the shower; 0: none",
    )
    profile_order: int = Field(
        default=1, ge=1, le=2, description="of the moments of a layer in both; 2: also how it is stretched"
    )
    anneal: float = Field(
        default=0.0, ge=0, le=1, description="last share of the adversarial steps, in which learning rates fall to zero"
    )


def annealed(optimiser: torch.optim.Optimizer, steps: int, share: float) -> LambdaLR | None:
    """Learning rate that goes straight to zero in the last share of an optimiser's steps; None for no share."""
    if not share:
        return None
    return LambdaLR(optimiser, lambda step: min(1.0, max(0.0, 1.0 - step / max(steps, 1)) / share))


class CellHead(nn.Module):
    """Numbers of a network to cell energies in MeV, none negative.

    Plain: relu(x). Standardised: unit(E) relu(x + level(E)), with unit and level of each cell such that standard normal
    x has the occupancy and the mean energy of hit cells of the training showers; both go straight with the logarithm of
    the incident energy E. With noise: x + w n, n normal for each cell, w a weight of each cell that is trained.

    Parameters
    ----------
    size
        Layers, nx, ny.
    """

    def __init__(self, size: Size, config: CellsConfig) -> None:
        super().__init__()
        self.config = config
        self.width = nn.Parameter(torch.ones(size)) if config.noise else None
        self.level: Tensor
        self.unit: Tensor
        self.energy: Tensor
        if config.standardise:
            # value in the middle, and rise with one unit of the logarithm of the energy
            self.register_buffer("level", torch.zeros(2, *size))
            self.register_buffer("unit", torch.stack([torch.ones(size), torch.zeros(size)]))
            self.register_buffer("energy", torch.tensor([50.0]))

    @torch.no_grad()
    def fit(self, energy: Tensor, grid_mev: Tensor) -> None:
        """Set levels and units from showers, energies [N, 1] GeV and cells [N, layers, nx, ny] MeV."""
        if not self.config.standardise:
            return
        log = energy[:, 0].double().log()
        low = energy[:, 0] <= energy.mean()
        points = []
        for half in (low, ~low):
            chosen = half if bool(half.any()) else torch.ones_like(half)
            cells = grid_mev[chosen].double()
            hits, total = (cells > 0).sum(0).double(), cells.sum(0)
            rare = hits <= max(1.0, 0.05 * len(cells))
            typical = float(total[rare].sum() / hits[rare].sum().clamp(min=1.0)) or 0.1
            share = ((hits + 0.1) / (len(cells) + 0.2)).clamp(max=0.999)
            level = (2.0**0.5) * torch.erfinv(2.0 * share - 1.0)
            of_hit = level + torch.exp(-0.5 * level * level) / (2.0 * np.pi) ** 0.5 / share
            points.append((float(log[chosen].mean()), level, (total + typical) / (hits + 1.0) / of_hit))
        (t0, level0, unit0), (t1, level1, unit1) = points
        middle, span = 0.5 * (t0 + t1), max(t1 - t0, 1e-3)
        if t1 - t0 < 1e-3:
            level1, unit1 = level0, unit0
        self.level.copy_(torch.stack([0.5 * (level0 + level1), (level1 - level0) / span]))
        self.unit.copy_(torch.stack([0.5 * (unit0 + unit1), (unit1 - unit0) / span]))
        self.energy.fill_(float(np.exp(middle)))

    def forward(self, x: Tensor, energy: Tensor, noise: Tensor | None = None) -> Tensor:
        """Numbers [B, 1, layers, nx, ny], energies [B, 1] GeV, noise [B, layers, nx, ny] to MeV [B, 1, layers, ...]."""
        x = x.float()
        if self.width is not None and noise is not None:
            x = x + (self.width * noise)[:, None]
        level, unit = self._level_and_unit(energy)
        result: Tensor = torch.relu(x if level is None else x + level) * unit
        return result

    def expected(self, x: Tensor, energy: Tensor) -> Tensor:
        """Mean over the cell noise of what `forward` gives."""
        if self.width is None:
            return self.forward(x, energy)
        level, unit = self._level_and_unit(energy)
        middle, width = x.float() if level is None else x.float() + level, self.width.abs().clamp(min=1e-3)
        z = middle / width
        density = torch.exp(-0.5 * z * z) / (2.0 * np.pi) ** 0.5
        result: Tensor = (middle * torch.special.ndtr(z) + width * density) * unit
        return result

    def _level_and_unit(self, energy: Tensor) -> tuple[Tensor | None, Tensor | float]:
        if not self.config.standardise:
            return None, 1.0
        log = natural_log(energy / self.energy)[:, :, None, None, None]
        level, unit = (v[0] + log * v[1] for v in (self.level, self.unit))
        return level, unit.clamp(min=1e-3)


class _Polynomial(nn.Module):
    """Polynomials of the incident energy, one for each of several quantities."""

    def __init__(self, domain: Domain, degree: int, number: int = 1) -> None:
        super().__init__()
        low, high = domain.energy_gev
        self.middle, self.reach = 0.5 * (low + high), max(0.5 * (high - low), 1e-6)
        self.degree = degree
        self.factor: Tensor
        self.register_buffer("factor", torch.zeros(degree + 1, number))

    @torch.no_grad()
    def fit(self, energy: Tensor, value: Tensor) -> None:
        """Least squares of values [N, number] at energies [N, 1]."""
        t = self.place(energy).double().cpu().numpy()[:, 0]
        degree = min(self.degree, len(np.unique(t)) - 1)
        found = np.zeros(tuple(self.factor.shape))
        found[: degree + 1] = np.polynomial.polynomial.polyfit(t, value.double().cpu().numpy(), degree)
        self.factor.copy_(torch.from_numpy(found).to(self.factor))

    def place(self, energy: Tensor) -> Tensor:
        """Where energies lie in the domain, -1 to 1."""
        return torch.clamp((energy - self.middle) * (1.0 / self.reach), -1.0, 1.0)

    def forward(self, energy: Tensor) -> Tensor:
        """[B, 1] to [B, number]."""
        t = self.place(energy)
        value: Tensor = self.factor[self.degree] + torch.zeros_like(t)
        for power in range(self.degree - 1, -1, -1):
            value = value * t + self.factor[power]
        return value


class VisibleMap(nn.Module):
    """Monotone map of the visible energy, as a fraction of the incident one, that depends on the incident energy.

    Fractions are taken relative to mean and mean absolute deviation, which are cubic in the incident energy; their
    quantiles at a few incident energies, straight in between, are turned into those of the training showers. Between
    quantiles the map is straight, beyond them a shift. Identity before it is fitted.
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.mean_true, self.mean_made, self.spread_true, self.spread_made = (_Polynomial(domain, 3) for _ in range(4))
        self.true: Tensor
        self.made: Tensor
        # at each of the energies, evenly over the domain, the quantiles of relative fractions
        levels = torch.linspace(-1.0, 1.0, len(VISIBLE_LEVELS)).repeat(VISIBLE_ENERGIES, 1)
        self.register_buffer("true", levels)
        self.register_buffer("made", levels.clone())

    @torch.no_grad()
    def fit(self, energy: Tensor, made: Tensor, true: Tensor) -> None:
        """Fit to fractions [N, 1] of the sampler's and of training showers of the same incident energies [N, 1] GeV."""
        weights = self._weights(energy).double().cpu().numpy()
        for mean, spread, table, fraction in (
            (self.mean_true, self.spread_true, self.true, true),
            (self.mean_made, self.spread_made, self.made, made),
        ):
            mean.fit(energy, fraction)
            spread.fit(energy, (fraction - mean(energy)).abs())
            relative = ((fraction - mean(energy)) / spread(energy).clamp(min=1e-7)).double().cpu().numpy()[:, 0]
            for row, weight in zip(table, weights.T, strict=True):
                quantiles = _weighted_quantiles(relative, weight, np.array(VISIBLE_LEVELS))
                row.copy_(torch.from_numpy(np.maximum.accumulate(quantiles + 1e-4 * np.arange(len(quantiles)))))

    def _weights(self, energy: Tensor) -> Tensor:
        """How much each of the energies counts, [B, energies]: 1 at it, falling to 0 at the next."""
        place = (self.mean_true.place(energy) + 1.0) * (0.5 * (VISIBLE_ENERGIES - 1))
        return torch.cat([torch.clamp(1.0 - (place - k).abs(), min=0.0) for k in range(VISIBLE_ENERGIES)], 1)

    def forward(self, fraction: Tensor, energy: Tensor) -> Tensor:
        """Fractions [B, 1] at energies [B, 1] GeV to fractions [B, 1]."""
        weights = self._weights(energy)
        made, true = self.made[0] * weights[:, :1], self.true[0] * weights[:, :1]
        for k in range(1, VISIBLE_ENERGIES):
            made, true = (v + table[k] * weights[:, k : k + 1] for v, table in ((made, self.made), (true, self.true)))
        x = (fraction - self.mean_made(energy)) / self.spread_made(energy).clamp(min=1e-7)
        y = true[:, :1] + torch.clamp(x - made[:, :1], max=0.0) + torch.clamp(x - made[:, -1:], min=0.0)
        for k in range(len(VISIBLE_LEVELS) - 1):
            low, width = made[:, k : k + 1], made[:, k + 1 : k + 2] - made[:, k : k + 1]
            y = y + torch.clamp((x - low) / width, 0.0, 1.0) * (true[:, k + 1 : k + 2] - true[:, k : k + 1])
        result: Tensor = self.mean_true(energy) + y * self.spread_true(energy).clamp(min=1e-7)
        return result


def _weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of weighted values [N] at levels [K], straight between the middles of the steps."""
    order = values.argsort()
    values, weights = values[order], weights[order]
    chosen = weights > 0
    if not chosen.any():  # no shower near: those of all energies
        weights, chosen = np.ones_like(weights), np.ones_like(chosen)
    values, weights = values[chosen], weights[chosen]
    middle = (np.cumsum(weights) - 0.5 * weights) / weights.sum()
    return np.asarray(np.interp(levels, middle, values), np.float64)


class Calibration(nn.Module):
    """Last corrections of grids: factors of layers and rings, then the map of cell energies, then the visible energy.

    Factors go with the incident energy (quotients of polynomials fitted to training showers and to the sampler's); they
    are such that layers and rings have the right mean energies behind the map. The map turns the n-th highest cell
    energy of the sampler's showers into the n-th highest of as many training showers, so that it sets the number of
    cells above any energy, too. Then all cells are scaled such that the visible energy follows its own map
    (`VisibleMap`).
    """

    def __init__(self, config: CalibrationConfig, domain: Domain, size: Size, threshold_mev: float) -> None:
        super().__init__()
        self.config, self.least_gev = config, max(threshold_mev, 1e-3) / MEV_PER_GEV
        self.fitted: Tensor
        self.register_buffer("fitted", torch.zeros(()))
        self.ring: Tensor
        self.register_buffer("ring", torch.from_numpy(ring_of_cells(size)))
        self.layer_true, self.layer_made = (_Polynomial(domain, 2, size[0]) for _ in range(2))
        self.ring_true, self.ring_made = (_Polynomial(domain, 2, self.ring.shape[1]) for _ in range(2))
        self.spectrum = MonotoneCubic(config.nodes)
        self.mapped = False
        self.visible = VisibleMap(domain)

    @torch.no_grad()
    def fit(self, energy: Tensor, made: Tensor, true: Tensor) -> dict[str, float]:
        """Fit to grids [N, layers, nx, ny] in GeV of the same incident energies [N, 1] GeV; return what was changed."""
        c = self.config
        numbers = {"visible_ratio_before": float(made.sum() / true.sum())}
        if c.spectrum:
            numbers["cells_ratio_before"] = float((made >= self.least_gev).sum() / (true >= self.least_gev).sum())
        self.mapped = False
        self._fit_cells(energy, made, true)
        made = self._cells(made, energy)
        if c.visible:
            self.visible.fit(energy, *(grid.flatten(1).sum(1, keepdim=True) / energy for grid in (made, true)))
            made = self._scaled(made, energy)
        self.fitted.fill_(1.0)
        numbers["visible_ratio_after"] = float(made.sum() / true.sum())
        return numbers

    def _fit_cells(self, energy: Tensor, made: Tensor, true: Tensor) -> None:
        """Factors and map, in turn."""
        parts = ((self.layer_true, self.layer_made, _of_layers), (self.ring_true, self.ring_made, self._of_rings))
        for goal, now, sums in parts:
            goal.fit(energy, sums(true) / energy)
            now.factor.copy_(goal.factor)
        for _ in range(ROUNDS):
            if self.config.layers:
                for goal, now, sums in parts:
                    behind = copy.deepcopy(now)
                    behind.fit(energy, sums(self._cells(made, energy)) / energy)
                    off = behind(energy).clamp(min=1e-7) / goal(energy).clamp(min=1e-7)
                    now.fit(energy, now(energy) * off.clamp(0.2, 5.0))
            if self.config.spectrum:
                self._fit_map(self._factors(made, energy), true)

    def _fit_map(self, made: Tensor, true: Tensor) -> None:
        source, target = (g[g >= self.least_gev].sort(descending=True).values for g in (made, true))
        short = len(source) - len(target)
        target = torch.cat([target, target.new_full((max(short, 0),), 0.5 * self.least_gev)])[: len(source)]
        self.spectrum.fit(torch.log10(source), torch.log10(target))
        self._limit_slopes()
        self.mapped = True

    def _limit_slopes(self) -> None:
        """Flatten the map where it is so steep that it would blow rounding up; the high end stays."""
        s = self.spectrum
        step, value = float(s.step), s.value.double().cpu().numpy().copy()
        for node in range(len(value) - 2, -1, -1):
            value[node] = max(value[node], value[node + 1] - STEEPEST * step)
        rise = np.diff(value) / step
        inner = 2.0 * rise[1:] * rise[:-1] / np.maximum(rise[1:] + rise[:-1], 1e-12)
        for buffer, values in ((s.value, value), (s.slope, np.concatenate([rise[:1], inner, rise[-1:]]))):
            buffer.copy_(torch.from_numpy(values).to(buffer))

    def _of_rings(self, grid: Tensor) -> Tensor:
        """Energies of the rings, [B, rings]."""
        return grid.sum(1).flatten(1) @ self.ring

    def _factors(self, grid: Tensor, energy: Tensor) -> Tensor:
        """Grids times the factors of layers and rings."""
        if not self.config.layers:
            return grid
        layers, rings = (
            (true(energy).clamp(min=1e-7) / made(energy).clamp(min=1e-7)).clamp(0.2, 5.0)
            for true, made in ((self.layer_true, self.layer_made), (self.ring_true, self.ring_made))
        )
        across = (rings @ self.ring.T).reshape(-1, 1, *grid.shape[2:])
        result: Tensor = grid * layers[:, :, None, None] * across
        return result

    def _cells(self, grid: Tensor, energy: Tensor) -> Tensor:
        """Grids behind factors and map, as far as they are fitted."""
        grid = self._factors(grid, energy)
        return self.map_cells(grid) if self.config.spectrum and self.mapped else grid

    def map_cells(self, grid: Tensor) -> Tensor:
        """Map cell energies in GeV."""
        logs = natural_log(torch.clamp(grid, min=1e-8)) * (1.0 / LOG10)
        mapped = torch.exp(LOG10 * torch.clamp(self.spectrum(logs), -9.0, 1.5))
        return mapped * ((grid >= self.least_gev) & (mapped >= self.least_gev)).to(grid.dtype)

    def _scaled(self, grid: Tensor, energy: Tensor) -> Tensor:
        """Scale showers to the visible energy that they are to have."""
        fraction = grid.flatten(1).sum(1, keepdim=True).clamp(min=1e-9) / energy
        result: Tensor = grid * (self.visible(fraction, energy) / fraction).clamp(0.3, 3.0)[:, :, None, None]
        return result

    def forward(self, grid: Tensor, energy: Tensor) -> Tensor:
        """Correct grids [B, layers, nx, ny] in GeV of showers of energies [B, 1] GeV."""
        grid = self._factors(grid, energy)
        if self.config.spectrum:
            grid = self.map_cells(grid)
        return self._scaled(grid, energy) if self.config.visible else grid


def _of_layers(grid: Tensor) -> Tensor:
    """Energies of the layers, [B, layers]."""
    return grid.sum((2, 3))


GridConfigT = TypeVar("GridConfigT", bound=GridConfig)


class GridSystem(System[GridConfigT]):
    """Base of the grid systems; see the module."""

    def __init__(self, config: GridConfigT, stack: Stack, domain: Domain, size: Size) -> None:
        super().__init__(config, stack, domain)
        self.size = size
        self.grids = Grids(size[1], size[2], stack.cell_mm[0])
        self.head = CellHead(size, config.cells)
        hadronic = stack.name.lower() == "hcal"
        start_mev = MEV_PER_GEV * START_GEV["hcal" if hadronic else "ecal"]
        self.profiles: Profiles | None = None
        if config.critic_profile:
            self.profiles = Profiles(size, start_mev, 2 if hadronic else 1, config.profile_order)
        c = config.calibration
        self.calibration = Calibration(c, domain, size, config.threshold_mev) if c.wanted else None

    def representation(self, stage: str) -> Grids | None:
        return None if stage == CALIBRATE else self.grids

    def standardise(self, batches: Iterable[Batch]) -> None:
        if not self.config.cells.standardise:
            return
        seen = [(b["energy"], b["grid"] * MEV_PER_GEV) for b in batches]
        self.head.fit(torch.cat([e for e, _ in seen]), torch.cat([g for _, g in seen]))

    def profile_head(self, inputs: int) -> ProfileHead | None:
        """Return what gives numbers of layers and rings from so many latent variables, if it is wanted."""
        c = self.config
        return ProfileHead(inputs, self.size, c.profile, c.profile_order) if c.profile else None

    @property
    def profile_features(self) -> int:
        """Numbers of the profiles that critics see."""
        return self.profiles.features if self.profiles is not None else 0

    def views(self, image_mev: Tensor) -> tuple[Tensor, ...]:
        """What critics see of showers: cells [B, 1, layers, nx, ny] in MeV, and profiles if they are wanted."""
        return (image_mev,) if self.profiles is None else (image_mev, self.profiles(image_mev))

    def cell_noise(self, like: Tensor) -> Tensor | None:
        """Noise for each cell of as many showers as `like` has rows, if the cells have noise."""
        if not self.config.cells.noise:
            return None
        return torch.randn(len(like), *self.size, device=like.device)

    @property
    def calibration_stages(self) -> tuple[Stage, ...]:
        """The last stage, if anything is calibrated."""
        return (Stage(CALIBRATE, 1, average=False),) if self.calibration is not None else ()

    @torch.no_grad()
    def calibrate(self, step: Step) -> Mapping[str, float | Tensor]:
        """Fit the calibration to training showers."""
        assert self.calibration is not None
        self.calibration.fitted.zero_()
        showers = step.training_showers()
        number = min(self.config.calibration.showers, len(showers))
        showers = showers.select(np.sort(step.rng.choice(len(showers), number, replace=False)))
        true = self.grids(showers, self.stack, step.rng)["grid"]
        sampler, physics = self.sampler().eval(), incident(showers)
        generator = torch.Generator().manual_seed(int(step.rng.integers(1 << 62)))
        made = []
        for start in range(0, number, 64):
            rows = slice(start, start + 64)
            energy, direction = physics["energy"][rows], physics["direction"][rows]
            noise = draw_noise(sampler, len(energy), 0, generator)
            made.append(sampler(*(v.to(step.device) for v in (energy, direction, *noise.values()))).float())
        return self.calibration.fit(physics["energy"].to(step.device), torch.cat(made), true.to(step.device))


class GridSampler(Sampler):
    """Base of the grid systems' samplers: cell head, threshold and calibration.

    Parameters
    ----------
    noise
        Noise inputs besides that of the cells, which comes last.
    """

    def __init__(self, system: GridSystem[GridConfigT], noise: tuple[NoiseInput, ...]) -> None:
        c = system.config
        if c.cells.noise:
            noise = (*noise, NoiseInput(name="cells", distribution="normal", shape=system.size))
        super().__init__(noise=noise, output=system.grids.output(system.stack.layers))
        self.head, self.threshold = system.head, c.threshold_mev
        # while it is fitted, the sampler is the one without it
        self.calibration = system.calibration if _is_fitted(system.calibration) else None

    def finish(self, image_mev: Tensor, energy: Tensor) -> Tensor:
        """Cells in MeV [B, 1, layers, nx, ny] to the grid in GeV."""
        return self.calibrated(cut_and_convert(image_mev, self.threshold), energy)

    def calibrated(self, grid: Tensor, energy: Tensor) -> Tensor:
        """Grids in GeV behind the calibration, if there is one."""
        return self.calibration(grid, energy) if self.calibration is not None else grid


def _is_fitted(calibration: Calibration | None) -> bool:
    return calibration is not None and bool(calibration.fitted > 0)
