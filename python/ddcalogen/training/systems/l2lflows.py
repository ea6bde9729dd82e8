# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""L2LFlows: one flow for the layer energies, one causal flow for the cells of each layer (teacher, MAF).

After "L2LFlows: Generating High-Fidelity 3D Calorimeter Images" (Diefenbacher et al., arXiv:2302.11594) and its public
descendant ConvL2LFlows (arXiv:2405.20407): a masked autoregressive flow with rational-quadratic splines makes the 30
layer energies from the incident energy; 30 further ones make the 10 x 10 cells of each layer from a summary, by a small
network, of the five layers before, of the layer's energy and of the incident energy. Gradients are clipped, the
learning rate goes through one cycle, empty cells get logarithmically distributed noise, layers are scaled to their
energies, and a monotone cubic function with 128 nodes restores the spectrum of cell energies.

Differs from the sources: the direction is a further condition; cells and layer energies are standardised logarithms
(sources: logits); sizes of the cell flows are own choices, since the sources' were not to be found (CaloFlow's,
arXiv:2106.05285, are of that order); the spectrum function is the one that turns quantiles of the sampler's cell
energies into those of the training showers, fitted once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ddcalogen.card import Domain, NoiseInput
from ddcalogen.training.autoregressive import AutoregressiveStack, Weights, negative_log_normal, scan
from ddcalogen.training.operators import matrix_product, natural_log
from ddcalogen.training.representations import Batch, Grids
from ddcalogen.training.sampler import Sampler, draw_noise, incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig

__all__ = ["SYSTEM", "FlowConfig", "L2lFlows", "L2lFlowsConfig", "LayerSampler", "MonotoneCubic"]

NOISE_GEV = 1e-6
LOG10 = math.log(10.0)


class FlowConfig(SystemConfig):
    """Sizes of a flow."""

    blocks: int = Field(default=6, ge=1)
    hidden: int = Field(default=64, ge=1, description="width of the masked networks' two hidden layers")
    bins: int = Field(default=8, ge=2, description="bins of the splines")
    bound: float = Field(default=10.0, gt=0, description="end of the splines, in standard deviations")
    groups: int = Field(default=1000, ge=1, description="of variables drawn at once; at most one each")


class L2lFlowsConfig(SystemConfig):
    """Sizes and schedule."""

    cells: int = Field(default=10, ge=1, description="cells along x and along y")
    cell_mm: float = Field(default=5.088333, gt=0)
    history: int = Field(default=5, ge=1, description="layers before that a layer is told of")
    summary_hidden: int = Field(default=128, ge=1)
    summary: int = Field(default=64, ge=1, description="numbers in the summary")
    energies: FlowConfig = FlowConfig()
    shapes: FlowConfig = FlowConfig(hidden=256)
    steps: int = Field(default=180_000, ge=1)
    rate: float = Field(default=1e-3, gt=0, description="highest learning rate of the cycle")
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=5.0, gt=0)
    threshold_mev: float = Field(default=0.01, ge=0, description="cells below are empty")
    nodes: int = Field(default=128, ge=8, description="of the spectrum function")
    spectrum_showers: int = Field(default=20_000, ge=1)


