# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Point cloud by a shower model and a diffusion model, after CaloClouds II and 3 (2309.05704, 2511.01460).

Geant4 steps are clustered on sub-cells (a fifth of a pad, a third of a tile) and small clusters join a neighbour. Two
networks are trained, then the number of points is calibrated:

- *showers*: visible energy, energy and points of each layer, energies in rings around the axis and dipole;
- *points*: a network denoises points (EDM, 2206.00364), conditioned on the particle and what is known of layer and
  shower.

The exported sampler is unrolled: shower, noise levels, calibration (energies of layers and rings, and the dipole,
become what the shower model says).

Where it differs from the source:

- the shower model is no flow over all layers at once but a chain of mixture densities, each layer given those before
  it (`_layered_networks`, shared with `layered`): a flow over some 60 numbers learns a few thousand showers by heart;
- the layer of a point is given by the shower's counts, so the network makes (x, y, E) and no points need sorting into
  layers (as in AllShowers, 2601.11716);
- the sampler is DPM-Solver++(2M) (2211.01095) from a noise level of 20 on, in equal ratios: Heun's method with 25
  evaluations from 80 on makes points of a normal distribution 12 % too wide, this one with 20 evaluations 1 %;
- energies are learned as their place in the spectrum of all points of their calorimeter, distances from the axis
  logarithmically;
- showers are mirrored at random (`data.mirror`);
- of hadrons (`blocks`) the start, the calibrated energy and its shares in blocks of layers are drawn before the layers
  (`_hadron_outline`), and points of single particles keep their energies when sums are corrected;
- the polynomials that correct the number of points are fitted to the number of readout cells above threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ddcalogen.card import Domain, NoiseInput, SpotsOutput
from ddcalogen.training.data import Showers
from ddcalogen.training.operators import PackedRows
from ddcalogen.training.point_cloud_networks import (
    SIGMA_DATA,
    PointNetwork,
    compress,
    expand,
    fourier,
    log_normal,
    noise_levels,
    precondition,
    scalars,
)
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import capacity_limit, spots_output
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, SystemConfig
from ddcalogen.training.systems._hadron_outline import STEP_FEATURES, calibrated
from ddcalogen.training.systems._layered_calibration import cells_of, spectrum_shift
from ddcalogen.training.systems._layered_networks import (
    CONTEXT_FEATURES,
    SPECTRUM_NODES,
    Incident,
    LayeredNetworks,
)
from ddcalogen.training.systems._layered_sampler import ShowerSampler
from ddcalogen.training.systems._layered_showers import ShowerConfig, ShowerSystem
from ddcalogen.training.systems._point_cloud_pool import ShowerPool, draw_points, draw_showers, make_pool
from ddcalogen.validation.observables import THRESHOLD_GEV

__all__ = ["SYSTEM", "PointCloud", "PointCloudConfig", "PointCloudSampler"]


class PointCloudConfig(ShowerConfig):
    """Sizes and schedule."""

    merge_below: float = Field(default=6.0, gt=0, description="points below join a neighbour, in thresholds of a cell")
    pool: int = Field(default=20_000, ge=8, description="training showers in memory, drawn at random")
    shower_batch: int = Field(default=64, ge=2)
    point_steps: int = Field(default=6000, ge=1)
    point_batch: int = Field(default=64, ge=1, description="showers of a step")
    points: int = Field(default=64, ge=1, description="points of each of these showers")
    rate: float = Field(default=2e-3, gt=0)
    slot_hidden: tuple[int, ...] = (64,)
    hidden: int = Field(default=64, ge=4)
    depth: int = Field(default=3, ge=1)
    sampler_steps: int = Field(default=20, ge=2, description="noise levels of the sampler")
    capacity: tuple[float, float, int] = Field(default=(300.0, 48.0, 8192), description="base, per GeV, maximum")
    blocks: tuple[int, ...] = Field(
        default=(),
        description="hadrons: first layers of blocks whose energies are drawn, after the shower's start, before those "
        "of layers",
    )


_DAMPING = 0.8
"""Part of a shift of energies that is applied in one round of the calibration."""
_SINGLE_RANGE, _SINGLE_FADE = (0.15, 40.0), (10.0, 30.0)
"""Energies of cells whose spectrum is compared, and where the correction ends, in thresholds."""
EXTRA = 5
"""Features of a layer besides those of `LayeredNetworks.context_features`."""


