# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Networks of the layered shower; what draws from them is in `_layered_sampler`.

Features and tables are columns, [B, F, M] with M = 1 (shower) or the number of layers: a product of weights [O, F] with
them has a shape of its own for each shower, so that its bits do not depend on the batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from ddcalogen.training.operators import natural_log
from ddcalogen.training.stacks import Stack
from ddcalogen.training.systems._hadron_outline import (
    BLOCK_FEATURES,
    START_FEATURES,
    STEP_FEATURES,
    Outline,
)
from ddcalogen.training.systems._layered_spots import (
    LATENTS,
    RING_EDGES_MM,
    RINGS,
)

__all__ = [
    "Columns",
    "Incident",
    "LayeredNetworks",
    "Mixture",
    "QuantileTables",
    "Scales",
    "place_of_level",
    "radius_place",
    "scales_of",
]

THIN_LAYERS = 20
"""Layers behind 2.1 mm of tungsten each; the others have 4.2 mm."""
LARGEST_PAD_MM = 15.0
"""Layers of larger cells are tiles between steel."""
TILE_RING_EDGES_MM = (15.0, 30.0, 55.0, 100.0, 180.0, 400.0)
"""Edges of the rings in the HCAL, see RING_EDGES_MM."""
MEV_UNIT = 0.1
"""Layer energies are learned as ln(1 + E / this)."""
RADIUS_NODES, ENERGY_NODES, ENERGY_BANDS, TURN_NODES, TURN_BANDS = 20, 16, 8, 12, 8
"""Intervals of the tables of quantiles, and number of energy and azimuth tables between the core and the tail."""
SPECTRUM_NODES, SPECTRUM_RANGE = 1024, (-8.0, 14.0)
"""Table from x = logit of the share of spots below an energy to the logarithm of that energy."""
SPECTRUM_ZONES_MM = (7.0, 20.0)
"""Radii between the zones that have spectra of their own: spots share a readout cell more often near the axis."""
RADIUS_BEND = 0.37
"""How sharply radii rise in the last interval of their tables: half a percent of Geant4's spots lie there."""
RADIUS_CORRECTION_NODES, RADIUS_CORRECTION_RANGE = 52, (0.4, 6.9)
"""Table of the correction of radii, over ln(r + offset)."""
LEAST_LEVEL_RADIUS, LEAST_LEVEL_ENERGY = 3e-4, 5e-4
"""Levels of the first nodes; those of the last are their complements."""
ENERGY_KNOTS = (-2.5, -1.5, -0.5, 0.5, 1.5)
"""Knots of corrections over the scaled logarithm of the incident energy: 0.5, 2, 8, 33 and 134 GeV."""
CORRECTIONS = len(ENERGY_KNOTS) + 2
"""Terms of the corrections of visible energy, depth, width, rings and radii, see `LayeredNetworks.terms`."""
AXIS_LOG_RADIUS, AXIS_EXCESS = 1.03, 3.0
"""Inside this ln(r + offset), of a radius of 1.3 mm, energies rise by this much more (place in the spectrum)."""
TURN_AMPLITUDES = 4
"""Of the first and the second harmonic of azimuths, see `LayeredNetworks.harmonics`."""
GOLDEN = 0.6180339887498949
CONTEXT_FEATURES = 16 + RINGS - 1
"""Features of a layer from which its spots are placed."""
_INCLINE, _COS_TWICE, _SIN_TWICE, _CHARGE_X, _CHARGE_Y = (
    1,
    10 + RINGS - 1,
    11 + RINGS - 1,
    14 + RINGS - 1,
    15 + RINGS - 1,
)
"""Places of features in `LayeredNetworks.context_features`."""


def _depth_x0(layers: int) -> list[float]:
    """Radiation lengths in front of each silicon layer at perpendicular incidence (tungsten, boards and copper)."""
    depth, total = [], 0.0
    for layer in range(layers):
        total += (2.1 if layer < THIN_LAYERS else 4.2) / 3.504
        total += 0.070 if layer % 2 == 0 and layer else 0.010
        depth.append(total)
    return depth