class MonotoneCubic(nn.Module):
    """Monotone cubic function of logarithms (base 10), identity before it is fitted; outside its nodes a shift."""

    def __init__(self, nodes: int) -> None:
        super().__init__()
        self.low: Tensor
        self.step: Tensor
        self.value: Tensor
        self.slope: Tensor
        self.register_buffer("low", torch.tensor(-5.0))
        self.register_buffer("step", torch.tensor(5.0 / (nodes - 1)))
        self.register_buffer("value", torch.linspace(-5.0, 0.0, nodes))
        self.register_buffer("slope", torch.ones(nodes))

    @torch.no_grad()
    def fit(self, source: Tensor, target: Tensor) -> None:
        """Turn quantiles of `source` [N] into those of `target` [M]; nothing happens with fewer than 100 values."""
        if min(len(source), len(target)) < 100:
            return
        made = np.sort(source.double().cpu().numpy())
        truth = np.sort(target.double().cpu().numpy())
        nodes = len(self.value)
        x = np.linspace(made[0], made[-1], nodes)
        step = max((x[-1] - x[0]) / (nodes - 1), 1e-6)
        # the distribution function at a node, from a neighbourhood of one step: less noise than from single values
        level = 0.5 * (np.searchsorted(made, x, "left") + np.searchsorted(made, x, "right")) / len(made)
        y = np.quantile(truth, np.clip(level, 0.0, 1.0))
        y = np.maximum.accumulate(y + 1e-7 * np.arange(nodes))
        rise = np.diff(y) / step
        # slopes that keep it monotone: Fritsch and Carlson, SIAM J. Numer. Anal. 17 (1980) 238
        inner = 2.0 * rise[1:] * rise[:-1] / np.maximum(rise[1:] + rise[:-1], 1e-12)
        slope = np.concatenate([rise[:1], inner, rise[-1:]])
        for buffer, values in ((self.low, x[0]), (self.step, step), (self.value, y), (self.slope, slope)):
            buffer.copy_(torch.as_tensor(values).to(buffer))

    def forward(self, x: Tensor) -> Tensor:
        """Map logarithms [...]."""
        last = len(self.value) - 1
        place = (x - self.low) / self.step
        inside = torch.clamp(place, 0.0, float(last))
        index = torch.clamp(torch.floor(inside), 0.0, last - 1.0)
        t = inside - index
        at = index.to(torch.int64).reshape(-1)

        def pick(table: Tensor, number: Tensor) -> Tensor:
            return torch.index_select(table, 0, number).reshape(x.shape)

        y0, y1, s0, s1 = (pick(v, k) for v in (self.value, self.slope) for k in (at, at + 1))
        rest = 1.0 - t
        cubic = rest * rest * ((1.0 + 2.0 * t) * y0 + t * self.step * s0) + t * t * (
            (3.0 - 2.0 * t) * y1 - rest * self.step * s1
        )
        return cubic + (place - inside) * self.step


