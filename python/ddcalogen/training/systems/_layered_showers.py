# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training of what characterises a shower (energies, spots, rings, dipole), for systems that place spots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.optim.lr_scheduler import OneCycleLR

from ddcalogen.card import Domain
from ddcalogen.training.data import Showers
from ddcalogen.training.representations import Batch
from ddcalogen.training.sampler import generate, incident
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Optimiser, Step, System, SystemConfig
from ddcalogen.training.systems._layered_networks import (
    MEV_UNIT,
    SPECTRUM_NODES,
    SPECTRUM_RANGE,
    Incident,
    LayeredNetworks,
)
from ddcalogen.validation.observables import make_cells

__all__ = ["ShowerConfig", "ShowerSystem", "cells_above_threshold", "columns"]

Doubles = NDArray[np.float64]


class ShowerConfig(SystemConfig):
    """Configuration of what is shared."""

    layer_hidden: tuple[int, ...] = (48, 48)
    shower_steps: int = Field(default=6000, ge=1)
    calibration_showers: int = Field(default=3000, ge=8)
    calibration_rounds: int = Field(default=3, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    drift: float = Field(default=0.0, ge=0, description="wrongness of the share of energy left, in training")
    latent_decay: float = Field(default=3e-3, ge=0, description="weight decay of the networks of the latents")


C = TypeVar("C", bound=ShowerConfig)


class ShowerSystem(System[C], Generic[C]):
    """A system whose showers are drawn by `LayeredNetworks` before their spots are placed."""

    networks: LayeredNetworks
    seen: Tensor

    def __init__(
        self,
        config: C,
        stack: Stack,
        domain: Domain,
        *,
        table_hidden: tuple[int, ...] | None,
        refined: bool = False,
        blocks: tuple[int, ...] = (),
    ) -> None:
        super().__init__(config, stack, domain)
        self.networks = LayeredNetworks(
            stack, layer_hidden=config.layer_hidden, table_hidden=table_hidden, refined=refined, blocks=blocks
        )
        self.register_buffer("seen", torch.ones(len(domain.pdg)))

    @property
    def domain(self) -> Domain:
        """Those of the configured particles that were in the training data."""
        trained = self.trained_on
        pdg = tuple(p for p, seen in zip(trained.pdg, self.seen.tolist(), strict=True) if seen)
        return trained.model_copy(update={"pdg": pdg})

    def standardise_showers(self, every: Batch) -> None:
        """Set centres and scales."""
        net = self.networks
        total, counts = every["layer_mev"].sum(1, keepdim=True), every["layer_counts"]
        response = self._response(every["energy"], total)
        net.response.standardise(response)
        net.response_range.copy_(torch.stack([response.min(), response.max()]))
        if net.refined:
            for k, (mixture, values) in enumerate(zip((net.depth, net.width), self._development(every), strict=True)):
                mixture.standardise(values)
                net.development_range[k].copy_(torch.stack([values.min(), values.max()]))
        net.number.standardise(torch.log(counts.sum(1, keepdim=True) / total))
        net.count.standardise(torch.log(counts[counts > 0]))
        net.layer.centre.fill_(3.0)
        net.layer.scale.fill_(2.0)
        net.latent_centre.copy_(every["latents"].mean(0))
        net.latent_scale.copy_(every["latents"].std(0))
        if net.outline is not None:
            net.outline.standardise(every["layer_mev"])
            net.outline.fit_hazard(net.incident(every["energy"], every["direction"], every["pdg"]), every["start"])
        self.seen.copy_(torch.tensor([float((every["pdg"] == p).any()) for p in self.trained_on.pdg]))

    def standardise_spectrum(self, log_mev: Tensor, layer: Tensor | None = None) -> None:
        """Set the tables of spot energies from ln(E / MeV) of spots; of several calorimeters with their layers."""
        for table, mine in self._tables(log_mev, layer):
            if bool(mine.any()):
                table.copy_(torch.from_numpy(_spectrum_table(log_mev[mine].double().numpy().ravel())))

    def spectrum_place(self, log_mev: Tensor, layer: Tensor | None = None) -> Tensor:
        """Logit of the share of the calorimeter's spots below an energy, by interpolation in the table."""
        low, high = SPECTRUM_RANGE
        place = torch.empty_like(log_mev)
        for nodes, mine in self._tables(log_mev, layer):
            log = log_mev[mine].contiguous()
            cell = (torch.searchsorted(nodes, log) - 1).clamp(0, SPECTRUM_NODES - 1)
            part = ((log - nodes[cell]) / (nodes[cell + 1] - nodes[cell])).clamp(0.0, 1.0)
            place[mine] = low + (cell + part) * ((high - low) / SPECTRUM_NODES)
        return place

    def _tables(self, log_mev: Tensor, layer: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Table of each calorimeter [SPECTRUM_NODES + 1], and which spots it is for."""
        net = self.networks
        part = torch.zeros_like(log_mev, dtype=torch.int64) if layer is None else net.part[layer]
        for number, table in enumerate(net.log_mev.view(-1, SPECTRUM_NODES + 1)):
            yield table, part == number

    def optimiser(self, parameters: list[dict[str, object]], steps: int) -> Optimiser:
        """Return Adam with one cycle of the learning rate."""
        adam = torch.optim.AdamW(parameters, lr=self.config.learning_rate, weight_decay=1e-5)
        rates = [group["lr"] for group in adam.param_groups]
        return Optimiser(adam, OneCycleLR(adam, rates, total_steps=steps + 1, pct_start=0.15), clip_norm=5.0)

    def shower_optimisers(self) -> dict[str, Optimiser]:
        """Return the optimisers of `shower_step`."""
        net, c = self.networks, self.config
        single = [*net.response.parameters(), *net.number.parameters(), *net.count.parameters()]
        single += [] if net.outline is None else list(net.outline.parameters())
        single += [*net.depth.parameters(), *net.width.parameters()] if net.refined else []
        latents = {"params": list(net.latent.parameters()), "weight_decay": c.latent_decay}
        layer = [*net.layer.parameters(), *([] if net.layer_levels is None else [net.layer_levels])]
        return {
            "layer": self.optimiser([{"params": layer}], c.shower_steps),
            "shower": self.optimiser([{"params": single}, latents], c.shower_steps),
        }

    def _response(self, energy: Tensor, total: Tensor) -> Tensor:
        return (
            10.0 * torch.log(total / (self.networks.scales.mev_per_gev * energy)) / self.networks.response_width(energy)
        )

    def _development(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logarithms of mean depth and width, [B, 1] each."""
        p = self.networks.incident(batch["energy"], batch["direction"], batch["pdg"])
        mean, width = self.networks.development(p, batch["layer_mev"], batch["layer_mev"].sum(1, keepdim=True))
        return torch.log(mean), torch.log(width.clamp(min=0.1))

    def shower_step(self, p: Incident, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Do one step down the likelihoods."""
        net, layer_mev, counts = self.networks, batch["layer_mev"], batch["layer_counts"]
        total, outline = layer_mev.sum(1, keepdim=True), net.outline
        of_shower, of_layer, of_block = [], [], []
        with torch.no_grad():
            if outline is not None:
                start = batch["start"]
                of_shower, of_layer = [outline.start_features(start)], [outline.step_features(start)]
                of_block = [outline.block_features(outline.sums(layer_mev), layer_mev, start, MEV_UNIT)]
            development = net.development(p, layer_mev, total) if net.refined else None
            mean_depth = None if development is None else development[0]
            history = net.known_history(p, layer_mev, total, self.config.drift, mean_depth)
            fixed = torch.cat([net.layer_features(p, total, development), history, *of_layer, *of_block], 1)
            # layers without energy: spread below zero, where what is drawn counts as none
            layers = torch.where(
                layer_mev > 0.01, torch.log1p(layer_mev / MEV_UNIT), -0.1 - 0.5 * torch.rand_like(layer_mev)
            )
            summary, mean = net.summary(p, layer_mev, total)
            summary = torch.cat([summary, *of_shower], 1)
            number = torch.log(counts.sum(1, keepdim=True) / total)
            scaled = (number - net.number.centre) / net.number.scale
            spread = torch.log((counts - 0.5 + torch.rand_like(counts)).clamp(min=0.3))
            latents = (batch["latents"] - net.latent_centre) / net.latent_scale
            features = net.latent_features(p, summary, scaled)
            count_features = torch.cat([net.count_features(p, layer_mev, mean, scaled), *of_layer], 1)
            response_features = torch.cat([net.response_features(p), *of_shower], 1)
        levels = None if net.layer_levels is None else net.layer_levels.repeat(1, len(total))
        layer = net.layer.nll(columns(fixed), layers.reshape(1, -1), levels).mean()
        step.minimise("layer", layer)
        response = net.response.nll(columns(response_features), self._response(p.energy, total).reshape(1, -1)).mean()
        spots = net.number.nll(columns(summary), number.reshape(1, -1)).mean()
        there = (counts > 0).to(torch.float32).reshape(1, -1)
        count = (net.count.nll(columns(count_features), spread.reshape(1, -1)) * there).sum() / there.sum()
        shape = torch.zeros(())
        for k, mixture in enumerate(net.latents):
            known = torch.cat([features, latents[:, :k, None]], 1)
            shape = shape + mixture.nll(columns(known), latents[:, k][None]).mean()
        figures = {"layer": layer, "response": response, "number": spots, "count": count, "latents": shape}
        loss = response + spots + count + shape
        if net.refined:
            depth, width = self._development(batch)
            given = net.energy_features(p, total)
            figures["depth"] = net.depth.nll(columns(given), depth.reshape(1, -1)).mean()
            given = torch.cat([given, ((depth - net.depth.centre) / net.depth.scale)[:, None]], 1)
            figures["width"] = net.width.nll(columns(given), width.reshape(1, -1)).mean()
            loss = loss + figures["depth"] + figures["width"]
        if outline is not None:
            known = torch.cat([net.energy_features(p, total), *of_shower], 1)
            figures["start"] = outline.start_nll(p, batch["start"]).mean()
            figures["blocks"] = outline.shares_nll(known, layer_mev).mean()
            loss = loss + figures["blocks"]
        step.minimise("shower", loss)
        return figures

    def calibrate(self, step: Step) -> Mapping[str, float | Tensor]:
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
        hits = [cells_above_threshold(s, self.stack, k) for k, s in enumerate((made, truth))]
        with torch.no_grad():
            x = self.networks.incident(**incident(truth)).log_energy[:, 0].double().numpy()
        powers = np.stack([np.ones_like(x), x, x * x], 1)
        # means in bins of energy: single showers differ by their own fluctuations
        edges = np.quantile(x, np.linspace(0.0, 1.0, 13))
        bins = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, 11)
        used = np.bincount(bins, minlength=12) > 0
        number = np.bincount(bins, minlength=12)[used]
        at = np.stack([np.bincount(bins, column, 12)[used] / number for column in powers.T], 1)
        figures: dict[str, float | Tensor] = {}
        corrections = self.networks.count_correction.view(-1, 3)
        for k, (name, correction) in enumerate(zip(self.stack.parts, corrections, strict=True)):
            mean = [np.bincount(bins, h[:, k], 12)[used] for h in hits]
            ratio = np.log(np.maximum(mean[0], 1.0) / np.maximum(mean[1], 1.0))
            error = np.linalg.lstsq(at, ratio, rcond=None)[0]
            correction.sub_(torch.from_numpy(error).to(torch.float32))
            figures |= {f"{name}_cells": float(np.exp(ratio.mean())), f"{name}_spread": float(ratio.std())}
        return figures | self.calibrate_spots(made, truth, step.index)

    def calibrate_spots(self, made: Showers, truth: Showers, rounds: int) -> dict[str, float]:
        """Correct what else of the spots is wrong, by showers of the sampler and of Geant4, after so many rounds.

        Returns figures for the log.
        """
        del made, truth, rounds
        return {}


def cells_above_threshold(showers: Showers, stack: Stack, seed: int) -> Doubles:
    """Readout cells above threshold of each shower in each calorimeter of a stack, float64 [N, calorimeters]."""
    columns = []
    for layers in stack.parts.values():
        mine = showers.of_layers(layers) if len(stack.parts) > 1 else showers
        cells = make_cells(
            mine,
            np.array(stack.layer_depth_mm[layers]),
            cell_mm=stack.cell_mm[layers.start],
            rotation_rad=showers.grid_rotation_rad,
            rng=np.random.default_rng(seed),
        ).above(stack.threshold_gev[layers.start])
        columns.append(np.bincount(cells.shower, minlength=len(showers)).astype(np.float64))
    return np.stack(columns, 1)


def columns(features: Tensor) -> Tensor:
    """[B, F, M] -> [1, F, B * M]: for training, where showers need not have a product of their own."""
    return features.permute(1, 0, 2).reshape(1, features.shape[1], -1)


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