@dataclasses.dataclass(frozen=True)
class Scales:
    """What differs between calorimeters: numbers that bring features to order one, and kinds of layers.

    Attributes
    ----------
    mev_per_gev
        Visible energy is learned relative to this, MeV per GeV of incident energy.
    single_mev
        Spots of less are taken for single particles.
    ring_edges_mm
        Edges of the rings around the shower axis.
    depth
        Material in front of each layer: radiation lengths (ECAL alone), or quarters of a nuclear interaction length.
    second, kind
        Whether a layer is the second of a pair; 0, 1 or -1 for thin and thick absorbers and another calorimeter.
    early, late
        Which layers are summed up as front and back.
    core_log_radius
        Towards the axis from this ln(r + RADIUS_OFFSET_MM) on spots have the more energy, see `core_excess`.
    """

    mev_per_gev: float
    single_mev: float
    ring_edges_mm: tuple[float, ...]
    depth: tuple[float, ...]
    second: tuple[float, ...]
    kind: tuple[float, ...]
    early: tuple[float, ...]
    late: tuple[float, ...]
    core_log_radius: float = 0.0


def scales_of(stack: Stack) -> Scales:
    """Return the scales of a stack: tungsten layers with pads, steel layers with tiles, or both in a row."""
    silicon = [cell < LARGEST_PAD_MM for cell in stack.cell_mm]
    pads, tiles = sum(silicon), len(silicon) - sum(silicon)
    second, thick = [float(n % 2) for n in range(pads)], [float(n >= THIN_LAYERS) for n in range(pads)]
    if not tiles:
        depth = _depth_x0(pads)
        return Scales(
            *(23.5, 0.5, RING_EDGES_MM, tuple(depth), tuple(second), tuple(thick)),
            *(tuple(float(n < 8) for n in range(pads)), tuple(thick), 4.0),
        )
    # nuclear interaction lengths: tungsten 99.5 mm; 20 mm of steel and a scintillator 0.125
    front = [4.0 * (x * 3.504 / 99.5) for x in _depth_x0(pads)]
    depth = front + [(front[-1] if front else 0.0) + 0.5 * (n + 1) for n in range(tiles)]
    flat = [0.0] * tiles
    early = [1.0] * pads + flat if pads else [float(n < 8) for n in range(tiles)]
    late = [0.0] * pads + [float(n >= THIN_LAYERS) for n in range(tiles)]
    return Scales(
        *(20.0, 1.5, TILE_RING_EDGES_MM, tuple(depth), tuple(second + flat)),
        *(tuple(thick + [-1.0 if pads else 0.0] * tiles), tuple(early), tuple(late)),
    )