class PointCloud(ShowerSystem[PointCloudConfig]):
    """Shower model and diffusion of points."""

    Config: ClassVar[type[SystemConfig]] = PointCloudConfig
    title: ClassVar[str] = "point cloud, diffusion"
    calorimeters: ClassVar[tuple[str, ...]] = ("ECAL", "HCAL", "ECAL+HCAL")
    placed_by: ClassVar[str] = "an EDM diffusion network, unrolled over its {steps} steps, places the points"

    mean: Tensor
    scale: Tensor
    radius_mm: Tensor

    def __init__(self, config: PointCloudConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, table_hidden=None, blocks=config.blocks)
        self.network = self.new_network()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("radius_mm", 0.6 * torch.tensor(stack.cell_mm), persistent=False)
        self._pool: ShowerPool | None = None

    def new_network(self) -> PointNetwork:
        """Return a network of the configured size."""
        c = self.config
        extra = EXTRA + (STEP_FEATURES if c.blocks else 0)
        return PointNetwork(CONTEXT_FEATURES + extra + self.stack.layers, c.slot_hidden, c.hidden, c.depth)

    def describe(self) -> str:
        """Return the description for the card."""
        placed_by = self.placed_by.format(steps=self.config.sampler_steps)
        first = "Visible energy, energy"
        last = "energies of layers and rings and the dipole are calibrated to what was drawn"
        if self.networks.outline is not None:
            first = "The layer where the shower starts, calibrated energy, its shares in blocks of layers, energy"
            last = (
                "energies of calorimeters, layers and rings and the dipole are brought near to what was drawn by "
                "scaling points of several particles"
            )
        return (
            f"Point cloud in the {self.stack.name} of ILD, after CaloClouds II and 3 (2309.05704, 2511.01460), learned "
            f"from Geant4 steps in the gap-free layer stack, clustered on sub-cells. {first} and points "
            "of each layer, energies in rings and dipole are drawn from mixture densities one after the other; "
            f"{placed_by}, independently of each other given these numbers; {last}. "
            "Field: 3.5 T along -x of the shower frame, as in a barrel stave."
        )

    # ------------------------------------------------------------------------------------------------- training

    def representation(self, stage: str) -> None:
        """None: showers are merged once and kept (`make_pool`)."""
        del stage

    def stages(self) -> tuple[Stage, ...]:
        """Shower model, diffusion, calibration of the number of points."""
        c = self.config
        return (
            Stage("showers", c.shower_steps, batch=c.shower_batch, validate=False),
            # of the few hadrons the fidelity is not sure enough to choose between calibrated and not
            Stage("points", c.point_steps, batch=c.point_batch, validate=not c.blocks),
            Stage("calibration", c.calibration_rounds, average=False),
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Adam with one cycle of the learning rate."""
        c = self.config
        if stage == "showers":
            return self.shower_optimisers()
        if stage == "points":
            points = torch.optim.AdamW(self.network.parameters(), c.rate, weight_decay=1e-4)
            schedule = torch.optim.lr_scheduler.OneCycleLR(points, c.rate, c.point_steps + 1, pct_start=0.1)
            return {"points": Optimiser(points, schedule, clip_norm=1.0)}
        return {}

    def pool(self, step: Step) -> ShowerPool:
        """Merged showers of the training split, made once in a process."""
        if self._pool is None:
            c = self.config
            below = 1e3 * c.merge_below * np.array(self.stack.threshold_gev)
            showers, outline = step.training_showers(), self.networks.outline
            factor = None if outline is None else calibrated(showers, self.stack)
            self._pool = make_pool(showers, self.stack, number=c.pool, below_mev=below, factor=factor)
            if outline is not None and factor is not None:
                outline.factor.copy_(torch.from_numpy(factor))
        return self._pool

    @torch.no_grad()
    def standardise_all(self, pool: ShowerPool, step: Step) -> None:
        """Set centres and scales of all networks."""
        self.standardise_showers(pool.summaries)
        rng = np.random.default_rng(0)
        showers = draw_showers(pool, rng, len(pool), step.mirror)
        points = draw_points(pool, showers, rng, 64)
        self.standardise_spectrum(self.log_visible(points), points["layer"])
        values = self.coordinates(points)
        self.mean.copy_(values.mean(0))
        self.mean[:2] = 0.0
        self.scale.copy_(values.std(0).clamp(min=1e-3))

    def coordinates(self, points: Batch) -> Tensor:
        """Points as network coordinates [P, 3]: compressed position across the axis, place in the spectrum."""
        across = compress(points["across_mm"], self.radius_mm[points["layer"]])
        return torch.cat([across, self.spectrum_place(self.log_visible(points), points["layer"])[:, None]], 1)

    def log_visible(self, points: Batch) -> Tensor:
        """ln(E / MeV) of points before energies of layers were calibrated, [P]."""
        log_mev, outline = torch.log(points["mev"]), self.networks.outline
        return log_mev if outline is None else log_mev - torch.log(outline.factor)[points["layer"]]

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """One step of a stage."""
        del batch
        if step.stage == "calibration":
            return self.calibrate(step)
        c, pool = self.config, self.pool(step)
        if step.stage == "showers":
            if not step.index:
                self.standardise_all(pool, step)
            showers = draw_showers(pool, step.rng, c.shower_batch, step.mirror)
            with torch.no_grad():
                p = self.networks.incident(showers["energy"], showers["direction"], showers["pdg"])
            return self.shower_step(p, showers, step)
        clean, features, slot = self.example(step)
        known = torch.index_select(self.network.slots(features), 0, slot)
        sigma = log_normal(len(clean), step.device)
        noisy = clean + sigma[:, None] * torch.randn_like(clean)
        denoised = denoise(self.network, noisy, sigma, known)
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        loss = (weight[:, None] * (denoised - clean) ** 2).mean()
        step.minimise("points", loss)
        return {"loss": loss}

    @torch.no_grad()
    def example(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled points [P, 3] of a few showers, features [B, F, layers] and the slot of each point [P]."""
        c, pool = self.config, self.pool(step)
        showers = draw_showers(pool, step.rng, c.point_batch, step.mirror)
        points = draw_points(pool, showers, step.rng, c.points)
        net, layer_mev = self.networks, showers["layer_mev"]
        p = net.incident(showers["energy"], showers["direction"], showers["pdg"])
        _, mean = net.summary(p, layer_mev, layer_mev.sum(1, keepdim=True))
        latents = (showers["latents"] - net.latent_centre) / net.latent_scale
        start = None if net.outline is None else showers["start"]
        features = point_features(net, p, layer_mev, showers["layer_counts"], mean, latents, start)
        clean = (self.coordinates(points) - self.mean) / self.scale * SIGMA_DATA
        return clean, features, points["shower"] * self.stack.layers + points["layer"]

    def calibrate_spots(self, made: Showers, truth: Showers, rounds: int) -> dict[str, float]:
        """Correct energies of hadrons' points so that the spectrum of single particles is right in each calorimeter."""
        del rounds
        if self.networks.outline is None:
            return {}
        figures, tables = {}, self.networks.log_mev.view(-1, SPECTRUM_NODES + 1)
        for (name, layers), table in zip(self.stack.parts.items(), tables, strict=True):
            mine, theirs = (cells_of(s, truth, self.stack, k, layers) for k, s in enumerate((made, truth)))
            unit, log_mev = 1e3 * THRESHOLD_GEV[name], table.double().numpy()
            low, high, fade, end = (unit * limit for limit in (*_SINGLE_RANGE, *_SINGLE_FADE))
            shift = spectrum_shift(mine, theirs, log_mev[None], (), range_mev=(low, high), fades_mev=((fade, end),))[0]
            shifted = np.maximum.accumulate(log_mev + _DAMPING * shift) + 1e-7 * np.arange(len(log_mev))
            table.copy_(torch.from_numpy(shifted))
            figures[f"{name}_spectrum"] = float(abs(shift).max())
        return figures

    def sampler(self) -> PointCloudSampler:
        """Shower and unrolled steps."""
        return PointCloudSampler(self, noise_levels(self.config.sampler_steps))


def point_features(
    net: LayeredNetworks,
    p: Incident,
    layer_mev: Tensor,
    counts: Tensor,
    mean: Tensor,
    latents: Tensor,
    start: Tensor | None,
) -> Tensor:
    """What the points of a layer depend on, [B, F, layers]: particle, layer and its neighbours, rings, which layer.

    Of hadrons also where the shower starts, [B, 1].
    """
    features = net.context_features(p, layer_mev, counts, mean, latents)
    log_mev = net.log_layers(layer_mev) * (1.0 / 3.0)
    total = net.over_layers(layer_mev) + 1e-6
    before = (torch.cumsum(layer_mev, 1) - layer_mev) / total
    around = [
        torch.cat([log_mev[:, :1], log_mev[:, :-1]], 1),
        torch.cat([log_mev[:, 1:], log_mev[:, -1:]], 1),
        *(before, torch.sqrt(torch.clamp(before, min=0.0)), torch.exp(-20.0 * torch.clamp(before, min=0.0))),
    ]
    layers = torch.eye(net.layers)[None].expand(layer_mev.shape[0], net.layers, net.layers)
    steps = [] if net.outline is None or start is None else [net.outline.step_features(start)]
    return torch.cat([torch.clamp(features, -6.0, 6.0), torch.stack(around, 1), *steps, layers], 1)


def denoise(network: PointNetwork, noisy: Tensor, sigma: Tensor, known: Tensor) -> Tensor:
    """EDM's denoiser: [P, 3], [P], [P, hidden] to [P, 3]."""
    skip, out, scale = precondition(sigma)
    raw: Tensor = network(noisy * scale[:, None], fourier(sigma), known)
    return skip[:, None] * noisy + out[:, None] * raw


class PointCloudSampler(ShowerSampler):
    """Shower, points, calibration."""

    bit_identical = False  # rarely, the last bits of a shower differ alone and in a batch; the card says how often
    time: Tensor

    def __init__(self, system: PointCloud | Any, sigmas: list[float]) -> None:
        super().__init__(
            system.networks,
            system.stack,
            system.domain,
            noise=(NoiseInput(name="z_point", distribution="normal", shape=("spots", 3)),),
            output=spots_output(*system.config.capacity),
        )
        self.network: PointNetwork = system.network
        self.mean, self.scale = nn.Buffer(system.mean), nn.Buffer(system.scale)
        self.radius_mm = nn.Buffer(system.radius_mm, persistent=False)
        self.sigmas = sigmas
        self.time = nn.Buffer(fourier(torch.tensor(sigmas)).to(system.mean.device))

    def _denoised(self, x: Tensor, number: int, known: Tensor) -> Tensor:
        skip, out, scale = scalars(self.sigmas[number])
        raw: Tensor = self.network(x * scale, self.time[number], known)
        return skip * x + out * raw

    def points(self, noise: Tensor, known: Tensor) -> Tensor:
        """Standard normal noise [P, 3] to scaled points, down the noise levels by DPM-Solver++(2M) (2211.01095)."""
        x = noise * self.sigmas[0]
        before: Tensor | None = None
        step = 0.0
        for i, sigma in enumerate(self.sigmas):
            clean = self._denoised(x, i, known)
            if i + 1 == len(self.sigmas):
                return clean
            ratio, last = self.sigmas[i + 1] / sigma, step
            step = -math.log(ratio)
            ahead = clean if before is None else clean + (0.5 * step / last) * (clean - before)
            x, before = ratio * x + (1.0 - ratio) * ahead, clean
        return x

    def forward(
        self,
        energy: Tensor,
        direction: Tensor,
        pdg: Tensor,
        u_shower: Tensor,
        z_shower: Tensor,
        z_point: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return packed spots float32 [P, 4] (x mm, y mm, layer, GeV) and counts int64 [B]."""
        net = self.networks
        p = net.incident(torch.clamp(energy, *self.energy_gev), direction, pdg)
        start = self._start(p, u_shower)
        total, layer_mev, count, latents, mean = self._shower(p, u_shower, z_shower, start)
        features = point_features(net, p, layer_mev, count, mean, latents, start)
        latents = latents * net.latent_scale + net.latent_centre

        assert isinstance(self.output, SpotsOutput)
        packed = PackedRows(count.to(torch.int64), capacity_limit(self.output.capacity, p.energy))
        of_slot = packed.of_slot
        known = torch.index_select(self.network.slots(features), 0, packed.slot)
        made = self.points(packed.noise(z_point), known) * (self.scale / SIGMA_DATA) + self.mean
        along, across = expand(made[:, 0], made[:, 1], of_slot(self.radius_mm[None]))
        along = along * of_slot(p.secant)
        mev = self._spectrum(made[:, 2], part=of_slot(net.part[None]) if net.log_mev.dim() > 1 else None)
        if net.outline is None:
            mev = self._to_sums(packed, mev, along, across, layer_mev, latents, total)
        else:
            mev = mev * of_slot(net.outline.factor[None])
            mev = self._to_outline(packed, mev, along, across, layer_mev, latents, total)
        along, across = self._lean(packed, mev, along, across, latents)
        along = along + of_slot(self.depth_mm * (p.sin * p.secant))
        along_x, along_y = of_slot(p.along_x), of_slot(p.along_y)
        x, y = along * along_x - across * along_y, along * along_y + across * along_x
        if net.outline is not None:
            mev = mev * of_slot(1.0 / net.outline.factor[None])
        return torch.stack([x, y, of_slot(net.index[None]), mev * 1e-3], 0).transpose(0, 1), packed.counts


SYSTEM = PointCloud