class LayerSampler(Sampler):
    """Energy, direction and noise to the grid, layer by layer; the loops are Scan operators in the graph."""

    def __init__(self, system: L2lFlows) -> None:
        c = system.config
        layers, cells = system.stack.layers, c.cells**2
        super().__init__(
            noise=(
                NoiseInput(name="layer_energies", distribution="normal", shape=(layers,)),
                NoiseInput(name="cells", distribution="normal", shape=(layers, cells)),
            ),
            output=system.grids.output(layers),
        )
        self.system = system
        self.layers, self.cells, self.history = layers, cells, c.history
        self.threshold_gev = c.threshold_mev * 1e-3

    def layer_energies(self, noise: Tensor, condition: Tensor) -> Tensor:
        """Standardised logarithms of the layer energies [B, layers]."""
        flow = self.system.energies
        return flow.slow(noise, condition, tuple(w[0] for w in flow.weights()))

    def logarithms(self, noise: Tensor, condition: Tensor, energies: Tensor) -> Tensor:
        """Standardised logarithms of the cell energies [layers, B, cells] from noise [layers, B, cells].

        One loop over layers, blocks and groups of cells; a step finds its weights by its numbers.
        """
        system, flow = self.system, self.system.shapes
        summary = system.summary_weights()
        weights = tuple(w.flatten(0, 1) for w in flow.weights())
        passes = flow.blocks * flow.groups
        number = torch.arange(self.layers * passes)
        layer, place = number // passes, number % passes
        block = flow.blocks - 1 - place // flow.groups
        rows = (
            layer,
            layer * flow.blocks + block,
            (place == 0).float(),
            (place % flow.groups == 0).float(),
            (place == passes - 1).float(),
        )
        slots = torch.arange(self.layers + self.history)
        window = torch.arange(self.history)
        padded = torch.nn.functional.pad(energies, (1, 0))

        def body(carry: Weights, row: Weights) -> tuple[Weights, Tensor]:
            drawn, target, x = carry
            at, flat, new_layer, new_block, done = row
            before = torch.index_select(drawn, 0, window + at).transpose(0, 1).flatten(1)
            energy = torch.index_select(padded, 1, torch.stack([at, at + 1]))
            own = [torch.index_select(w, 0, at.reshape(1)).squeeze(0) for w in summary]
            given = system.summarise(own, torch.cat([before, energy, condition], 1))
            z = torch.index_select(noise, 0, at.reshape(1)).squeeze(0)
            came = z * new_layer + x * (1.0 - new_layer)
            target = target + new_block * (came.flip(-1) - target)
            x = (1.0 - new_block) * x
            free = flow.parameters_of([torch.index_select(w, 0, flat.reshape(1)).squeeze(0) for w in weights], x, given)
            x, _ = flow.spline(target, free)
            mark = done * (slots == at + self.history).to(x.dtype)
            return (drawn + mark[:, None, None] * x[None], target, x), x[:, :1] * 1.0

        nothing = torch.zeros_like(noise[0])
        drawn = torch.nn.functional.pad(torch.zeros_like(noise), (0, 0, 0, 0, self.history, 0))
        (drawn, _, _), _ = scan(body, (drawn, nothing, nothing * 1.0), rows)
        return drawn[self.history :]

    def before_correction(self, energy: Tensor, direction: Tensor, layer_noise: Tensor, cell_noise: Tensor) -> Tensor:
        """Grid [B, layers, cells] in GeV, layers scaled to their energies, before the spectrum function."""
        system = self.system
        condition = system.condition(energy, direction)
        drawn = self.layer_energies(layer_noise, condition)
        logs = self.logarithms(cell_noise.transpose(0, 1), condition, drawn).transpose(0, 1)
        cells = torch.exp(LOG10 * torch.clamp(logs * system.cell_scale + system.cell_centre, -9.0, 1.5))
        wanted = torch.exp(LOG10 * torch.clamp(drawn * system.energy_scale + system.energy_centre, -9.0, 1.5))
        cells = cells * (cells >= self.threshold_gev).to(cells.dtype)
        wanted = wanted * (wanted >= max(self.threshold_gev, 3.0 * NOISE_GEV)).to(cells.dtype)
        cells = cells * (wanted / torch.clamp(cells.sum(2), min=1e-9))[:, :, None]
        return cells * (cells >= self.threshold_gev).to(cells.dtype)

    def forward(self, energy: Tensor, direction: Tensor, layer_energies: Tensor, cells: Tensor) -> Tensor:
        """See the class."""
        grid = self.before_correction(energy, direction, layer_energies, cells)
        filled = (grid > 0).to(grid.dtype)
        # 10^y: the logarithm from operators whose bits do not depend on the place
        logs = natural_log(torch.clamp(grid, min=1e-8)) * (1.0 / LOG10)
        corrected = torch.exp(LOG10 * self.system.spectrum(logs)) * filled
        side = self.system.config.cells
        return corrected.reshape(-1, self.layers, side, side)


