# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Layered electromagnetic shower: layer energies one after the other, spots from tables of quantiles.

Stage A draws what characterises a shower, one number after the other, each from a mixture of Gaussians whose parameters
a small network gives: visible energy; mean depth and width in depth; the energy of each layer given these and the
layers before it (one network for all layers, which sees depths in radiation lengths and so the same physics in every
layer and at every angle), then brought to the depth and width that were drawn; the number of spots;
energies in rings around the axis; the dipole of the energy across. Stage B places spots: one small network, evaluated
once for each layer of a shower, gives tables of quantiles of the spots' radius and energy (quantile regression, R.
Koenker and G. Bassett, Econometrica 46 (1978) 33) and the first two harmonics of their azimuths, of which tables are
made, too, so that a spot costs a few look-ups and no network.
Radii are drawn in equal strata and energies along a low-discrepancy sequence; then sums over layers and rings are
brought to what stage A has drawn. So stage B adds little noise to the fluctuations that stage A has learned.

Why so: a few thousand showers are enough, as every layer of every shower is an example for the same small network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from ddcalogen.card import Domain
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch, mirrored
from ddcalogen.training.sampler import Sampler, incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step
from ddcalogen.training.systems._layered_calibration import (
    cells_of,
    core_shift,
    development_shifts,
    groups_of_like,
    layer_shifts,
    radius_shift,
    response_shifts,
    ring_shifts,
    slope_shifts,
    spectrum_shifts,
    turn_shifts,
)
from ddcalogen.training.systems._layered_networks import (
    ENERGY_BANDS,
    ENERGY_KNOTS,
    ENERGY_NODES,
    LEAST_LEVEL_ENERGY,
    LEAST_LEVEL_RADIUS,
    RADIUS_CORRECTION_NODES,
    RADIUS_CORRECTION_RANGE,
    RADIUS_NODES,
    SPECTRUM_ZONES_MM,
    TURN_BANDS,
    Incident,
    level_of_place,
    place_of_level,
)
from ddcalogen.training.systems._layered_sampler import LayeredSampler
from ddcalogen.training.systems._layered_showers import ShowerConfig, ShowerSystem, columns
from ddcalogen.training.systems._layered_spots import RADIUS_OFFSET_MM, RING_EDGES_MM, SpotSummaries

__all__ = ["SYSTEM", "Layered", "LayeredConfig"]


Doubles = NDArray[np.float64]

_AT_ONCE = 512
"""Showers merged at once."""
_DAMPING = 0.9, 0.2
"""Part of a shift that is applied in the first round of the calibration, and how fast it falls: noise averages out."""
_MOST_CORE = 0.4
"""Of the excess of energy near the axis that the calibration adds."""
_TURN_WEIGHT, _TURN_MEV = 5.0, 3.0
"""Of the loss of azimuths, of whose harmonics the means are learned; spots count by their energy, up to a limit."""


class LayeredConfig(ShowerConfig):
    """Configuration."""

    merge_below_mev: float = Field(default=0.6, gt=0, description="deposits below join a neighbour")
    spots_per_shower: int = Field(default=128, ge=1, description="drawn from each shower for a step of stage B")
    spot_batch: int = Field(default=32, ge=1, description="showers for a step of stage B")
    table_hidden: tuple[int, ...] = (48, 48)
    spot_steps: int = Field(default=2000, ge=1)
    shower_batch: int = Field(default=64, ge=1)
    merges: int = Field(default=4, ge=1, description="mergings of each shower, with cells at other places")
    drift: float = Field(default=0.01, ge=0, description="wrongness of the share of energy left, in training")


