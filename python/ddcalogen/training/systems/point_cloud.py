# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Point cloud by a shower flow and a diffusion model, after CaloClouds II and 3 (2309.05704, 2511.01460).

Geant4 steps are clustered on sub-cells (a fifth of a cell). Two stages:

- *flow*: a normalising flow (ShowerFlow) makes points and energy of each layer, both sums, centre of gravity, radius;
- *diffusion*: a network denoises points (EDM, 2206.00364), conditioned on energy, angle, layer and the flow's numbers.

The exported sampler is unrolled: flow, Heun steps, calibration (energy of each layer and centre of gravity become what
the flow says).

Where it differs from the source: the layer of a point is given by the flow's counts from the start, so the network
makes (x, y, E) and no points need sorting into layers (as in AllShowers, 2601.11716); radius is a number of the flow,
too; distances from the axis are compressed logarithmically; polynomials that correct the number of points are not
needed, as the counts are the flow's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ddcalogen.card import Domain, NoiseInput, SpotsOutput
from ddcalogen.training.operators import PackedRows
from ddcalogen.training.point_cloud_networks import (
    SIGMA_DATA,
    LayerContext,
    PointNetwork,
    ShowerFeatures,
    ShowerFlow,
    compress,
    context,
    expand,
    fourier,
    karras,
    log_normal,
    precondition,
    scalars,
)
from ddcalogen.training.representations import Batch, Clouds
from ddcalogen.training.sampler import Sampler, capacity_limit, spots_output
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig

__all__ = ["SYSTEM", "PointCloud", "PointCloudConfig", "PointCloudSampler"]


class PointCloudConfig(SystemConfig):
    """Sizes and schedule."""

    flow_steps: int = Field(default=6000, ge=1)
    flow_batch: int = Field(default=256, ge=2)
    flow_rate: float = Field(default=1e-3, gt=0)
    flow_hidden: int = Field(default=64, ge=4)
    flow_transforms: int = Field(default=4, ge=2)
    flow_bins: int = Field(default=6, ge=3)
    flow_weight_decay: float = Field(default=1e-2, ge=0)
    diffusion_steps: int = Field(default=20_000, ge=1)
    points: int = Field(default=128, ge=1, description="points of a shower in a training step")
    rate: float = Field(default=1e-3, gt=0)
    hidden: int = Field(default=64, ge=4)
    depth: int = Field(default=3, ge=1)
    heun_steps: int = Field(default=13, ge=1, description="noise levels of the sampler; 2 n - 1 evaluations")
    capacity: tuple[float, float, int] = Field(default=(150.0, 100.0, 12_000), description="base, per GeV, maximum")