class L2lFlows(System[L2lFlowsConfig]):
    __doc__ = __doc__
    Config: ClassVar[type[SystemConfig]] = L2lFlowsConfig
    title: ClassVar[str] = "L2LFlows, masked autoregressive"

    def __init__(self, config: L2lFlowsConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        c = config
        layers, cells = stack.layers, c.cells**2
        self.grids = Grids(c.cells, c.cells, c.cell_mm)
        conditions = 3
        self.energies = self._flow(c.energies, 1, layers, conditions)
        self.shapes = self._flow(c.shapes, layers, cells, c.summary)
        inputs = c.history * cells + 2 + conditions
        self.w_summary = nn.Parameter(torch.randn(layers, inputs, c.summary_hidden) * (1.0 / inputs) ** 0.5)
        self.b_summary = nn.Parameter(torch.zeros(layers, c.summary_hidden))
        self.v_summary = nn.Parameter(
            torch.randn(layers, c.summary_hidden, c.summary) * (1.0 / c.summary_hidden) ** 0.5
        )
        self.c_summary = nn.Parameter(torch.zeros(layers, c.summary))
        self.spectrum = MonotoneCubic(c.nodes)
        self.energy_centre: Tensor
        self.energy_scale: Tensor
        self.cell_centre: Tensor
        self.cell_scale: Tensor
        self.register_buffer("energy_centre", torch.zeros(layers))
        self.register_buffer("energy_scale", torch.ones(layers))
        self.register_buffer("cell_centre", torch.zeros(layers, cells))
        self.register_buffer("cell_scale", torch.ones(layers, cells))

    @staticmethod
    def _flow(c: FlowConfig, layers: int, size: int, given: int, *, mirrored: bool = False) -> AutoregressiveStack:
        return AutoregressiveStack(
            layers,
            size,
            given,
            blocks=c.blocks,
            hidden=c.hidden,
            bins=c.bins,
            bound=c.bound,
            groups=c.groups,
            reverse_first=mirrored,
        )

    # ------------------------------------------------------------------------------------------ variables

    @staticmethod
    def condition(energy: Tensor, direction: Tensor) -> Tensor:
        """What every flow is told of the particle, [B, 3]: logarithm of the energy, x and y of the direction."""
        return torch.cat([(natural_log(energy) - 3.5) * (1.0 / 1.2), 2.0 * direction[:, :2]], 1)

    def summary_weights(self) -> Weights:
        """Weights of the summary networks, [layers, ...] each."""
        return self.w_summary, self.b_summary, self.v_summary, self.c_summary

    @staticmethod
    def summarise(weights: Iterable[Tensor], known: Tensor) -> Tensor:
        """Summary [..., B, summary] of what a layer is told of [..., B, inputs]."""
        w, b, v, c = weights
        return matrix_product(torch.relu(matrix_product(known, w) + b.unsqueeze(-2)), v) + c.unsqueeze(-2)

    def _logarithms(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logarithms (base 10, GeV) of layer energies [B, layers] and cells [B, layers, cells], with noise."""
        grid = batch["grid"].flatten(2)
        filled = grid > 0
        total = grid.sum(2)
        layer_noise = NOISE_GEV * (1.0 + 0.2 * torch.randn_like(total)).clamp(min=0.1)
        empty = NOISE_GEV * torch.exp(0.2 * LOG10 * torch.randn_like(grid))
        noisy = torch.where(filled, grid + NOISE_GEV * torch.rand_like(grid), empty)
        return torch.log10(total + layer_noise), torch.log10(noisy)

    def variables(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return condition [B, 3], energies [B, layers], cells [layers, B, cells], known [layers, B, inputs].

        Energies and cells are standardised logarithms; `known` is what each layer is told of.
        """
        condition = self.condition(batch["energy"], batch["direction"])
        energies, cells = self._logarithms(batch)
        energies = (energies - self.energy_centre) / self.energy_scale
        cells = ((cells - self.cell_centre) / self.cell_scale).transpose(0, 1)
        return condition, energies, cells, self.known(condition, energies, cells)

    def known(self, condition: Tensor, energies: Tensor, cells: Tensor) -> Tensor:
        """What each layer is told of [layers, B, inputs]: the layers before, its energy and the last, the particle."""
        layers, history = self.stack.layers, self.config.history
        padded = torch.nn.functional.pad(cells, (0, 0, 0, 0, history, 0))
        before = torch.cat([padded[k : k + layers] for k in range(history)], 2)
        own = energies.T[:, :, None]
        last = torch.nn.functional.pad(own, (0, 0, 0, 0, 1, 0))[:layers]
        return torch.cat([before, last, own, condition[None].expand(layers, -1, -1)], 2)

    def log_density(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logarithm of the density of layer energies [B] and of each layer's cells given those before [layers, B]."""
        condition, energies, cells, known = self.variables(batch)
        return self._energy_density(energies, condition), self._shape_density(cells, known)

    def _energy_density(self, energies: Tensor, condition: Tensor) -> Tensor:
        z, log_slope, _ = self.energies.quick(energies[None], condition[None])
        return (log_slope - negative_log_normal(z))[0]

    def _shape_density(self, cells: Tensor, known: Tensor) -> Tensor:
        z, log_slope, _ = self.shapes.quick(cells, self.summarise(self.summary_weights(), known))
        return log_slope - negative_log_normal(z)

    # ------------------------------------------------------------------------------------------- training

    def representation(self, stage: str) -> Grids:
        """Grids that follow the axis."""
        del stage
        return self.grids

    @torch.no_grad()
    def standardise(self, batches: Iterable[Batch]) -> None:
        """Means and widths of the logarithms."""
        logs = [self._logarithms(batch) for batch in batches]
        for number, (centre, scale) in enumerate(
            ((self.energy_centre, self.energy_scale), (self.cell_centre, self.cell_scale))
        ):
            values = torch.cat([pair[number] for pair in logs])
            centre.copy_(values.mean(0))
            scale.copy_(values.std(0).clamp(min=0.05))

    def stages(self) -> tuple[Stage, ...]:
        """Flows, then the spectrum function."""
        return Stage("flows", self.config.steps), Stage("spectrum", 1, average=False)

    def _optimiser(self, parameters: Iterable[nn.Parameter], steps: int) -> Optimiser:
        c = self.config
        optimiser = torch.optim.AdamW(list(parameters), c.rate, weight_decay=c.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, c.rate, total_steps=max(steps, 2))
        return Optimiser(optimiser, schedule, c.clip_norm)

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """One of the energy flow, one of the cell flows and summaries."""
        if stage != "flows":
            return {}
        shapes = [*self.summary_weights(), *self.shapes.parameters()]
        return {
            "energies": self._optimiser(self.energies.parameters(), self.config.steps),
            "shapes": self._optimiser((p for p in shapes if isinstance(p, nn.Parameter)), self.config.steps),
        }

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Likelihood, or the fit of the spectrum function."""
        if step.stage == "spectrum":
            return self._fit_spectrum(step)
        condition, energies, cells, known = self.variables(batch)
        energy_loss = -self._energy_density(energies, condition).mean() / energies.shape[1]
        step.minimise("energies", energy_loss)
        shape_loss = -self._shape_density(cells, known).mean() / cells.shape[2]
        step.minimise("shapes", shape_loss)
        return {"energies": energy_loss, "shapes": shape_loss}

    @torch.no_grad()
    def _fit_spectrum(self, step: Step) -> Mapping[str, float | Tensor]:
        showers = step.training_showers()
        number = min(self.config.spectrum_showers, len(showers))
        showers = showers.select(np.sort(step.rng.choice(len(showers), number, replace=False)))
        truth = self.grids(showers, self.stack, step.rng)["grid"]
        sampler = self.sampler().eval()
        physics, made = incident(showers), []
        generator = torch.Generator().manual_seed(int(step.rng.integers(1 << 62)))
        for start in range(0, number, 64):
            rows = slice(start, start + 64)
            noise = draw_noise(sampler, len(physics["energy"][rows]), 0, generator)
            values = (physics["energy"][rows], physics["direction"][rows], *noise.values())
            made.append(sampler.before_correction(*(v.to(step.device) for v in values)).cpu().reshape(-1))
        source, target = torch.cat(made), truth.reshape(-1)
        least = sampler.threshold_gev
        self.spectrum.fit(torch.log10(source[source > least]), torch.log10(target[target > least]))
        return {"cells_made": float((source > least).sum()), "cells_true": float((target > least).sum())}

    def sampler(self) -> LayerSampler:
        """Noise to showers, the slow way of a masked autoregressive flow."""
        return LayerSampler(self)


SYSTEM = L2lFlows
