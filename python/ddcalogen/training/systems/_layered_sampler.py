# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Samplers of the layered shower: what the networks of `_layered_networks` say, drawn and put together.

`ShowerSampler` draws what characterises a shower and corrects sums of spots; `LayeredSampler` places spots by tables.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from ddcalogen.card import Domain, NoiseInput, SpotsOutput
from ddcalogen.training.operators import PackedRows, cosine_and_sine, natural_log, pack_rows
from ddcalogen.training.sampler import Sampler, capacity_limit, spots_output
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._layered_networks import (
    ENERGY_BANDS,
    ENERGY_NODES,
    GOLDEN,
    MEV_UNIT,
    RADIUS_NODES,
    SPECTRUM_NODES,
    SPECTRUM_RANGE,
    SPECTRUM_ZONES_MM,
    TURN_BANDS,
    TURN_NODES,
    Incident,
    LayeredNetworks,
    place_of_level,
    radius_place,
)
from ddcalogen.training.systems._layered_spots import (
    LATENTS,
    LEAST_MEV,
    RADIUS_OFFSET_MM,
    RINGS,
    stretch,
)

__all__ = ["LayeredSampler", "ShowerSampler"]

_MOST_TILT = 0.4
"""Largest change of the logarithm of a layer's energy that brings a shower to its depth and width."""


