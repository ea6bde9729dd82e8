# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Layered electromagnetic shower: layer energies one after the other, spots from tables of quantiles.

Stage A draws what characterises a shower, one number after the other, each from a mixture of Gaussians whose parameters
a small network gives: visible energy; the energy of each layer given the layers before it (one network for all layers,
which sees depths in radiation lengths and so the same physics in every layer and at every angle); the number of spots;
energies in rings around the axis; the dipole of the energy across. Stage B places spots: one small network, evaluated
once for each layer of a shower, gives tables of quantiles of the spots' radius, energy and azimuth (quantile
regression, R. Koenker and G. Bassett, Econometrica 46 (1978) 33), so that a spot costs a few look-ups and no network.
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
from torch.optim.lr_scheduler import OneCycleLR

from ddcalogen.card import Domain
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import Sampler, generate, incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Stage, Step, System, SystemConfig
from ddcalogen.training.systems._layered_networks import (
    ENERGY_BANDS,
    ENERGY_NODES,
    LEAST_LEVEL_ENERGY,
    LEAST_LEVEL_RADIUS,
    MEV_PER_GEV,
    MEV_UNIT,
    RADIUS_NODES,
    SPECTRUM_NODES,
    SPECTRUM_RANGE,
    TURN_BANDS,
    TURN_NODES,
    Incident,
    LayeredNetworks,
    LayeredSampler,
    level_of_place,
    place_of_level,
)
from ddcalogen.training.systems._layered_spots import SpotSummaries
from ddcalogen.validation.observables import make_cells

__all__ = ["SYSTEM", "Layered", "LayeredConfig"]


Doubles = NDArray[np.float64]


class LayeredConfig(SystemConfig):
    """Configuration."""

    merge_below_mev: float = Field(default=0.6, gt=0, description="deposits below join a neighbour")
    spots_per_shower: int = Field(default=64, ge=1, description="drawn from each shower for a step of stage B")
    layer_hidden: tuple[int, ...] = (48, 48)
    table_hidden: tuple[int, ...] = (48, 48)
    shower_steps: int = Field(default=6000, ge=1)
    spot_steps: int = Field(default=2000, ge=1)
    calibration_showers: int = Field(default=3000, ge=8)
    calibration_rounds: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    latent_decay: float = Field(default=3e-3, ge=0, description="weight decay of the networks of the latents")