class PointCloud(System[PointCloudConfig]):
    """Shower flow and diffusion of points."""

    Config: ClassVar[type[SystemConfig]] = PointCloudConfig
    title: ClassVar[str] = "point cloud, diffusion"
    calorimeters: ClassVar[tuple[str, ...]] = ("ECAL", "HCAL", "ECAL+HCAL")
    description: ClassVar[str] = (
        "Point cloud of Geant4 steps clustered on fifths of a cell, after CaloClouds II and 3 (2309.05704, 2511.01460):"
        " a normalising flow makes points and energy of each layer, centre of gravity and radius; an EDM diffusion "
        "network, unrolled over its Heun steps, places the points; layer energies and centre of gravity are calibrated "
        "to the flow's. Points of a shower are independent given these numbers. Field of the training data: 3.5 T"
        " along -x of the shower frame."
    )

    mean: Tensor
    scale: Tensor

    def __init__(self, config: PointCloudConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        self.features = ShowerFeatures(stack.layers)
        self.flow = ShowerFlow(self.features.size, config.flow_hidden, config.flow_transforms, config.flow_bins)
        self.network = PointNetwork(stack.layers, config.hidden, config.depth)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("scale", torch.ones(3))

    def representation(self, stage: str) -> Clouds:
        """Sub-cell clusters relative to the axis."""
        del stage
        return Clouds("subcell")

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Fit the numbers of the flow and the scales of the points."""
        held = list(batches)
        self.features.fit(held)
        sums, squares, number = torch.zeros(3), torch.zeros(3), 0.0
        for batch in held:
            values, there = self._coordinates(batch)
            chosen = values[there]
            sums, squares, number = sums + chosen.sum(0), squares + (chosen**2).sum(0), number + len(chosen)
        self.mean.copy_(sums / max(number, 1.0))
        self.mean[:2] = 0.0
        self.scale.copy_(torch.sqrt(squares / max(number, 1.0) - self.mean**2).clamp(min=1e-3))

    @staticmethod
    def _coordinates(batch: Batch) -> tuple[Tensor, Tensor]:
        """Points as network coordinates [B, N, 3] (compressed x and y, ln MeV), and which there are."""
        points = batch["points"]
        there = torch.arange(points.shape[1], device=points.device)[None, :] < batch["counts"][:, None]
        there = there & (points[..., 3] > 0)
        direction = batch["direction"][:, None, :].expand(-1, points.shape[1], 3)
        mev = torch.log((1e3 * points[..., 3:4]).clamp(min=1e-5))
        return torch.cat([compress(points[..., :2], direction), mev], -1), there

    def stages(self) -> tuple[Stage, ...]:
        """Flow, then diffusion."""
        c = self.config
        return (
            Stage("flow", c.flow_steps, batch=c.flow_batch, validate=False),
            Stage("diffusion", c.diffusion_steps),
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Adam with one cycle of the learning rate."""
        c = self.config
        if stage == "flow":
            flow = torch.optim.AdamW(self.flow.parameters(), c.flow_rate, weight_decay=c.flow_weight_decay)
            schedule = torch.optim.lr_scheduler.OneCycleLR(flow, c.flow_rate, c.flow_steps + 1)
            return {"flow": Optimiser(flow, schedule, clip_norm=5.0)}
        points = torch.optim.AdamW(self.network.parameters(), c.rate, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(points, c.rate, c.diffusion_steps + 1, pct_start=0.1)
        return {"points": Optimiser(points, schedule, clip_norm=1.0)}

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """One step of either stage."""
        ctx = context(batch["energy"], batch["direction"])
        standard = self.features.standardise(self.features.raw(batch), ctx)
        if step.stage == "flow":
            loss = self.flow.loss(standard, ctx)
            step.minimise("flow", loss)
            return {"loss": loss}
        clean, slot = self._chosen(batch)
        known = self.network.slots(ctx, self.features.point_features(standard))
        known = torch.index_select(known.reshape(-1, known.shape[2]), 0, slot)
        sigma = log_normal(len(clean), step.device)
        noisy = clean + sigma[:, None] * torch.randn_like(clean)
        denoised = denoise(self.network, noisy, sigma, known)
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        loss = (weight[:, None] * (denoised - clean) ** 2).mean()
        step.minimise("points", loss)
        return {"loss": loss}

    def _chosen(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """A sample of the points of each shower, scaled, [P, 3], and the slot (shower x layer) of each, [P]."""
        values, there = self._coordinates(batch)
        size, number = there.shape
        # each shower's own points, with replacement
        place = (torch.rand(size, self.config.points, device=values.device) * there.sum(1, keepdim=True)).long()
        order = torch.argsort(~there, dim=1, stable=True)
        index = torch.gather(order, 1, place.clamp(max=number - 1))
        clean = torch.gather(values, 1, index[..., None].expand(-1, -1, 3)).reshape(-1, 3)
        layer = torch.gather(batch["points"][..., 2], 1, index).long()
        slot = torch.arange(size, device=values.device)[:, None] * self.stack.layers + layer
        some = there.any(1)[:, None].expand(-1, self.config.points).reshape(-1)
        return ((clean - self.mean) / self.scale * SIGMA_DATA)[some], slot.reshape(-1)[some]

    def sampler(self) -> PointCloudSampler:
        """Flow and Heun steps."""
        return PointCloudSampler(self, karras(self.config.heun_steps))


def denoise(network: PointNetwork, noisy: Tensor, sigma: Tensor, known: Tensor) -> Tensor:
    """EDM's denoiser: [P, 3], [P], [P, hidden] to [P, 3]."""
    skip, out, scale = precondition(sigma)
    raw: Tensor = network(noisy * scale[:, None], fourier(sigma), known)
    return skip[:, None] * noisy + out[:, None] * raw


class PointCloudSampler(Sampler):
    """Flow, points, calibration."""

    bit_identical = False  # rarely, the last bits of a shower differ alone and in a batch; the card says how often
    time: Tensor

    def __init__(self, system: PointCloud, sigmas: list[float]) -> None:
        size = system.features.size
        super().__init__(
            noise=(
                NoiseInput(name="z_shower", distribution="normal", shape=(size,)),
                NoiseInput(name="z_point", distribution="normal", shape=("spots", 3)),
            ),
            output=spots_output(*system.config.capacity),
        )
        self.features, self.flow, self.network = system.features, system.flow, system.network
        self.mean, self.scale = nn.Buffer(system.mean), nn.Buffer(system.scale)
        self.sigmas = sigmas
        self.time = nn.Buffer(fourier(torch.tensor(sigmas)).to(system.mean.device))
        self.depth_mm = nn.Buffer(torch.tensor(system.stack.layer_depth_mm).to(system.mean.device))
        self.layers = system.stack.layers
        low, high = system.trained_on.energy_gev
        self.range_gev = (low, high)

    def _denoised(self, x: Tensor, number: int, known: Tensor) -> Tensor:
        skip, out, scale = scalars(self.sigmas[number])
        raw: Tensor = self.network(x * scale, self.time[number], known)
        return skip * x + out * raw

    def points(self, noise: Tensor, known: Tensor) -> Tensor:
        """Standard normal noise [P, 3] to scaled points: Heun's method down the noise levels."""
        x = noise * self.sigmas[0]
        for i, sigma in enumerate(self.sigmas):
            slope = (x - self._denoised(x, i, known)) / sigma
            after = self.sigmas[i + 1] if i + 1 < len(self.sigmas) else 0.0
            ahead = x + (after - sigma) * slope
            if after:
                second = (ahead - self._denoised(ahead, i + 1, known)) / after
                ahead = x + (after - sigma) * 0.5 * (slope + second)
            x = ahead
        return x

    def forward(self, energy: Tensor, direction: Tensor, z_shower: Tensor, z_point: Tensor) -> tuple[Tensor, Tensor]:
        """Return packed spots [P, 4] and counts [B]."""
        energy = torch.clamp(energy, self.range_gev[0], self.range_gev[1])
        direction = torch.cat([direction[:, :2], torch.clamp(direction[:, 2:3], min=0.2)], 1)
        ctx = context(energy, direction)
        shower: LayerContext = self.features.layers_of(self.flow(z_shower, ctx), ctx, energy)
        assert isinstance(self.output, SpotsOutput)
        rows = PackedRows(shower.counts.to(torch.int64), capacity_limit(self.output.capacity, energy))
        known = self.network.slots(ctx, shower.features)
        known = torch.index_select(known.reshape(-1, known.shape[2]), 0, rows.slot)
        made = self.points(rows.noise(z_point), known) * (self.scale / SIGMA_DATA) + self.mean
        towards = rows.of_row(direction)
        offset = expand(made[:, :2], towards)
        weight = torch.exp(torch.clamp(made[:, 2], -9.0, 5.0))
        # energy of each layer as the flow says; a layer's sum has its own points only, in order
        slots = rows.batch * rows.slots
        sums = torch.zeros(slots, device=energy.device).scatter_add(0, rows.slot, weight)
        gev = weight * torch.gather(shower.energy_gev.reshape(-1) / (sums + 1e-12), 0, rows.slot)
        # centre of gravity as the flow says
        moments = [
            torch.zeros(slots, device=energy.device)
            .scatter_add(0, rows.slot, gev * offset[:, i])
            .reshape(rows.batch, rows.slots)
            .sum(1, keepdim=True)
            for i in (0, 1)
        ]
        total = shower.energy_gev.sum(1, keepdim=True) + 1e-12
        shift = rows.of_row(shower.shift_mm - torch.cat(moments, 1) / total)
        layer = torch.remainder(rows.slot, rows.slots)
        depth = torch.gather(self.depth_mm, 0, layer) / towards[:, 2]
        x = offset[:, 0] + shift[:, 0] + depth * towards[:, 0]
        y = offset[:, 1] + shift[:, 1] + depth * towards[:, 1]
        spots = torch.stack([x, y, layer.to(torch.float32), gev], 0).transpose(0, 1)
        return spots, rows.counts


SYSTEM = PointCloud