class Layered(ShowerSystem[LayeredConfig]):
    """See the module."""

    Config = LayeredConfig
    title = "layer-wise mixture densities and quantile tables"
    calorimeters = ("ECAL", "HCAL", "ECAL+HCAL")

    def __init__(self, config: LayeredConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain, table_hidden=config.table_hidden, refined=True)
        self._summaries: Batch = {}
        radius, energy = (level_of_place(torch.arange(n + 1) / n) for n in (RADIUS_NODES, ENERGY_NODES))
        self.register_buffer(
            "radius_levels", radius.clamp(LEAST_LEVEL_RADIUS, 1.0 - LEAST_LEVEL_RADIUS), persistent=False
        )
        self.register_buffer(
            "energy_levels", energy.clamp(LEAST_LEVEL_ENERGY, 1.0 - LEAST_LEVEL_ENERGY), persistent=False
        )

    radius_levels: Tensor
    energy_levels: Tensor

    def describe(self) -> str:
        """Return the description for the card."""
        charged = (
            "Electrons and positrons share all networks with photons and are told apart by a flag and their charge. "
            if any(p != 22 for p in self.domain.pdg)
            else ""
        )
        return (
            "Electromagnetic shower in the ILD silicon-tungsten ECAL, learned from Geant4 showers in the gap-free ECAL "
            "layer stack. Visible energy, mean depth and spread in depth, energy of each layer given these and those "
            "before it, number of spots, energies in rings and dipole are drawn from mixture densities; spots (about "
            "one particle each, or a part of the core) "
            f"from tables of quantiles that a network gives for each layer. {charged}Field: 3.5 T along -x of the "
            "shower frame, as in a barrel stave; its effect on showers is learned with the rest and is not right where "
            "the field points elsewhere (endcaps). Outside its domain, and for other particles, it must not be used."
        )

    # ------------------------------------------------------------------------------------------------- training

    def representation(self, stage: str) -> SpotSummaries | None:
        """Return the batches of a stage."""
        return self._summary(self.config.spots_per_shower) if stage == "spots" else None

    def _summary(self, spots: int) -> SpotSummaries:
        return SpotSummaries(spots, self.config.merge_below_mev)

    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set centres, scales and the spectrum of spot energies."""
        parts = list(batches)
        every = {name: torch.cat([b[name] for b in parts]) for name in parts[0]}
        self.standardise_showers(every)
        self.standardise_spectrum(every["spot_log_mev"])

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: tables of spots, showers, and the correction of the number of cells."""
        return (
            Stage("spots", self.config.spot_steps, batch=self.config.spot_batch, validate=False),
            Stage("showers", self.config.shower_steps, validate=False),
            Stage("calibration", self.config.calibration_rounds, average=False),
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Return the optimisers of a stage."""
        if stage == "showers":
            return self.shower_optimisers()
        if stage == "spots":
            parameters: dict[str, object] = {"params": list(self.networks.context.parameters())}
            return {"spots": self.optimiser([parameters], self.config.spot_steps)}
        return {}

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Do one step of a stage."""
        if step.stage == "calibration":
            return self.calibrate(step)
        if step.stage == "showers":
            batch = self._summaries_of(step)
        with torch.no_grad():
            p = self.networks.incident(batch["energy"], batch["direction"], batch["pdg"])
        return self.shower_step(p, batch, step) if step.stage == "showers" else self._spot_step(p, batch, step)

    def _summaries_of(self, step: Step) -> Batch:
        """Draw showers from those of the training split, which are merged once (a few times each) and kept."""
        if not self._summaries:
            showers, parts = step.training_showers(), []
            for number in range(self.config.merges):
                for start in range(0, len(showers), _AT_ONCE):
                    some = showers.select(np.arange(start, min(start + _AT_ONCE, len(showers))))
                    if number % 2:
                        some = mirrored(some, step.mirror)
                    make = self._summary(0)
                    parts.append(incident(some) | make(some, self.stack, np.random.default_rng([number, start])))
            self._summaries = {name: torch.cat([part[name] for part in parts]).to(step.device) for name in parts[0]}
        size = len(self._summaries["energy"])
        rows = torch.from_numpy(step.rng.integers(0, size, self.config.shower_batch)).to(step.device)
        return {name: values[rows] for name, values in self._summaries.items()}

    def calibrate_spots(self, made: Showers, truth: Showers, rounds: int) -> dict[str, float]:
        """Correct spots and sums of energies so that readout cells are right; see `_layered_calibration`."""
        if tuple(self.stack.parts) != ("ecal",):
            return {}  # its ranges are those of silicon pads
        if rounds > max(0, self.config.calibration_rounds - 3):
            return {}  # the last rounds are for the number of cells alone
        net, part = self.networks, _DAMPING[0] / (1.0 + _DAMPING[1] * rounds)
        cells = cells_of(made, truth, self.stack, 0), cells_of(truth, truth, self.stack, 1)
        with torch.no_grad():
            p = net.incident(**incident(truth))
            log_energy = p.log_energy[:, 0].double().numpy()
            features = []
            for sample in cells:
                layer_mev = torch.from_numpy(sample.layer_mev).to(torch.float32) + 1e-6
                of_showers, _ = net.summary(p, layer_mev, layer_mev.sum(1, keepdim=True))
                features.append(of_showers[:, 1:5, 0].double().numpy())
            terms = net.terms_of(p).double().numpy()
            along_field = (p.along_x**2 - p.along_y**2)[:, 0].double().numpy()
            groups = groups_of_like(log_energy, p.incline[:, 0].double().numpy(), along_field)
            path = p.path.double().numpy()
        response = response_shifts(*cells, log_energy, terms)
        net.response_correction.add_(torch.from_numpy(part * response[:, None]).to(torch.float32))
        core = core_shift(*cells, log_energy)
        net.core_correction.add_(part * core).clamp_(0.0, _MOST_CORE)
        development = development_shifts(*cells, log_energy, path, terms)
        net.development_correction.add_(torch.from_numpy(part * development).to(torch.float32))
        rings = ring_shifts(*cells, groups, terms)
        net.ring_correction.add_(torch.from_numpy(part * rings).to(torch.float32))
        layers = layer_shifts(*cells, log_energy)
        net.layer_correction.add_(torch.from_numpy(part * layers).to(torch.float32))
        slopes = slope_shifts(*cells, log_energy, (features[0], features[1]))
        net.count_slopes.add_(torch.from_numpy(part * slopes).to(torch.float32))
        level, slope = net.spectrum_correction.double().numpy()
        spectrum = net.log_mev.double().numpy() + level
        spectra = part * spectrum_shifts(*cells, log_energy, spectrum, SPECTRUM_ZONES_MM)
        level = np.maximum.accumulate(spectrum + spectra[0], 1) - net.log_mev.double().numpy()
        net.spectrum_correction.copy_(torch.from_numpy(np.stack([level, slope + spectra[1]])))
        nodes = np.linspace(*RADIUS_CORRECTION_RANGE, RADIUS_CORRECTION_NODES + 1)
        tables = net.radius_correction.double().numpy()
        levels = nodes + tables[: len(ENERGY_KNOTS)]
        at = np.exp(levels.mean(0)) - RADIUS_OFFSET_MM
        radius = part * radius_shift(*cells, groups, terms, at, RADIUS_OFFSET_MM)
        levels = np.maximum.accumulate(levels + radius[: len(ENERGY_KNOTS)], 1) - nodes
        tables = np.concatenate([levels, tables[len(ENERGY_KNOTS) :] + radius[len(ENERGY_KNOTS) :]])
        net.radius_correction.copy_(torch.from_numpy(tables))
        at = np.log(np.maximum(np.exp(nodes) - RADIUS_OFFSET_MM, 0.1))
        direction = truth.direction.astype(np.float64)
        turns = turn_shifts(*cells, log_energy, direction, at, RING_EDGES_MM)
        net.turn_correction.add_(torch.from_numpy(part * turns).to(torch.float32))
        return {
            "radius": float(abs(radius[1]).mean()),
            "layers": float(abs(layers[0]).mean()),
            "turns": float(abs(turns).mean()),
            "rings": float(abs(rings[1]).mean()),
            "core": core,
            "response": float(response[1]),
            "depth_slope": float(slopes[2]),
            "depth": float(development[1, 0]),
        }

    def _spot_step(self, p: Incident, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        net, layer_mev = self.networks, batch["layer_mev"]
        with torch.no_grad():
            total = layer_mev.sum(1, keepdim=True)
            _, mean = net.summary(p, layer_mev, total)
            latents = (batch["latents"] - net.latent_centre) / net.latent_scale
            context = net.context_features(p, layer_mev, batch["layer_counts"], mean, latents)
            layer = batch["spot_layer"]
            features = torch.gather(context, 2, layer[:, None, :].expand(-1, context.shape[1], -1))
            place = place_of_level(batch["spot_rank"]).reshape(-1)
            x = self.spectrum_place(batch["spot_log_mev"]) - net.core_excess(batch["spot_radius"])
            x = x.reshape(-1)
        seen = columns(features)
        raw = net.context(seen)
        tables = net.tables(seen, raw)[0].T
        at, size = net.tables_of.radius, net.tables_of.energy
        energies = tables[:, at : at + size].reshape(-1, ENERGY_BANDS, ENERGY_NODES + 1)
        row = torch.arange(len(x), device=x.device)
        energies = energies[row, (place * ENERGY_BANDS).long().clamp(0, ENERGY_BANDS - 1)]
        band = (place * TURN_BANDS).long().clamp(0, TURN_BANDS - 1)
        means = [m[0, band, row] for m in net.harmonics(raw[:, at + size :], seen)]
        radius = _pinball(tables[:, :at], batch["spot_radius"].reshape(-1), self.radius_levels)
        energy = _pinball(energies, x, self.energy_levels)
        angle = 2.0 * torch.pi * batch["spot_turn"].reshape(-1)
        off = [f(k * angle) - means[n + 2 * k - 2] for k in (1, 2) for n, f in enumerate((torch.cos, torch.sin))]
        mev = torch.exp(batch["spot_log_mev"].reshape(-1)).clamp(max=_TURN_MEV)
        turn = (mev * sum(o * o for o in off)).mean() / mev.mean()
        step.minimise("spots", radius + energy + _TURN_WEIGHT * turn)
        return {"radius": radius, "energy": energy, "turn": turn}

    def sampler(self) -> Sampler:
        """Return the network from incident particle to spots."""
        return LayeredSampler(self.networks, self.stack, self.domain)


def _pinball(nodes: Tensor, values: Tensor, levels: Tensor) -> Tensor:
    """Loss whose minimum are the quantiles: nodes [P, K], values [P], levels [K]; rare levels count more."""
    off = values[:, None] - nodes
    return (torch.maximum(levels * off, (levels - 1.0) * off) * (levels * (1.0 - levels)) ** -0.6).mean()


SYSTEM = Layered