class Layered(System[LayeredConfig]):
    """See the module."""

    Config = LayeredConfig
    title = "layer-wise mixture densities and quantile tables"
    calorimeters = ("ECAL", "HCAL", "ECAL+HCAL")

    def __init__(self, config: LayeredConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        self.networks = LayeredNetworks(stack, layer_hidden=config.layer_hidden, table_hidden=config.table_hidden)
        self.register_buffer("seen", torch.ones(len(domain.pdg)))
        radius, energy = (level_of_place(torch.arange(n + 1) / n) for n in (RADIUS_NODES, ENERGY_NODES))
        self.register_buffer(
            "radius_levels", radius.clamp(LEAST_LEVEL_RADIUS, 1.0 - LEAST_LEVEL_RADIUS), persistent=False
        )
        self.register_buffer(
            "energy_levels", energy.clamp(LEAST_LEVEL_ENERGY, 1.0 - LEAST_LEVEL_ENERGY), persistent=False
        )
        self.register_buffer("turn_levels", torch.arange(1, TURN_NODES) / TURN_NODES, persistent=False)

    seen: Tensor
    radius_levels: Tensor
    energy_levels: Tensor
    turn_levels: Tensor

    @property
    def domain(self) -> Domain:
        """Those of the configured particles that were in the training data."""
        trained = self.trained_on
        pdg = tuple(p for p, seen in zip(trained.pdg, self.seen.tolist(), strict=True) if seen)
        return trained.model_copy(update={"pdg": pdg})

    def describe(self) -> str:
        """Return the description for the card."""
        charged = (
            "Electrons and positrons share all networks with photons and are told apart by a flag and their charge. "
            if any(p != 22 for p in self.domain.pdg)
            else ""
        )
        return (
            "Electromagnetic shower in the ILD silicon-tungsten ECAL, learned from Geant4 showers in the gap-free ECAL "
            "layer stack. Visible energy, energy of each layer given those before it, number of spots, energies in "
            "rings and dipole are drawn from mixture densities; spots (about one particle each, or a part of the core) "
            f"from tables of quantiles that a network gives for each layer. {charged}Field: 3.5 T along -x of the "
            "shower frame, as in a barrel stave; its effect on showers is learned with the rest and is not right where "
            "the field points elsewhere (endcaps). Outside its domain, and for other particles, it must not be used."
        )

    # ------------------------------------------------------------------------------------------------- training

    def representation(self, stage: str) -> SpotSummaries | None:
        """Return the batches of a stage."""
        if stage == "calibration":
            return None
        return SpotSummaries(self.config.spots_per_shower if stage == "spots" else 0, self.config.merge_below_mev)

    def standardise(self, batches: Iterable[Batch]) -> None:
        """Set centres, scales and the spectrum of spot energies."""
        parts = list(batches)
        every = {name: torch.cat([b[name] for b in parts]) for name in parts[0]}
        net = self.networks
        total, counts = every["layer_mev"].sum(1, keepdim=True), every["layer_counts"]
        response = self._response(every["energy"], total)
        net.response.standardise(response)
        net.response_range.copy_(torch.stack([response.min(), response.max()]))
        net.number.standardise(torch.log(counts.sum(1, keepdim=True) / total))
        net.count.standardise(torch.log(counts[counts > 0]))
        net.layer.centre.fill_(3.0)
        net.layer.scale.fill_(2.0)
        net.latent_centre.copy_(every["latents"].mean(0))
        net.latent_scale.copy_(every["latents"].std(0))
        self.seen.copy_(torch.tensor([float((every["pdg"] == p).any()) for p in self.trained_on.pdg]))
        net.log_mev.copy_(torch.from_numpy(_spectrum_table(every["spot_log_mev"].double().numpy().ravel())))

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: tables of spots, showers, and the correction of the number of cells."""
        return (
            Stage("spots", self.config.spot_steps, validate=False),
            Stage("showers", self.config.shower_steps),
            Stage("calibration", self.config.calibration_rounds, average=False),
        )

    def optimisers(self, stage: str) -> dict[str, Optimiser]:
        """Return the optimisers of a stage."""
        net, c = self.networks, self.config

        def optimiser(parameters: list[dict[str, object]], steps: int) -> Optimiser:
            adam = torch.optim.AdamW(parameters, lr=c.learning_rate, weight_decay=1e-5)
            rates = [group["lr"] for group in adam.param_groups]
            return Optimiser(adam, OneCycleLR(adam, rates, total_steps=steps + 1, pct_start=0.15), clip_norm=5.0)

        if stage == "showers":
            single = [*net.response.parameters(), *net.number.parameters(), *net.count.parameters()]
            latents = {"params": list(net.latent.parameters()), "weight_decay": c.latent_decay}
            return {
                "layer": optimiser([{"params": list(net.layer.parameters())}], c.shower_steps),
                "shower": optimiser([{"params": single}, latents], c.shower_steps),
            }
        if stage == "spots":
            return {"spots": optimiser([{"params": list(net.context.parameters())}], c.spot_steps)}
        return {}

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Do one step of a stage."""
        if step.stage == "calibration":
            return self._calibrate(step)
        with torch.no_grad():
            p = self.networks.incident(batch["energy"], batch["direction"], batch["pdg"])
        return self._shower_step(p, batch, step) if step.stage == "showers" else self._spot_step(p, batch, step)

    def _response(self, energy: Tensor, total: Tensor) -> Tensor:
        return 10.0 * torch.log(total / (MEV_PER_GEV * energy)) / self.networks.response_width(energy)

    def _shower_step(self, p: Incident, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        net, layer_mev, counts = self.networks, batch["layer_mev"], batch["layer_counts"]
        total = layer_mev.sum(1, keepdim=True)
        with torch.no_grad():
            fixed = torch.cat([net.layer_features(p, total), net.known_history(p, layer_mev, total)], 1)
            # layers without energy: spread below zero, where what is drawn counts as none
            layers = torch.where(
                layer_mev > 0.01, torch.log1p(layer_mev / MEV_UNIT), -0.1 - 0.5 * torch.rand_like(layer_mev)
            )
            summary, mean = net.summary(p, layer_mev, total)
            number = torch.log(counts.sum(1, keepdim=True) / total)
            scaled = (number - net.number.centre) / net.number.scale
            spread = torch.log((counts - 0.5 + torch.rand_like(counts)).clamp(min=0.3))
            latents = (batch["latents"] - net.latent_centre) / net.latent_scale
            features = net.latent_features(p, summary, scaled)
            count_features = net.count_features(p, layer_mev, mean, scaled)
        layer = net.layer.nll(_columns(fixed), layers.reshape(1, -1)).mean()
        step.minimise("layer", layer)
        response = net.response.nll(
            _columns(net.response_features(p)), self._response(p.energy, total).reshape(1, -1)
        ).mean()
        spots = net.number.nll(_columns(summary), number.reshape(1, -1)).mean()
        there = (counts > 0).to(torch.float32).reshape(1, -1)
        count = (net.count.nll(_columns(count_features), spread.reshape(1, -1)) * there).sum() / there.sum()
        shape = torch.zeros(())
        for k, mixture in enumerate(net.latents):
            known = torch.cat([features, latents[:, :k, None]], 1)
            shape = shape + mixture.nll(_columns(known), latents[:, k][None]).mean()
        step.minimise("shower", response + spots + count + shape)
        return {"layer": layer, "response": response, "number": spots, "count": count, "latents": shape}

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
            x = self._spectrum_place(batch["spot_log_mev"]).reshape(-1)
        tables = net.tables(_columns(features))[0].T
        at, size = net.tables_of.radius, net.tables_of.energy
        energies = tables[:, at : at + size].reshape(-1, ENERGY_BANDS, ENERGY_NODES + 1)
        turns = tables[:, at + size :].reshape(-1, TURN_BANDS, TURN_NODES + 1)
        row = torch.arange(len(x), device=x.device)
        energies = energies[row, (place * ENERGY_BANDS).long().clamp(0, ENERGY_BANDS - 1)]
        turns = turns[row, (place * TURN_BANDS).long().clamp(0, TURN_BANDS - 1)]
        radius = _pinball(tables[:, :at], batch["spot_radius"].reshape(-1), self.radius_levels)
        energy = _pinball(energies, x, self.energy_levels)
        turn = _pinball(turns[:, 1:-1], batch["spot_turn"].reshape(-1), self.turn_levels)
        step.minimise("spots", radius + energy + turn)
        return {"radius": radius, "energy": energy, "turn": turn}

    def _spectrum_place(self, log_mev: Tensor) -> Tensor:
        """Logit of the share of spots below an energy, by interpolation in the table."""
        nodes = self.networks.log_mev
        cell = (torch.searchsorted(nodes, log_mev.contiguous()) - 1).clamp(0, SPECTRUM_NODES - 1)
        part = ((log_mev - nodes[cell]) / (nodes[cell + 1] - nodes[cell])).clamp(0.0, 1.0)
        low, high = SPECTRUM_RANGE
        return low + (cell + part) * ((high - low) / SPECTRUM_NODES)

    def _calibrate(self, step: Step) -> Mapping[str, float | Tensor]:
        """Correct the number of spots so that that of readout cells above threshold is right at all energies.

        Spots are placed one by one, so a few more or fewer of them share a cell than of Geant4's deposits. Fitted to
        the training split: ln(cells of the model / cells of Geant4), of showers of the same incident particles, as a
        parabola in ln(E); subtracted from the logarithm of the number of spots in each layer.
        """
        showers = step.training_showers()
        chosen = np.sort(step.rng.permutation(len(showers))[: self.config.calibration_showers])
        truth = showers.select(chosen)
        depth_mm = np.array(self.stack.layer_depth_mm)
        made = generate(self.sampler(), truth, depth_mm, seed=int(step.rng.integers(1 << 31)))
        hits = [_hits(s, self.stack, k) for k, s in enumerate((made, truth))]
        with torch.no_grad():
            x = self.networks.incident(**incident(truth)).log_energy[:, 0].double().numpy()
        powers = np.stack([np.ones_like(x), x, x * x], 1)
        # means in bins of energy: single showers differ by their own fluctuations
        edges = np.quantile(x, np.linspace(0.0, 1.0, 13))
        bins = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, 11)
        used = np.bincount(bins, minlength=12) > 0
        mean = [np.bincount(bins, h, 12)[used] for h in hits]
        ratio = np.log(np.maximum(mean[0], 1.0) / np.maximum(mean[1], 1.0))
        number = np.bincount(bins, minlength=12)[used]
        at = np.stack([np.bincount(bins, column, 12)[used] / number for column in powers.T], 1)
        error = np.linalg.lstsq(at, ratio, rcond=None)[0]
        self.networks.count_correction.sub_(torch.from_numpy(error).to(torch.float32))
        return {"cells": float(np.exp(ratio.mean())), "spread": float(ratio.std())}

    def sampler(self) -> Sampler:
        """Return the network from incident particle to spots."""
        return LayeredSampler(self.networks, self.stack, self.domain)


def _hits(showers: Showers, stack: Stack, seed: int) -> Doubles:
    """Readout cells above threshold of each shower."""
    cells = make_cells(
        showers,
        np.array(stack.layer_depth_mm),
        cell_mm=stack.cell_mm[0],
        rotation_rad=showers.grid_rotation_rad,
        rng=np.random.default_rng(seed),
    ).above(stack.threshold_gev[0])
    return np.bincount(cells.shower, minlength=len(showers)).astype(np.float64)


def _columns(features: Tensor) -> Tensor:
    """[B, F, M] -> [1, F, B * M]: for training, where showers need not have a product of their own."""
    return features.permute(1, 0, 2).reshape(1, features.shape[1], -1)


def _pinball(nodes: Tensor, values: Tensor, levels: Tensor) -> Tensor:
    """Loss whose minimum are the quantiles: nodes [P, K], values [P], levels [K]; rare levels count more."""
    off = values[:, None] - nodes
    return (torch.maximum(levels * off, (levels - 1.0) * off) * (levels * (1.0 - levels)) ** -0.6).mean()


def _spectrum_table(log_mev: Doubles) -> NDArray[np.float32]:
    """ln(E / MeV) at equal steps of the logit of the share of spots below; continued in straight lines at both ends."""
    share = np.linspace(0.0, 1.0, 200_001)[1:-1]
    logit = np.log(share / (1.0 - share))
    grid = np.linspace(*SPECTRUM_RANGE, SPECTRUM_NODES + 1)
    table = np.interp(grid, logit, np.quantile(log_mev, share))
    low, start, stop = (int(np.searchsorted(grid, at)) for at in (-7.0, 6.5, 8.5))
    slope = (table[stop] - table[start]) / (grid[stop] - grid[start])
    table[stop:] = table[stop] + slope * (grid[stop:] - grid[stop])
    table[:low] = table[low] + 0.3 * (grid[:low] - grid[low])
    return np.asarray(np.maximum.accumulate(table) + 1e-6 * np.arange(len(table)), np.float32)


SYSTEM = Layered