class ShowerSampler(Sampler):
    """Incident particle to what characterises a shower (stage A), and what brings spots to it.

    The first two noise inputs are ``u_shower`` and ``z_shower``.

    Parameters
    ----------
    noise
        Further noise inputs, of the spots.
    """

    depth_mm: Tensor
    ring_of_mm: Tensor

    def __init__(
        self,
        networks: LayeredNetworks,
        stack: Stack,
        domain: Domain,
        *,
        noise: tuple[NoiseInput, ...],
        output: SpotsOutput,
    ) -> None:
        outline = networks.outline
        draws = 2 + 2 * stack.layers + LATENTS + (2 if networks.refined else 0)
        draws += 0 if outline is None else outline.draws
        super().__init__(
            inputs=("energy", "direction", "pdg"),
            noise=(
                NoiseInput(name="u_shower", distribution="uniform", shape=(draws,)),
                NoiseInput(name="z_shower", distribution="normal", shape=(draws,)),
                *noise,
            ),
            output=output,
        )
        self.networks, self.energy_gev = networks, domain.energy_gev
        edges = networks.scales.ring_edges_mm
        ring = torch.arange(int(edges[-1]) + 1)[:, None] >= torch.tensor(edges)
        self.register_buffer("depth_mm", torch.tensor(stack.layer_depth_mm), persistent=False)
        self.register_buffer("ring_of_mm", ring.sum(1), persistent=False)

    # ------------------------------------------------------------------------------------------------- stage A

    def _layer_energies(
        self, p: Incident, total: Tensor, u: Tensor, z: Tensor, development: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Energy of each layer given those before, MeV [B, layers]; u, z [B, 1, layers].

        With a `development` [B, 1] each, to which they are brought in the end.
        """
        net = self.networks
        fixed = torch.split(net.layer_features(p, total, development), 1, 2)
        gaps = 0.1 * (p.path - torch.cat([p.path[:, :1], p.path[:, :-1]], 1))
        gap = torch.split(gaps[:, None], 1, 2)
        to_mean = None if development is None else torch.split((0.1 * (development[0] - p.path))[:, None], 1, 2)
        noise = zip(torch.split(u, 1, 2), torch.split(z, 1, 2), strict=True)
        share = (1.0 / total)[:, :, None]
        before = torch.zeros_like(share)
        rest, moment, last = before + 1.0, before, [before, before, before]
        energies = []
        for layer, (u_layer, z_layer) in enumerate(noise):
            moment = moment + before * gap[layer]
            history = net.history(before, rest, moment, last)
            if to_mean is not None:
                history.append(net.ahead(to_mean[layer], rest, moment, total[:, :, None]))
            features = torch.cat([fixed[layer], *history], 1)
            levels = None if net.layer_levels is None else net.layer_levels[:, layer : layer + 1]
            drawn = torch.clamp(net.layer.draw(features, u_layer, z_layer, levels), 0.0, 8.5)
            energy = MEV_UNIT * torch.exp(drawn) - MEV_UNIT
            before, rest = before + energy, torch.relu(rest - energy * share)
            last = [drawn * (1.0 / 3.5), *last[:2]]
            energies.append(energy)
        energy = torch.cat(energies, 2)[:, 0]
        if net.refined:
            c = net.layer_correction
            energy = energy * torch.exp(c[0] + c[1] * p.log_energy)
        # never an empty shower: if nothing was drawn, all is in one layer
        nothing = (before[:, :, 0] < 0.02).to(torch.float32)
        energy = energy + nothing * total * (net.index == 8.0).to(torch.float32)
        energy = energy * (total / net.over_layers(energy))
        if development is None:
            return energy
        energy = energy * torch.exp(self._tilt(p, energy, total, *development))
        return energy * (total / net.over_layers(energy))

    def _tilt(self, p: Incident, energy: Tensor, total: Tensor, mean: Tensor, width: Tensor) -> Tensor:
        """Logarithms of the factors that bring mean depth and width of layer energies to those given, [B, layers].

        A straight line and a parabola in depth, to first order: as layers know depth and width, little is needed.
        """
        net, share = self.networks, energy / total
        at = net.over_layers(share * p.path)
        off = p.path - at
        square = off * off
        second, third, fourth = (net.over_layers(share * power) for power in (square, square * off, square * square))
        lack, lack_square = mean - at, width * width - second
        spread = fourth - second * second
        scale = 1.0 / torch.clamp(second * spread - third * third, min=1e-2)
        line = (lack * spread - lack_square * third) * scale
        parabola = (lack_square * second - lack * third) * scale
        return torch.clamp(line * off + parabola * (square - second), -_MOST_TILT, _MOST_TILT)

    def _outlined_energies(self, p: Incident, total: Tensor, start: Tensor, u: Tensor, z: Tensor) -> Tensor:
        """Energy of each layer given the start and the energies of blocks, MeV [B, layers].

        u, z [B, 1, layers + blocks - 1]. Layers come near the energy of their block, those of single particles
        hardly change.
        """
        net, outline = self.networks, self.networks.outline
        assert outline is not None
        known = torch.cat([net.energy_features(p, total), outline.start_features(start)], 1)
        blocks = outline.draw_blocks(known, total, u[:, :, net.layers :], z[:, :, net.layers :])
        fixed = torch.split(net.layer_features(p, total), 1, 2)
        steps = torch.split(outline.step_features(start), 1, 2)
        share = (1.0 / total)[:, :, None]
        done = torch.zeros_like(total)
        moment, last = torch.zeros_like(share), [torch.zeros_like(share)] * 3
        bounds = outline.bounds(start, MEV_UNIT)
        least, most, quiet = (torch.split(v[:, None], 1, 2) for v in bounds)
        least_mev = MEV_UNIT * torch.exp(bounds[0]) - MEV_UNIT
        limits = torch.split(natural_log(1.0 + outline.limit_mev * outline.factor * (1.0 / MEV_UNIT)), 1)
        lit = share < 0.0
        energies = []
        seen = outline.seen(blocks, start)
        for k, (first, end) in enumerate(itertools.pairwise(outline.edges)):
            following = outline.following(blocks, k, MEV_UNIT)
            inside, mine = torch.zeros_like(total), []
            for n in range(first, end):
                before = (done + inside)[:, :, None]
                if n:
                    moment = moment + before * (0.1 * (p.path[:, n : n + 1] - p.path[:, n - 1 : n]))[:, :, None]
                rest = torch.relu(1.0 - before * share)
                behind = outline.behind[n : n + 1]
                state = outline.block_state(seen[k], inside, following, behind, end - first, MEV_UNIT)
                features = torch.cat([fixed[n], *net.history(before, rest, moment, last), steps[n], state], 1)
                levels = None if net.layer_levels is None else net.layer_levels[:, n : n + 1]
                drawn = net.layer.draw(features, u[:, :, n : n + 1], z[:, :, n : n + 1], levels)
                drawn = torch.clamp(drawn, 0.0, 8.5)
                drawn = torch.maximum(torch.minimum(drawn, torch.where(lit, quiet[n], most[n])), least[n])
                lit = drawn > limits[n]
                energy = MEV_UNIT * torch.exp(drawn) - MEV_UNIT
                inside, last = inside + energy[:, :, 0], [drawn * (1.0 / 3.5), *last[:2]]
                mine.append(energy)
            energy = torch.cat(mine, 2)[:, 0]
            weight = outline.weight(energy, outline.single_mev[first:end] * outline.factor[first:end])
            weight = weight * (net.index[first:end] > start - 0.5).to(torch.float32)  # before: single particles
            one = torch.ones(end - first, 1)
            slack = torch.clamp(torch.matmul(weight[:, None], one)[:, :, 0], min=1e-6)
            energy = energy + weight * torch.clamp((blocks[k] - inside) / slack, -0.8, 3.0)
            energy = torch.maximum(energy, least_mev[:, first:end])
            done = done + torch.matmul(energy[:, None], one)[:, :, 0]
            energies.append(energy)
        energy = torch.cat(energies, 1)
        # never an empty shower
        return energy + (done < 0.02).to(torch.float32) * total * (net.index == 8.0).to(torch.float32)

    def _development(self, p: Incident, total: Tensor, u: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean depth and width of a shower in radiation lengths, [B, 1] each; u, z [B, 1, 2]."""
        net, features = self.networks, self.networks.energy_features(p, total)
        of_depth, of_width = zip(torch.split(u, 1, 2), torch.split(z, 1, 2), strict=True)
        depth = net.depth.draw(features, *of_depth)
        scaled = (depth - net.depth.centre) / net.depth.scale
        width = net.width.draw(torch.cat([features, scaled], 1), *of_width)
        drawn = torch.cat([depth[:, :, 0], width[:, :, 0]], 1)
        # never beyond what was seen in training
        drawn = torch.minimum(torch.maximum(drawn, net.development_range[:, 0]), net.development_range[:, 1])
        drawn = torch.exp(drawn + net.over_corrections(net.terms_of(p), net.development_correction))
        return drawn[:, :1], drawn[:, 1:]

    def _start(self, p: Incident, u: Tensor) -> Tensor | None:
        """Layer where a hadron shower starts, [B, 1]; None if the networks do not draw it."""
        outline = self.networks.outline
        return None if outline is None else outline.draw_start(p, u[:, -1:])

    def _shower(
        self, p: Incident, u: Tensor, z: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Stage A: visible energy [B, 1], layer energies, spots in the layers [B, layers], latents, mean depth."""
        net, layers, at = self.networks, self.networks.layers, 0
        outline, of_shower, of_layer = net.outline, [], []
        start = self._start(p, u) if start is None else start
        if outline is not None and start is not None:
            of_shower, of_layer = [outline.start_features(start)], [outline.step_features(start)]

        def noise(number: int = 1) -> tuple[Tensor, Tensor]:
            nonlocal at
            at += number
            return u[:, None, at - number : at], z[:, None, at - number : at]

        response = net.response.draw(torch.cat([net.response_features(p), *of_shower], 1), *noise())[:, 0]
        # never beyond what was seen in training
        response = torch.minimum(torch.maximum(response, net.response_range[0]), net.response_range[1])
        total = net.scales.mev_per_gev * p.energy * torch.exp(0.1 * response * net.response_width(p.energy))
        if net.refined:
            total = total * torch.exp(net.over_corrections(net.terms_of(p), net.response_correction))
        if outline is None or start is None:
            development = self._development(p, total, *noise(2)) if net.refined else None
            energy = self._layer_energies(p, total, *noise(layers), development)
        else:
            shares = slice(u.shape[1] - outline.draws, u.shape[1] - 1)
            of_blocks = [torch.cat([a, v[:, None, shares]], 2) for a, v in zip(noise(layers), (u, z), strict=True)]
            energy = self._outlined_energies(p, total, start, *of_blocks)
            total = net.over_layers(energy)
        summary, mean = net.summary(p, energy, total)
        summary = torch.cat([summary, *of_shower], 1)
        log_number = net.number.draw(summary, *noise())[:, 0]
        number = (log_number - net.number.centre) / net.number.scale
        count_features = torch.cat([net.count_features(p, energy, mean, number), *of_layer], 1)
        count = net.count.draw(count_features, *noise(layers))[:, 0]
        there = (energy > LEAST_MEV).to(torch.float32)
        c = net.count_correction.reshape(-1, 3)[net.part]
        correction = c[:, 0] + c[:, 1] * p.log_energy + c[:, 2] * p.log_energy * p.log_energy
        if net.refined:  # together the layers have about as many as the shower
            slopes = net.count_slopes
            for k in range(4):  # inclination, visible energy, depth and width
                correction = correction + slopes[k] * summary[:, 1 + k]
            correction = correction + net.layer_correction[2]
            count = torch.exp(torch.clamp(count, max=7.0)) * there
            wanted = torch.exp(torch.clamp(log_number, max=5.0)) * total / torch.clamp(net.over_layers(count), min=1.0)
            count = count * torch.clamp(wanted, 0.7, 1.4) * torch.exp(correction)
        else:
            count = torch.exp(torch.clamp(count + correction, max=7.0))
        count = torch.clamp(torch.floor(count + 0.5), min=1.0) * there
        features = net.latent_features(p, summary, number)
        drawn = features.shape[1]
        for latent in net.latents:
            features = torch.cat([features, latent.draw(features, *noise())], 1)
        return total, energy, count, features[:, drawn:, 0], mean

    def _spectrum(
        self,
        x: Tensor,
        log_radius: Tensor | None = None,
        log_energy: Tensor | None = None,
        part: Tensor | None = None,
    ) -> Tensor:
        """Energy of spots in MeV from the logit of their share of all spots.

        With radii, and the scaled logarithm of the incident energy, of each spot: as corrected there; of several
        calorimeters (int64 `part`), by the spectrum of each.
        """
        low, high = SPECTRUM_RANGE
        x = torch.clamp((x - low) * (SPECTRUM_NODES / (high - low)), 0.0, SPECTRUM_NODES - 0.001)
        cell = torch.floor(x)
        at, nodes = cell.to(torch.int64), self.networks.log_mev.reshape(-1)
        factor = None
        if part is not None:
            at = at + part * (SPECTRUM_NODES + 1)
        if log_radius is not None and log_energy is not None:
            level, slope = self.networks.spectrum_correction
            nodes = (nodes + level).reshape(-1)
            for edge in SPECTRUM_ZONES_MM:
                outside = (log_radius > math.log(edge + RADIUS_OFFSET_MM)).to(torch.int64)
                at = at + outside * (SPECTRUM_NODES + 1)
            factor = torch.exp(log_energy * torch.gather(slope.reshape(-1), 0, at))
        nodes = torch.exp(nodes)
        below = torch.gather(nodes, 0, at)
        mev = below + (x - cell) * (torch.gather(nodes, 0, at + 1) - below)
        return mev if factor is None else mev * factor

    @staticmethod
    def _summed(number: int, index: Tensor, values: Tensor) -> Tensor:
        return torch.zeros(number).scatter_add(0, index, values)

    def _adjust(self, mev: Tensor, index: Tensor, target: Tensor) -> Tensor:
        """Bring the sums over an index near their targets; spots of several particles give way, single ones hardly."""
        weight, sums = mev * mev / (mev + self.networks.scales.single_mev), self._summed(target.shape[0], index, mev)
        slack = torch.clamp(self._summed(target.shape[0], index, weight), min=1e-9)
        return mev + weight * torch.gather(torch.clamp((target - sums) / slack, -0.9, 3.0), 0, index)

    def _ring(self, packed: PackedRows, along: Tensor, across: Tensor) -> Tensor:
        """Ring of each spot, row * RINGS + ring."""
        far = torch.floor(torch.sqrt(along * along + across * across))
        far = torch.clamp(far, max=self.networks.scales.ring_edges_mm[-1])
        return packed.row * RINGS + torch.gather(self.ring_of_mm, 0, far.to(torch.int64))

    @staticmethod
    def _ring_shares(latents: Tensor) -> Tensor:
        """Share of the energy in each ring, [B, RINGS]."""
        rest, rings = torch.ones_like(latents[:, :1]), []
        for k in range(RINGS - 1):
            share = torch.sigmoid(latents[:, k : k + 1])
            rings.append(rest * share)
            rest = rest * (1.0 - share)
        return torch.cat([*rings, rest], 1)

    def _to_outline(
        self,
        packed: PackedRows,
        mev: Tensor,
        along: Tensor,
        across: Tensor,
        layer_mev: Tensor,
        latents: Tensor,
        total: Tensor,
    ) -> Tensor:
        """Bring energies of layers, rings and calorimeters near to what stage A has drawn; single particles stay."""
        outline = self.networks.outline
        assert outline is not None
        single = packed.of_slot((outline.single_mev * outline.factor)[None])

        def adjust(mev: Tensor, index: Tensor, target: Tensor) -> Tensor:
            weight, sums = outline.weight(mev, single), self._summed(target.shape[0], index, mev)
            slack = torch.clamp(self._summed(target.shape[0], index, weight), min=1e-6)
            return mev + weight * torch.gather(torch.clamp((target - sums) / slack, -0.8, 3.0), 0, index)

        parts = self.networks.count_correction.numel() // 3
        of_part = (self.networks.part[:, None] == torch.arange(parts)).to(torch.float32)
        targets = torch.matmul(layer_mev[:, None], of_part)[:, 0].reshape(-1)
        part = packed.row * parts + packed.of_slot(self.networks.part[None])
        target = layer_mev.reshape(-1)
        mev = adjust(mev, packed.slot, target)
        mev = adjust(mev, self._ring(packed, along, across), (self._ring_shares(latents) * total).reshape(-1))
        mev = adjust(mev, packed.slot, target)
        return adjust(mev, part, targets)

    def _to_sums(
        self,
        packed: PackedRows,
        mev: Tensor,
        along: Tensor,
        across: Tensor,
        layer_mev: Tensor,
        latents: Tensor,
        total: Tensor,
    ) -> Tensor:
        """Bring the energies of rings (nearly) and layers (exactly) to what stage A has drawn."""
        target = layer_mev.reshape(-1)
        ring = self._ring(packed, along, across)
        of_rings = (self._ring_shares(latents) * total).reshape(-1)
        mev = self._adjust(mev, ring, of_rings)
        mev = self._adjust(mev, packed.slot, target)
        mev = self._adjust(mev, ring, of_rings)
        sums = torch.clamp(self._summed(target.shape[0], packed.slot, mev), min=1e-9)
        return mev * torch.gather(target / sums, 0, packed.slot)

    def _lean(
        self, packed: PackedRows, mev: Tensor, along: Tensor, across: Tensor, latents: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Shift spots in proportion to their distance from the axis, so that the dipole is the one drawn."""
        far, batch = torch.sqrt(along * along + across * across), latents.shape[0]
        weight = self._summed(batch, packed.row, mev * far) + 1e-9
        moved = []
        for k, value in ((-2, along), (-1, across)):
            lack = latents[:, k] - self._summed(batch, packed.row, mev * value) / weight
            moved.append(value + torch.gather(torch.clamp(lack, -0.8, 0.8), 0, packed.row) * far)
        return moved[0], moved[1]


class LayeredSampler(ShowerSampler):
    """Incident particle to packed spots."""

    def __init__(self, networks: LayeredNetworks, stack: Stack, domain: Domain) -> None:
        super().__init__(
            networks,
            stack,
            domain,
            noise=(
                NoiseInput(name="u_layer", distribution="uniform", shape=(stack.layers,)),
                NoiseInput(name="u_spot", distribution="uniform", shape=("spots", 2)),
            ),
            output=spots_output(base=300.0, per_gev=48.0, maximum=8192),
        )

    # ------------------------------------------------------------------------------------------------- stage B

    def forward(
        self,
        energy: Tensor,
        direction: Tensor,
        pdg: Tensor,
        u_shower: Tensor,
        z_shower: Tensor,
        u_layer: Tensor,
        u_spot: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return packed spots float32 [P, 4] (x mm, y mm, layer, GeV) and counts int64 [B]."""
        net, layers = self.networks, self.networks.layers
        p = net.incident(torch.clamp(energy, *self.energy_gev), direction, pdg)
        total, layer_mev, count, latents, mean = self._shower(p, u_shower, z_shower)
        tables = net.tables(net.context_features(p, layer_mev, count, mean, latents), whole=True)
        latents = latents * net.latent_scale + net.latent_centre
        rings = latents[:, : RINGS - 1] + net.over_corrections(net.terms_of(p), net.ring_correction)
        latents = torch.cat([rings, latents[:, RINGS - 1 :]], 1)

        capacity = self.output.capacity  # type: ignore[union-attr]
        packed = pack_rows(count.to(torch.int64), capacity_limit(capacity, p.energy))
        batch = energy.shape[0]
        of_slot = packed.of_slot
        rows = torch.arange(batch)[:, None]
        base = of_slot(rows * (tables.shape[1] * layers) + torch.arange(layers))
        nodes = tables.reshape(-1)

        def look(first: Tensor | int, place: Tensor, intervals: int) -> Tensor:
            """Interpolate in the tables of each spot's layer: from row `first` on, at a place in 0 .. intervals."""
            cell = torch.clamp(torch.floor(place), 0.0, intervals - 1.0)
            at = base + (cell.to(torch.int64) + first) * layers
            low = torch.gather(nodes, 0, at)
            return low + (place - cell) * (torch.gather(nodes, 0, at + layers) - low)

        def band(place: Tensor, bands: int) -> Tensor:
            return torch.clamp(torch.floor(place * float(bands)), 0.0, bands - 1.0).to(torch.int64)

        # radii in equal strata of their layer, energies along a low-discrepancy sequence from a random start
        number = count.to(torch.int64)
        number_before = torch.cumsum(number, 1) - number
        turn_at = net.tables_of.radius + net.tables_of.energy
        noise = packed.noise(u_spot)
        rank = (packed.place - of_slot(number_before)).to(torch.float32)
        place = place_of_level((rank + noise[:, 0]) * of_slot(1.0 / torch.clamp(count, min=1.0)))
        log_radius = look(0, radius_place(place), RADIUS_NODES)
        radius = torch.clamp(torch.exp(log_radius) - RADIUS_OFFSET_MM, min=0.0)
        level = rank * GOLDEN + of_slot(u_layer)
        level = place_of_level(level - torch.floor(level)) * float(ENERGY_NODES)
        energy_at = net.tables_of.radius + band(place, ENERGY_BANDS) * (ENERGY_NODES + 1)
        spectrum_at = look(energy_at, level, ENERGY_NODES)
        if net.scales.core_log_radius:
            spectrum_at = spectrum_at + net.corrected_core_excess(log_radius)
        mev = self._spectrum(spectrum_at, *((log_radius, of_slot(p.log_energy)) if net.zones else ()))
        turn = look(turn_at + band(place, TURN_BANDS) * (TURN_NODES + 1), noise[:, 1] * float(TURN_NODES), TURN_NODES)
        cos, sin = cosine_and_sine(turn - torch.floor(turn))
        along, across = radius * cos * stretch(radius, of_slot(p.secant)), radius * sin
        mev = self._to_sums(packed, mev, along, across, layer_mev, latents, total)
        along, across = self._lean(packed, mev, along, across, latents)

        along = along + of_slot(self.depth_mm * (p.sin * p.secant))
        along_x, along_y = of_slot(p.along_x), of_slot(p.along_y)
        x, y = along * along_x - across * along_y, along * along_y + across * along_x
        return torch.stack([x, y, of_slot(net.index[None]), mev * 1e-3], 0).transpose(0, 1), packed.counts