class Columns(nn.Module):
    """Fully connected network on columns, [B, F, M] -> [B, O, M]; x sigmoid(x) between its layers.

    `shift` [H, M] is added to what the first hidden layer takes in.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(sizes))
        scale = [1.0] * (len(pairs) - 1) + [0.1]
        self.weights = nn.ParameterList(
            [nn.Parameter(s * torch.randn(o, i) / math.sqrt(i)) for s, (i, o) in zip(scale, pairs, strict=True)]
        )
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(o, 1)) for _, o in pairs])

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if k:
                x = x * torch.sigmoid(x)
            x = torch.matmul(weight, x) + (bias if k or shift is None else bias + shift)
        return x


class Mixture(nn.Module):
    """Mixture of Gaussians of one number given features (mixture density network, C. M. Bishop, NCRG/94/004).

    Parameters
    ----------
    features, hidden, components
        Number of features, widths of the hidden layers, number of Gaussians.
    least_sigma
        Smallest width of a Gaussian, in units of the standard deviation of the number.
    """

    centre: Tensor
    scale: Tensor
    sums: Tensor
    steps: Tensor
    ones: Tensor
    first: Tensor

    def __init__(self, features: int, hidden: Sequence[int], components: int, least_sigma: float) -> None:
        super().__init__()
        k = self.components = components
        self.least_sigma = least_sigma
        self.network = Columns([features, *hidden, 3 * k])
        with torch.no_grad():
            self.network.biases[-1][k : 2 * k, 0] = torch.linspace(-0.7, 0.7, k)
            self.network.biases[-1][2 * k :, 0] = -0.3
        steps = torch.eye(k).roll(1, 1) - torch.eye(k)
        steps[-1] = 0.0
        self.register_buffer("centre", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        for name, value in (
            ("sums", torch.tril(torch.ones(k, k))),
            ("steps", steps),
            ("ones", torch.ones(1, k)),
            ("first", torch.eye(k)[:1]),
        ):
            self.register_buffer(name, value, persistent=False)

    def standardise(self, values: Tensor) -> None:
        """Take centre and scale from examples."""
        self.centre.copy_(values.mean())
        self.scale.copy_(values.std().clamp(min=1e-6))

    def _parts(self, x: Tensor, shift: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        weight, mean, log_sigma = torch.split(self.network(x, shift), self.components, 1)
        return weight, mean, self.least_sigma + torch.exp(torch.clamp(log_sigma, max=3.0))

    def nll(self, x: Tensor, y: Tensor, shift: Tensor | None = None) -> Tensor:
        """Negative log-likelihood up to a constant: x [B, F, M], y [B, M] -> [B, M]; shift [H, M]: see `Columns`."""
        weight, mean, sigma = self._parts(x, shift)
        pull = ((y[:, None] - self.centre) / self.scale - mean) / sigma
        return -torch.logsumexp(torch.log_softmax(weight, 1) - 0.5 * pull * pull - torch.log(sigma), 1)

    def draw(self, x: Tensor, u: Tensor, z: Tensor, shift: Tensor | None = None) -> Tensor:
        """Draw with uniform u (component) and normal z, [B, 1, M] each: [B, 1, M]."""
        weight, mean, sigma = self._parts(x, shift)
        y = mean + sigma * z
        cumulated = torch.matmul(self.sums, torch.exp(torch.clamp(weight, max=20.0)))
        passed = (cumulated < u * cumulated[:, -1:]).to(torch.float32)
        y = torch.matmul(self.first, y) + torch.matmul(self.ones, passed * torch.matmul(self.steps, y))
        return y * self.scale + self.centre


def place_of_level(u: Tensor) -> Tensor:
    """Place v in a table of quantiles of a level u: u = 2 v^2 up to 1/2, mirrored above: nodes close at both ends."""
    t = 2.0 * u - 1.0
    s = 0.5 - 0.5 * torch.sqrt(torch.clamp(1.0 - torch.abs(t), min=0.0))
    return 0.5 + torch.where(t < 0.0, -s, s)


def level_of_place(v: Tensor) -> Tensor:
    """Inverse of `place_of_level`."""
    return torch.where(v < 0.5, 2.0 * v * v, 1.0 - 2.0 * (1.0 - v) * (1.0 - v))


def radius_place(v: Tensor) -> Tensor:
    """Place among the nodes of a table of radii, 0 .. RADIUS_NODES, of a place 0 .. 1 as from `place_of_level`.

    In the last interval, where the few spots are that go far, ln(r) is a hyperbola: Geant4's spots thin out there.
    """
    place = v * float(RADIUS_NODES)
    last = torch.relu(place - (RADIUS_NODES - 1.0))
    return place - last + _far_place(last)


N = TypeVar("N", float, Tensor)


def _far_place(part: N) -> N:
    """Of a part of the last interval of a table of radii, 0 .. 1 to 0 .. 1."""
    return RADIUS_BEND * part / (1.0 + RADIUS_BEND - part)


@dataclasses.dataclass(frozen=True)
class QuantileTables:
    """Where the tables of a column lie: radius (ln(r + offset)), energy (x of the spectrum), azimuth (turns)."""

    radius: int = RADIUS_NODES + 1
    energy: int = ENERGY_BANDS * (ENERGY_NODES + 1)
    turn: int = TURN_BANDS * (TURN_NODES + 1)

    @property
    def rows(self) -> int:
        """Length of a column."""
        return self.radius + self.energy + self.turn


@dataclasses.dataclass(frozen=True)
class Incident:
    """Incident particles as the networks see them, [B, 1] each; path [B, layers] in radiation lengths.

    `lepton`: 1 for electrons and positrons; `charge`: -1 and 1 for these, 0 for photons.
    """

    energy: Tensor
    log_energy: Tensor
    secant: Tensor
    sin: Tensor
    along_x: Tensor
    along_y: Tensor
    lepton: Tensor
    charge: Tensor
    path: Tensor

    @property
    def incline(self) -> Tensor:
        """1 / cos(theta) - 1."""
        return self.secant - 1.0


class LayeredNetworks(nn.Module):
    """All networks, their features and standardisation.

    Parameters
    ----------
    table_hidden
        Widths of the network of the tables; None: without it.
    refined
        With parameters for each layer, a depth and width that are drawn before the layers, which keep to them, a number
        of spots that the layers together keep to, and corrected radii.
    blocks
        First layers of blocks of layers of a hadron shower, see `Outline`; empty: without it.
    """

    depth_x0: Tensor
    second: Tensor
    thick: Tensor
    index: Tensor
    all_layers: Tensor
    late: Tensor
    early: Tensor
    latent_centre: Tensor
    latent_scale: Tensor
    log_mev: Tensor
    response_range: Tensor
    count_correction: Tensor
    part: Tensor
    layer_levels: nn.Parameter | None
    radius_correction: Tensor
    layer_correction: Tensor
    count_slopes: Tensor
    spectrum_correction: Tensor
    response_correction: Tensor
    development_correction: Tensor
    development_range: Tensor
    ring_correction: Tensor
    core_correction: Tensor
    turn_correction: Tensor
    band_of_radius: Tensor
    turn_of_uniform: Tensor
    turn_of_harmonics: Tensor

    def __init__(
        self,
        stack: Stack,
        *,
        layer_hidden: Sequence[int],
        table_hidden: Sequence[int] | None,
        refined: bool = False,
        blocks: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.layers, self.scales, self.refined = stack.layers, scales_of(stack), refined
        self.zones = refined and self.scales.core_log_radius > 0.0
        start, step, block = (START_FEATURES, STEP_FEATURES, BLOCK_FEATURES) if blocks else (0, 0, 0)
        self.response = Mixture(4 + start, (24, 24), 3, 0.05)
        self.layer = Mixture(17 + (4 if refined else 0) + step + block, layer_hidden, 4, 0.004)
        of_layers = refined or bool(blocks)
        levels = nn.Parameter(0.1 * torch.randn(layer_hidden[0], stack.layers)) if of_layers else None
        self.register_parameter("layer_levels", levels)
        if refined:
            self.depth, self.width = Mixture(6, (24, 24), 4, 0.03), Mixture(7, (24, 24), 3, 0.03)
            self.register_buffer("development_range", torch.tensor([[-3.0, 5.0], [-3.0, 5.0]]))
            self.register_buffer("development_correction", torch.zeros(CORRECTIONS, 2))
            self.register_buffer("radius_correction", torch.zeros(CORRECTIONS, RADIUS_CORRECTION_NODES + 1))
            self.register_buffer("count_slopes", torch.zeros(4))
            zones = len(SPECTRUM_ZONES_MM) + 1
            self.register_buffer("spectrum_correction", torch.zeros(2, zones, SPECTRUM_NODES + 1))
            self.register_buffer("layer_correction", torch.zeros(3, stack.layers))
            self.register_buffer("response_correction", torch.zeros(CORRECTIONS, 1))
            self.register_buffer("core_correction", torch.zeros(1))
            self.register_buffer("ring_correction", torch.zeros(CORRECTIONS, RINGS - 1))
            self.register_buffer("turn_correction", torch.zeros(4, RADIUS_CORRECTION_NODES + 1))
        self.number = Mixture(10 + start, (24,), 2, 0.03)
        self.count = Mixture(11 + step, (32,), 2, 0.01)
        self.latent = nn.ModuleList([Mixture(15 + start + k, (32, 24), 3, 0.03) for k in range(LATENTS)])
        self.tables_of = QuantileTables()
        if table_hidden is not None:
            rows = RADIUS_NODES + 1 + ENERGY_BANDS * (ENERGY_NODES + 1) + TURN_BANDS * TURN_AMPLITUDES
            self.context = Columns([CONTEXT_FEATURES, *table_hidden, rows])
        uniform, harmonics = _turn_matrices()
        fixed = {
            "turn_of_uniform": uniform,
            "turn_of_harmonics": harmonics,
            "band_of_radius": _band_matrix(),
            "depth_x0": torch.tensor(self.scales.depth),
            "second": torch.tensor(self.scales.second),
            "thick": torch.tensor(self.scales.kind),
            "index": torch.arange(self.layers).to(torch.float32),
            "all_layers": torch.ones(self.layers, 1),
            "late": torch.tensor(self.scales.late)[:, None],
            "early": torch.tensor(self.scales.early)[:, None],
        }
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)
        self.register_buffer("latent_centre", torch.zeros(LATENTS))
        self.register_buffer("latent_scale", torch.ones(LATENTS))
        self.register_buffer("response_range", torch.tensor([-8.0, 5.0]))
        parts, spectrum = len(stack.parts), torch.linspace(-6.0, 5.0, SPECTRUM_NODES + 1)
        # of several calorimeters, one row for each
        self.register_buffer("log_mev", spectrum if parts == 1 else spectrum.repeat(parts, 1))
        self.register_buffer("count_correction", torch.zeros(3) if parts == 1 else torch.zeros(parts, 3))
        parts_of = [torch.full((at.stop - at.start,), n) for n, at in enumerate(stack.parts.values())]
        self.register_buffer("part", torch.cat(parts_of), persistent=False)
        self.outline: Outline | None = None
        if blocks:
            self.outline = Outline(
                *(stack, blocks, self.scales.depth, self.scales.kind, self.scales.second),
                [Mixture(6 + start + k, (32, 24), 3, 0.03) for k in range(len(blocks))],
            )

    @property
    def latents(self) -> list[Mixture]:
        """The mixtures of the latents, in order."""
        return [cast(Mixture, mixture) for mixture in self.latent]

    # -------------------------------------------------------------------------------------------------- features

    def incident(self, energy: Tensor, direction: Tensor, pdg: Tensor) -> Incident:
        """Return what the networks see of the incident particles."""
        lepton = (pdg != 22).to(torch.float32)
        charge = (pdg < 0).to(torch.float32) - (pdg == 11).to(torch.float32)
        x, y = direction[:, 0:1], direction[:, 1:2]
        secant = 1.0 / torch.clamp(direction[:, 2:3], min=0.45)
        sin = torch.sqrt(x * x + y * y)
        upright, safe = sin < 1e-3, torch.clamp(sin, min=1e-3)
        return Incident(
            energy=energy,
            log_energy=(natural_log(energy) - 2.8) / 1.4,
            secant=secant,
            sin=sin,
            along_x=torch.where(upright, torch.ones_like(x), x / safe),
            along_y=torch.where(upright, torch.zeros_like(y), y / safe),
            lepton=lepton,
            charge=charge,
            path=self.depth_x0 * secant,
        )

    def over_layers(self, values: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum over layers, [B, layers] -> [B, 1]; as a product, whose order does not depend on the batch."""
        return torch.matmul(values[:, None, :], self.all_layers if weight is None else weight)[:, :, 0]

    def response_features(self, p: Incident) -> Tensor:
        """[B, 4, 1]."""
        return torch.stack([p.log_energy, p.incline, p.incline * p.log_energy, p.lepton], 1)

    @staticmethod
    def terms(log_energy: Tensor, incline: Tensor, cos_twice: Tensor) -> Tensor:
        """What the corrections of visible energy, depth, width, rings and radii are linear in, [B, CORRECTIONS].

        How near the energy is to each of the knots, so that corrections are straight lines between them; inclination,
        and whether it is along the field, which lies along x (cosine of twice the azimuth). All [B, 1].
        """
        inside = torch.clamp(log_energy, ENERGY_KNOTS[0], ENERGY_KNOTS[-1])
        near = [torch.relu(1.0 - torch.abs(inside - knot)) for knot in ENERGY_KNOTS]
        return torch.cat([*near, incline, incline * cos_twice], 1)

    def terms_of(self, p: Incident) -> Tensor:
        """`terms` of incident particles."""
        return self.terms(p.log_energy, p.incline, p.along_x * p.along_x - p.along_y * p.along_y)

    @staticmethod
    def over_corrections(terms: Tensor, correction: Tensor) -> Tensor:
        """Sum of terms [B, K] times corrections [K] or [K, N]: [B, 1] or [B, N]."""
        result = terms[:, :1] * correction[0]
        for k in range(1, terms.shape[1]):
            result = result + terms[:, k : k + 1] * correction[k]
        return result

    def energy_features(self, p: Incident, total: Tensor) -> Tensor:
        """Features of how a shower develops in depth, [B, 6, 1]."""
        energy = torch.stack([self.excess(p, total), 0.25 * natural_log(total)], 1)
        return torch.cat([self.response_features(p), energy], 1)

    @staticmethod
    def response_width(energy: Tensor) -> Tensor:
        """About the width of 10 ln(visible energy / usual): 17 % / sqrt(E / GeV) and 6 %, [B, 1]."""
        return torch.sqrt(0.36 + 2.9 / energy)

    def excess(self, p: Incident, total: Tensor) -> Tensor:
        """Visible energy (MeV) relative to the usual, [B, 1]."""
        return 5.0 * natural_log(total / (self.scales.mev_per_gev * p.energy))

    def layer_features(self, p: Incident, total: Tensor, development: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Features of a layer that do not depend on the layers before it, [B, 10, layers].

        With the `development` of the shower, [B, 13, layers].
        """
        one = torch.ones_like(p.path)
        first = (self.index < 0.5).to(torch.float32)
        columns = [p.log_energy, p.incline, self.excess(p, total), 0.25 * natural_log(total), p.lepton]
        levels = [p.path * (1.0 / 12.0) - 1.0, self.second, self.thick, first, self.index * (1.0 / 15.0) - 1.0]
        if development is not None:
            mean, width = development
            levels += [mean * (1.0 / 12.0) - 1.0, 0.2 * width - 1.0]
            levels += [torch.clamp((p.path - mean) * 0.5 / width, -2.0, 2.0)]
        return torch.stack([c * one for c in (*columns, *levels)], 1)

    @staticmethod
    def history(before: Tensor, rest: Tensor, moment: Tensor, last: Sequence[Tensor]) -> list[Tensor]:
        """Features of a layer from the layers before it.

        Parameters
        ----------
        before, rest
            Energy before the layer in MeV; share of the shower's energy that is left.
        moment
            Sum of energy times distance to the layer, MeV times 10 radiation lengths.
        last
            The three layers before, as ln(1 + E / MEV_UNIT) / 3.5.
        """
        return [rest, torch.sqrt(rest), moment / (before + 0.05), torch.pow(before, 0.2), *last]

    @staticmethod
    def ahead(to_mean: Tensor, rest: Tensor, moment: Tensor, total: Tensor) -> Tensor:
        """Mean distance from a layer to the energy that is left, if the shower is to have its mean depth.

        In 10 radiation lengths; `to_mean` is the distance to the mean depth, the others are as in `history`.
        """
        return torch.clamp((to_mean + moment / total) / torch.clamp(rest, min=0.03), -0.5, 2.5)

    def known_history(
        self, p: Incident, layer_mev: Tensor, total: Tensor, drift: float = 0.0, mean: Tensor | None = None
    ) -> Tensor:
        """`history` of all layers of given showers, [B, 7, layers]; with their mean depth also `ahead`, [B, 8, layers].

        With `drift` the share that is left is a little wrong, the more the less is left: so it is in the sampler, where
        what is drawn never quite adds up.
        """
        before = torch.cumsum(layer_mev, 1) - layer_mev
        rest = torch.clamp(1.0 - before / total, min=0.0)
        if drift:
            rest = torch.relu(rest + drift * torch.sqrt(1.0 - rest) * torch.randn_like(rest))
        behind = torch.cumsum(layer_mev * p.path, 1) - layer_mev * p.path
        seen = torch.nn.functional.pad(torch.log1p(layer_mev / MEV_UNIT) / 3.5, (3, 0))
        moment = torch.clamp(0.1 * (p.path * before - behind), min=0.0)
        last = [seen[:, 2:-1], seen[:, 1:-2], seen[:, :-3]]
        columns = self.history(torch.clamp(before, min=0.0), rest, moment, last)
        if mean is not None:
            columns.append(self.ahead(0.1 * (mean - p.path), rest, moment, total))
        return torch.stack(columns, 1)

    def development(self, p: Incident, layer_mev: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Mean depth of the energy and its root mean square around it, in radiation lengths along the axis: [B, 1]."""
        mean = self.over_layers(layer_mev * p.path) / total
        off = p.path - mean
        return mean, torch.sqrt(self.over_layers(layer_mev * off * off) / total + 1e-6)

    def summary(self, p: Incident, layer_mev: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a whole shower [B, 10, 1], and its mean depth in radiation lengths [B, 1]."""
        mean, width = self.development(p, layer_mev, total)
        columns = (
            *(p.log_energy, p.incline, self.excess(p, total), mean * (1.0 / 12.0) - 1.0, 0.2 * width - 1.0),
            2.0 * self.over_layers(layer_mev, self.late) / total,
            2.0 * self.over_layers(layer_mev, self.early) / total,
            p.along_x * p.along_x - p.along_y * p.along_y,
            2.0 * p.along_x * p.along_y,
            p.lepton,
        )
        return torch.stack(columns, 1), mean

    def latent_features(self, p: Incident, summary: Tensor, number: Tensor) -> Tensor:
        """Features of the first latent, [B, 15, 1]; those of the next have the latents before it added."""
        columns = torch.stack([number, p.along_x, p.along_y, p.charge * p.along_x, p.charge * p.along_y], 1)
        return torch.cat([summary, columns], 1)

    def count_features(self, p: Incident, layer_mev: Tensor, mean: Tensor, number: Tensor) -> Tensor:
        """[B, 11, layers]; `number`: standardised number of spots of the shower per visible energy, [B, 1]."""
        one = torch.ones_like(layer_mev)
        columns = (
            *(p.log_energy, p.incline, (p.path - mean) * 0.125, p.path * (1.0 / 12.0) - 1.0),
            *(self.log_layers(layer_mev) * (1.0 / 3.0), torch.exp(-5.0 * layer_mev), self.second, self.thick),
            *(number, mean * (1.0 / 12.0) - 1.0, p.lepton),
        )
        return torch.stack([c * one for c in columns], 1)

    @staticmethod
    def log_layers(layer_mev: Tensor) -> Tensor:
        """Logarithm of layer energies, MeV."""
        return natural_log(torch.clamp(layer_mev, min=5e-3))

    def context_features(self, p: Incident, layer_mev: Tensor, counts: Tensor, mean: Tensor, latents: Tensor) -> Tensor:
        """[B, 16 + RINGS - 1, layers]; latents standardised [B, LATENTS]."""
        one = torch.ones_like(layer_mev)
        number, log_mev = torch.clamp(counts, min=1.0), self.log_layers(layer_mev)
        columns = (
            *(p.log_energy, p.incline, (p.path - mean) * 0.125, p.path / mean - 1.0, p.path * (1.0 / 12.0) - 1.0),
            *(log_mev * (1.0 / 3.0), log_mev - natural_log(number), 1.0 / number, self.second, self.thick),
            *(latents[:, k : k + 1] for k in range(RINGS - 1)),
            p.along_x * p.along_x - p.along_y * p.along_y,
            2.0 * p.along_x * p.along_y,
            torch.exp(-0.25 * p.path),
            *(p.lepton, p.charge * p.along_x, p.charge * p.along_y),
        )
        return torch.stack([c * one for c in columns], 1)

    def core_excess(self, log_radius: Tensor) -> Tensor:
        """How much higher the place in the spectrum is near the axis; tables hold the place less this.

        Within the range of radii of a table, too, energies rise steeply to the axis, within a millimetre above all.
        """
        inside = torch.relu(self.scales.core_log_radius - log_radius)
        on_axis = AXIS_EXCESS * torch.relu(AXIS_LOG_RADIUS - log_radius)
        return 0.5 * inside * inside + (on_axis if self.scales.core_log_radius else 0.0)

    def corrected_core_excess(self, log_radius: Tensor) -> Tensor:
        """The same with what the calibration adds, for the sampler."""
        inside = torch.relu(self.scales.core_log_radius - log_radius)
        return self.core_excess(log_radius) + self.core_correction * inside * inside

    def tables(self, features: Tensor, raw: Tensor | None = None, *, whole: bool = False) -> Tensor:
        """Quantiles in increasing order by construction: [B, F, M] -> [B, rows, M]; `raw`: the network's, if known.

        The outermost nodes are quantiles of levels LEAST_LEVEL_RADIUS, LEAST_LEVEL_ENERGY and their complements (which
        can be fitted); with `whole` they are continued in straight lines to levels 0 and 1, radii outwards only, and
        these as in `radius_place`.
        """
        raw = self.context(features) if raw is None else raw
        batch, _, columns = raw.shape

        def increasing(values: Tensor, start: float, step: float, low: float = 1.0, high: float = 1.0) -> Tensor:
            # low, high: how much of its interval lies inside of an outermost node
            first = start + values[..., :1, :]
            steps = step * torch.exp(3.0 * torch.tanh(values[..., 1:, :] * (1.0 / 3.0)))
            nodes = torch.cat([first, first + torch.cumsum(steps, -2)], -2)
            if low < 1.0:
                beyond = (1.0 / low - 1.0) * steps[..., :1, :]
                nodes = torch.cat([nodes[..., :1, :] - beyond, nodes[..., 1:, :]], -2)
            if high < 1.0:
                beyond = (1.0 / high - 1.0) * steps[..., -1:, :]
                nodes = torch.cat([nodes[..., :-1, :], nodes[..., -1:, :] + beyond], -2)
            return nodes

        at, size = self.tables_of.radius, self.tables_of.energy
        corrected = whole and self.refined
        end = _far_place(1.0 - RADIUS_NODES * math.sqrt(0.5 * LEAST_LEVEL_RADIUS)) if corrected else 1.0
        radius = increasing(raw[:, :at], 0.45, 0.2, high=end)
        if corrected:
            terms = self.terms(features[:, 0, :1], features[:, _INCLINE, :1], features[:, _COS_TWICE, :1])
            radius = radius + self._look(radius)(self.over_corrections(terms, self.radius_correction))
        bands = raw[:, at : at + size].reshape(batch, ENERGY_BANDS, ENERGY_NODES + 1, columns)
        end = 1.0 - ENERGY_NODES * math.sqrt(0.5 * LEAST_LEVEL_ENERGY) if whole else 1.0
        energy = increasing(bands, SPECTRUM_RANGE[0] + 3.0, 0.6, low=end, high=end)
        turn = self._turns(self.harmonics(raw[:, at + size :], features, radius if corrected else None))
        return torch.cat([radius, energy.reshape(batch, size, columns), turn.reshape(batch, -1, columns)], 1)

    def harmonics(self, raw: Tensor, features: Tensor, radius: Tensor | None = None) -> list[Tensor]:
        """Means of cos(psi), sin(psi), cos(2 psi) and sin(2 psi) of the azimuths psi of spots, [B, TURN_BANDS, M] each.

        What they have for reasons of symmetry is built in. A shower that is inclined gives a first and a second
        harmonic in the direction of the inclination, the field one that stands still in the shower frame: a second,
        as particles of both charges are bent, and for electrons and positrons a first.

        Parameters
        ----------
        raw
            [B, TURN_BANDS * TURN_AMPLITUDES, M], from the network.
        features
            From `context_features`, [B, F, M].
        radius
            Tables of radii, as ln(r + offset) [B, RADIUS_NODES + 1, M], if harmonics shall be corrected there.
        """
        amplitude = 0.5 * torch.tanh(raw.reshape(len(raw), TURN_BANDS, TURN_AMPLITUDES, raw.shape[2]))
        inclined, bent, elongated, spread = torch.unbind(amplitude, 2)

        def feature(k: int) -> Tensor:
            return features[:, k : k + 1]

        cos = 1.0 / (1.0 + feature(_INCLINE))
        sin_squared = torch.clamp(1.0 - cos * cos, min=0.0)
        if radius is not None:
            look, turn = self._look(torch.matmul(self.band_of_radius, radius)), self.turn_correction
            inclined, spread = inclined + look(turn[0]), spread + look(turn[3])
            elongated = elongated + look(turn[1]) + look(turn[2]) * sin_squared
        return [
            inclined * torch.sqrt(sin_squared) - bent * feature(_CHARGE_Y),
            -bent * feature(_CHARGE_X),
            elongated * sin_squared + spread * feature(_COS_TWICE),
            -spread * feature(_SIN_TWICE),
        ]

    def _turns(self, harmonics: list[Tensor]) -> Tensor:
        """Tables of azimuths, in turns, from their harmonics: [B, TURN_BANDS * (TURN_NODES + 1), M].

        A uniform angle theta is moved by -2 a sin(theta) - c sin(2 theta), and so for the other phase: this gives means
        of cos(psi) and cos(2 psi) of a and c + 2 a^2, to second order.
        """
        a, b, c, d = harmonics
        moved = torch.stack([a, b, c - 2.0 * (a * a - b * b), d - 4.0 * a * b], 2)
        turn = self.turn_of_uniform + torch.matmul(self.turn_of_harmonics, moved)
        return turn.reshape(len(a), -1, a.shape[2])

    @staticmethod
    def _look(log_radius: Tensor) -> Callable[[Tensor], Tensor]:
        """Interpolation in tables over ln(r + offset), RADIUS_CORRECTION_NODES + 1 values each, [B, ...].

        A table is one for all showers, or one for each.
        """
        low, high = RADIUS_CORRECTION_RANGE
        place = (log_radius - low) * (RADIUS_CORRECTION_NODES / (high - low))
        place = torch.clamp(place, 0.0, RADIUS_CORRECTION_NODES - 0.001)
        cell = torch.floor(place)
        at, part = cell.to(torch.int64), place - cell
        first = torch.arange(log_radius.shape[0])[:, None, None] * (RADIUS_CORRECTION_NODES + 1)

        def look(table: Tensor) -> Tensor:
            index = (at if table.dim() == 1 else at + first).reshape(-1)
            below, above = (torch.gather(table.reshape(-1), 0, index + k).reshape(log_radius.shape) for k in (0, 1))
            return below + part * (above - below)

        return look


def _turn_matrices() -> tuple[Tensor, Tensor]:
    """Turns at the nodes of the tables of azimuths [nodes, 1], and what harmonics add to them [nodes, 4].

    Between nodes tables are interpolated, which weakens harmonics; that is made up for.
    """
    turn = torch.arange(TURN_NODES + 1)[:, None] / TURN_NODES
    columns = []
    for k in (1, 2):
        angle = math.pi * k / TURN_NODES
        strength = (angle / math.sin(angle)) ** 2 / (math.pi * k)
        columns += [-strength * torch.sin(2.0 * math.pi * k * turn), strength * torch.cos(2.0 * math.pi * k * turn)]
    return turn, torch.cat(columns, 1)


def _band_matrix() -> Tensor:
    """Radii in the middle of the bands of azimuths, from tables of radii: [TURN_BANDS, RADIUS_NODES + 1]."""
    place = (torch.arange(TURN_BANDS) + 0.5) * (RADIUS_NODES / TURN_BANDS)
    return torch.relu(1.0 - torch.abs(place[:, None] - torch.arange(RADIUS_NODES + 1)))
