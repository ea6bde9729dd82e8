# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Parametrised electromagnetic shower in the ILD ECAL.

After G. Grindhammer and S. Peters, "The parameterized simulation of electromagnetic showers in homogeneous and
sampling calorimeters", hep-ex/0001020 (called GP below): a gamma profile along the shower axis whose depth of the
maximum T and shape alpha fluctuate, log-normal and correlated; a two-component radial profile whose core, tail and
weight depend on tau, the depth in units of the shower's own depth; energy deposited in spots. Added to it here:

- the conversion depth of a photon is drawn first (exponential), the gamma profile starts there;
- layers: the profile is sampled at each silicon layer, with one weight for the first and one for the second layer of a
  slab (thin and thick tungsten each), which gives the even/odd zigzag;
- a spot is one cluster of shower particles in one layer (about a readout cell wide at most), its energy drawn from a
  table of quantiles per radial component, so that single-particle peak and soft tail of the cell spectrum come out;
- inclined showers: profiles live on the shower axis. A spot beside the axis lies deeper or shallower than the axis
  point it belongs to, so its layer is looked up from its depth; in the layer's plane the offset along the inclination
  grows by 1 / cos(theta).

Everything is built from operators whose result for an element does not depend on the element's place in the tensor
(no Log, Sin, Cos, MatMul; no floating-point sums along the packed axis), so that a shower is bit-identical in every
batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddcalogen.card import NoiseInput
from ddcalogen.training.operators import natural_log
from ddcalogen.training.sampler import Sampler, spots_output
from ddcalogen.training.stacks import ILD_ECAL_LAYER_DEPTH_MM

__all__ = [
    "ILD_ECAL_LAYER_DEPTH_X0",
    "LAYERS",
    "ParametrisedShower",
    "Profile",
]

LAYERS = len(ILD_ECAL_LAYER_DEPTH_MM)
THIN_LAYERS = 20
"""Layers behind 2.1 mm of tungsten each; the others have 4.2 mm."""


def _depth_x0() -> tuple[float, ...]:
    """Radiation lengths in front of each silicon layer: tungsten, and boards and copper between slabs."""
    depth, total = [], 0.0
    for layer in range(LAYERS):
        total += (2.1 if layer < THIN_LAYERS else 4.2) / 3.504
        total += 0.070 if layer % 2 == 0 and layer else 0.010
        depth.append(round(total, 4))
    return tuple(depth)


ILD_ECAL_LAYER_DEPTH_X0 = _depth_x0()
"""Radiation lengths in front of each silicon layer at perpendicular incidence."""

CRITICAL_ENERGY_GEV = 0.0095
"""Scale of the energy in ln(E / Ec), GeV; about that of tungsten with the lighter materials of a slab."""

DEPTH_STEP_MM = 0.05
"""Step of the table that turns a depth into a layer."""

REACH_MM = 300.0
"""No spots farther from the axis: r -> r / (1 + r / REACH_MM), which bends the far tail down as it is seen."""

AXIS_ENERGY_GEV = 15.0
"""Below this energy the scatter of the spots alone makes that of the centre of gravity."""

ENERGY_NODES = 128
"""Intervals of the table of spot energy quantiles."""

SMALL_MEAN = 8.0
"""Below this mean, Poisson numbers are drawn by inversion; above, by the Cornish-Fisher expansion."""


class Profile(NamedTuple):
    """Longitudinal profile of a batch of showers; B rows."""

    mean_mev: Tensor
    """Visible energy along the axis that falls to each layer, MeV, [B, layers]."""
    tau: Tensor
    """Depth of each layer in units of the mean depth of the shower, [B, layers]."""
    slope: Tensor
    """(ln(E / Ec) - 8.5) / 2, about -2 to 0.5, [B, 1]."""


def _layer_edges_mm(first_of_slab_share: float) -> list[float]:
    """Depth intervals of the layers, mm: where a spot's depth falls decides its layer.

    The slabs' periods are shared between their two layers in proportion to the layers' weights, the border between the
    two lies in the middle between their silicon planes.
    """
    edges = []
    for layer in range(0, LAYERS, 2):
        middle = 0.5 * (ILD_ECAL_LAYER_DEPTH_MM[layer] + ILD_ECAL_LAYER_DEPTH_MM[layer + 1])
        period = 12.47 if layer < THIN_LAYERS else 16.67
        edges += [middle - first_of_slab_share * period, middle]
    return [*edges, edges[-1] + (1.0 - first_of_slab_share) * 16.67]


class ParametrisedShower(Sampler):
    """Physics in, physics out: incident particle and noise to packed spots.

    Attributes
    ----------
    energy_gev
        Range of the incident energy, GeV; energies outside are taken as its ends.
    capacity_base, capacity_per_gev, capacity_maximum
        Largest number of spots: min(maximum, ceil(base + per_gev * E)).
    """

    energy_gev = (0.5, 130.0)
    capacity_base, capacity_per_gev, capacity_maximum = 220.0, 105.0, 16384

    depth_mm: Tensor
    depth_x0: Tensor
    second_of_slab: Tensor
    thick: Tensor
    layer_number: Tensor
    poisson_k: Tensor
    poisson_log_factorial: Tensor
    layer_start_mm: Tensor
    layer_length_mm: Tensor
    layer_at_depth: Tensor

    def __init__(self) -> None:
        super().__init__(
            inputs=("energy", "direction", "pdg"),
            noise=(
                NoiseInput(name="z_shower", distribution="normal", shape=(6,)),
                NoiseInput(name="u_conversion", distribution="uniform", shape=(1,)),
                NoiseInput(name="z_layer", distribution="normal", shape=(LAYERS,)),
                NoiseInput(name="z_count", distribution="normal", shape=(LAYERS,)),
                NoiseInput(name="u_spot", distribution="uniform", shape=("spots", 4)),
            ),
            output=spots_output(self.capacity_base, self.capacity_per_gev, self.capacity_maximum),
        )
        self.fitting = False
        """True: library logarithms, faster and differentiable; only for the fit."""
        layer = torch.arange(LAYERS)
        constants = {
            "depth_mm": torch.tensor(ILD_ECAL_LAYER_DEPTH_MM),
            "depth_x0": torch.tensor(ILD_ECAL_LAYER_DEPTH_X0),
            "second_of_slab": (layer % 2).to(torch.float32),
            "thick": (layer >= THIN_LAYERS).to(torch.float32),
            "layer_number": layer.to(torch.float32),
            "poisson_k": torch.arange(24, dtype=torch.float32),
            "poisson_log_factorial": torch.tensor([math.lgamma(k + 1.0) for k in range(24)]),
        }
        edges = torch.round(torch.tensor(_layer_edges_mm(0.463), dtype=torch.float64) / DEPTH_STEP_MM)
        steps = torch.arange(int(edges[0]), int(edges[-1])) + 0.5
        constants["layer_at_depth"] = (torch.bucketize(steps, edges) - 1).clamp(0, LAYERS - 1).to(torch.float32)
        constants["layer_start_mm"] = (edges[:-1] * DEPTH_STEP_MM).to(torch.float32)
        constants["layer_length_mm"] = (torch.diff(edges) * DEPTH_STEP_MM).to(torch.float32)
        self.depth_range_mm = (float(edges[0]) * DEPTH_STEP_MM, float(edges[-1]) * DEPTH_STEP_MM)
        for name, value in constants.items():
            self.register_buffer(name, value)

        def parameter(*values: float) -> nn.Parameter:
            return nn.Parameter(torch.tensor(values))

        # along the axis; "log" marks logarithms of positive quantities
        self.log_conversion_x0 = parameter(math.log(9.0 / 7.0), 0.0)  # and slope
        self.front_x0 = parameter(0.66)  # matter in front that the plates do not count
        self.t_max = parameter(-0.95, 1.01, 0.0)  # GP: <ln T> = ln(t1 + t2 ln y); and a square
        self.shape = parameter(-0.05, 0.58)  # GP: <ln alpha> = ln(a1 + a2 ln y), here for alpha - 1
        self.log_sigma_t_max = parameter(-2.55, -0.3)  # at ln y = 8.5, and slope per 2 units of ln y
        self.log_sigma_shape = parameter(-2.2, -0.1)
        self.correlation = parameter(0.1)  # atanh of the correlation of ln T and ln(alpha - 1)
        self.broad = parameter(
            -2.1, -0.3, 0.05, -0.85
        )  # second gamma: logit of its share, slope, ln of T and shape ratio
        self.log_backscatter = parameter(-7.5, 1.5)  # ln of share per X0, ln of the range in X0
        self.log_weight = parameter(-4.18, -4.03, -4.17, -3.99, -4.2)  # thin 1st, 2nd; thick 1st, 2nd; layer 0
        self.angle = parameter(0.0, 0.0)  # change with 1/cos - 1 of ln energy and of ln(alpha - 1)
        self.weight_energy = parameter(0.0)
        self.log_sigma_scale = parameter(-3.7)  # of the whole shower, times 1/sqrt(E/GeV)
        self.log_sigma_layer = parameter(-3.2, -0.1)  # of each layer, and slope
        # beside the axis
        self.core = parameter(-1.1, 1.85, -0.2)  # polynomial of ln R_core(mm) in tau
        self.tail = parameter(0.93, 0.3, 2.5, 0.0)  # GP: k1 (exp(-k3 (tau - k2)) + exp(k4 (tau - k2)))
        self.core_share = parameter(-2.0, 0.0, 1.3)
        self.tail_power = parameter(-0.4, 0.17)  # ln k = polynomial in tau; GP: k = 1
        self.radius_energy = parameter(0.0, 0.0)  # change of ln R_core and ln R_tail with energy
        self.field = parameter(0.07, 0.02)  # relative widening in y and narrowing in x; shift in y per distance
        self.sigma_width = parameter(0.02)  # relative scatter of both radii of a shower
        self.sigma_axis_mm = parameter(2.5)  # scatter of the axis, times sqrt(E) / (E + AXIS_ENERGY_GEV)
        self.lean = parameter(0.18)  # shift along the inclination per distance from the axis, times sin(theta)
        self.depth_shift = parameter(1.0, 0.01)  # per mm beside the axis; saturates, 1/mm; chosen by hand, not fitted
        # spots
        self.log_spot_mev = parameter(math.log(0.40), math.log(0.25))  # core, tail
        nodes = (torch.arange(ENERGY_NODES + 1) / ENERGY_NODES).clamp(1e-3, 0.995)
        self.spot_quantiles = nn.Parameter((-torch.log(1.0 - nodes)).repeat(2, 1))  # in units of the mean

    # ---------------------------------------------------------------------------------------------- along the axis

    def _log(self, x: Tensor) -> Tensor:
        return torch.log(x) if self.fitting else natural_log(x)

    def _log_gamma(self, x: Tensor) -> Tensor:
        """ln Gamma(x) for x > 1, Stirling's series at x + 3."""
        if self.fitting:
            return torch.lgamma(x)
        s = x + 3.0
        series = (s - 0.5) * natural_log(s) - s + 0.918938533 + (1.0 / 12.0 - 1.0 / (360.0 * s * s)) / s
        return series - natural_log(x * (x + 1.0) * (x + 2.0))

    def _gamma_density(self, t: Tensor, t_max: Tensor, shape: Tensor) -> Tensor:
        """Density per X0 of the gamma profile with its maximum at t_max and alpha = 1 + shape."""
        beta = shape / t_max
        return torch.exp(shape * self._log(beta * t) - beta * t - self._log_gamma(shape + 1.0)) * beta

    def longitudinal(
        self, energy: Tensor, cos: Tensor, photon: Tensor, z_shower: Tensor, u_conversion: Tensor, z_layer: Tensor
    ) -> Profile:
        """Return the profile of each shower.

        Parameters
        ----------
        energy, cos, photon
            float32 [..., 1]: energy in GeV, cosine of the angle to the layer normal, 1 for photons and 0 for electrons.
        z_shower, u_conversion, z_layer
            noise [..., 6] (the first three are used here), [..., 1] and [..., layers].
        """
        log_y = self._log(energy / CRITICAL_ENERGY_GEV)
        slope = 0.5 * (log_y - 8.5)
        z1, z2, z3 = z_shower[..., 0:1], z_shower[..., 1:2], z_shower[..., 2:3]
        conversion = torch.exp(self.log_conversion_x0[0] + self.log_conversion_x0[1] * slope)
        # electrons start where photon showers on average start, less 1 X0: PDG review, Passage of particles through
        # matter, t_max = ln y + C with C = +0.5 for photons and -0.5 for electrons
        start = -photon * conversion * self._log(u_conversion) + (1.0 - photon) * torch.relu(conversion - 1.0)
        t_max = (self.t_max[0] + self.t_max[1] * log_y + self.t_max[2] * slope * slope) * torch.exp(
            torch.exp(self.log_sigma_t_max[0] + self.log_sigma_t_max[1] * slope) * z1
        )
        rho = torch.tanh(self.correlation)
        incline = 1.0 / cos - 1.0
        shape = (self.shape[0] + self.shape[1] * log_y) * torch.exp(
            torch.exp(self.log_sigma_shape[0] + self.log_sigma_shape[1] * slope)
            * (rho * z1 + torch.sqrt(1.0 - rho * rho) * z2)
            + self.angle[1] * incline
        )
        path = self.depth_x0 / cos + self.front_x0
        t = torch.clamp(path - start, min=1e-3)
        share = torch.sigmoid(self.broad[0] + self.broad[1] * slope)
        density = (1.0 - share) * self._gamma_density(t, t_max, shape) + share * self._gamma_density(
            t, t_max * torch.exp(self.broad[2]), shape * torch.exp(self.broad[3])
        )
        back = torch.exp(self.log_backscatter[0] - self.depth_x0 * torch.exp(-self.log_backscatter[1]))
        w = self.log_weight
        thin = w[0] + (w[1] - w[0]) * self.second_of_slab
        thick = w[2] + (w[3] - w[2]) * self.second_of_slab
        first = (self.layer_number < 0.5).to(torch.float32)
        log_weight = thin + (thick - thin) * self.thick + (w[4] - w[0]) * first
        log_scale = (
            self.angle[0] * incline
            + self.weight_energy * slope
            + torch.exp(self.log_sigma_scale) * z3 / torch.sqrt(energy)
        )
        sigma = torch.exp(self.log_sigma_layer[0] + self.log_sigma_layer[1] * slope) * torch.sqrt(1.0 / cos)
        fluctuation = torch.exp(log_weight + log_scale + sigma * z_layer - 0.5 * sigma * sigma)
        mean_mev = 1000.0 * energy / cos * fluctuation * (density + back)
        return Profile(mean_mev, path / (start + t_max * (1.0 + 1.0 / shape)), slope)

    # ---------------------------------------------------------------------------------------------- beside the axis

    def radial(self, tau: Tensor, slope: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return core radius (mm), tail radius (mm), the core's share of the energy and the power k of the tail.

        Parameters
        ----------
        tau, slope
            Depth in units of the shower's mean depth; (ln(E / Ec) - 8.5) / 2.
        """
        x = torch.clamp(tau, 0.05, 3.0)
        core = torch.exp(self.core[0] + x * (self.core[1] + x * self.core[2]) + self.radius_energy[0] * slope)
        k = self.tail
        tail = torch.exp(k[0]) * (torch.exp(-torch.exp(k[2]) * (x - k[1])) + torch.exp(torch.exp(k[3]) * (x - k[1])))
        share = torch.sigmoid(self.core_share[0] + self.core_share[1] * x + self.core_share[2] / (x + 0.2))
        power = torch.exp(self.tail_power[0] + self.tail_power[1] * x)
        return core, core + tail * torch.exp(self.radius_energy[1] * slope), share, power

    # -------------------------------------------------------------------------------------------------------- spots

    def _poisson(self, mean: Tensor, z: Tensor) -> Tensor:
        """Turn a standard normal number into a Poisson number (int64) of the given mean."""
        small = torch.clamp(mean, 1e-6, SMALL_MEAN)[:, :, None]
        terms = torch.exp(self.poisson_k * self._log(small) - small - self.poisson_log_factorial)
        quantile = 0.5 + 0.5 * torch.erf(z * math.sqrt(0.5))
        by_inversion = (torch.cumsum(terms, 2) < quantile[:, :, None]).to(torch.int64).sum(2)
        large = torch.floor(torch.clamp(mean + torch.sqrt(mean) * z + (z * z + 2.0) / 6.0, min=0.0))
        return torch.where(mean < SMALL_MEAN, by_inversion, large.to(torch.int64))

    def forward(
        self,
        energy: Tensor,
        direction: Tensor,
        pdg: Tensor,
        z_shower: Tensor,
        u_conversion: Tensor,
        z_layer: Tensor,
        z_count: Tensor,
        u_spot: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Return packed spots and their counts.

        Parameters
        ----------
        energy, direction, pdg
            float32 [B, 1] GeV; float32 [B, 3], unit vectors in the shower frame; int64 [B, 1].
        z_shower, z_layer, z_count
            standard normal noise [B, 6], [B, layers], [B, layers].
        u_conversion, u_spot
            uniform noise [B, 1], [B, N, 4] with N at least the largest capacity of the batch.

        Returns
        -------
        spots, counts
            float32 [P, 4]: x mm, y mm, layer, GeV, packed in batch order; int64 [B].
        """
        energy = torch.clamp(energy, self.energy_gev[0], self.energy_gev[1])
        cos = torch.clamp(direction[:, 2:3], min=0.2)
        photon = (pdg == 22).to(torch.float32)
        profile = self.longitudinal(energy, cos, photon, z_shower, u_conversion, z_layer)
        core, tail, share, power = self.radial(profile.tau, profile.slope)
        width = torch.exp(self.sigma_width * z_shower[:, 5:6])
        core, tail = core * width, tail * width
        spot_mev = torch.exp(self.log_spot_mev)
        in_core, in_tail = share / spot_mev[0], (1.0 - share) / spot_mev[1]
        number = self._poisson(profile.mean_mev * (in_core + in_tail), z_count)

        limit = torch.clamp(
            torch.floor(self.capacity_base - 1.0 + self.capacity_per_gev * energy), max=float(self.capacity_maximum)
        ).to(torch.int64)
        ends = torch.minimum(torch.cumsum(number, 1), limit)
        counts = ends[:, -1]

        # from rows of layers to packed spots: which (shower, layer) does spot i belong to, which noise is its own
        slot_ends = (ends + (torch.cumsum(counts, 0) - counts)[:, None]).reshape(-1)
        total = int(slot_ends[-1].item())
        torch._check(total >= 0)  # type: ignore[no-untyped-call]
        steps = torch.zeros(total + 1, dtype=torch.int64)
        steps = torch.scatter_add(steps, 0, slot_ends[:-1], torch.ones_like(slot_ends[:-1]))
        slot = torch.cumsum(steps, 0)[:-1]
        batch = energy.shape[0]
        unused = torch.arange(batch) * u_spot.shape[1] - (torch.cumsum(counts, 0) - counts)

        def of_slot(value: Tensor) -> Tensor:
            """Value of each spot's (shower, layer); [B, layers], [B, 1] or [layers] to [P]."""
            return torch.gather(value.expand(batch, LAYERS).reshape(-1), 0, slot)

        own = 4 * (torch.arange(total) + of_slot(unused[:, None]))
        drawn = u_spot.reshape(-1)
        u_radius, u_turn, u_energy, u_depth = (torch.gather(drawn, 0, own + i) for i in range(4))

        # GP: f(r) = 2 r R^2 / (r^2 + R^2)^2 for either component, so r = R sqrt(u / (1 - u)) = R sqrt(1 / (1 - u) - 1);
        # the tail's power is free: f(r) = 2 k r R^2k / (r^2 + R^2)^(1 + k), r = R sqrt((1 - u)^(-1/k) - 1)
        share = of_slot(in_core / (in_core + in_tail))
        is_core = u_radius < share
        u = torch.where(is_core, u_radius / share, (u_radius - share) / (1.0 - share))
        free = 1.0 - torch.clamp(u, 0.0, 0.9998)
        square = torch.pow(free, torch.where(is_core, -1.0, of_slot(-1.0 / power))) - 1.0
        radius = torch.where(is_core, of_slot(core), of_slot(tail)) * torch.sqrt(torch.clamp(square, min=0.0))
        radius = radius / (1.0 + radius * (1.0 / REACH_MM))
        # cos and sin of 2 pi u_turn from the sine of half the angle
        v = 2.0 * u_turn - 1.0
        w = v * v
        half = v * (1.5707963 + w * (-0.6459641 + w * (0.0796926 + w * (-0.0046818 + w * 0.00016044))))
        half = torch.clamp(half, -1.0, 1.0)
        across_x = radius * (1.0 - 2.0 * half * half)
        across_y = radius * (2.0 * half) * torch.sqrt(1.0 - half * half)

        # beside the axis of an inclined shower a spot is deeper or shallower; reflected at both ends of the calorimeter
        dir_x, dir_y, secant = of_slot(direction[:, 0:1]), of_slot(direction[:, 1:2]), of_slot(1.0 / cos)
        along = across_x * dir_x + across_y * dir_y  # times sin(theta)
        top, bottom = self.depth_range_mm
        depth = of_slot(self.layer_start_mm - top) + u_depth * of_slot(self.layer_length_mm)
        depth = torch.abs(depth - self.depth_shift[0] * along / (1.0 + self.depth_shift[1] * torch.abs(along)))
        depth = torch.clamp((bottom - top) - torch.abs((bottom - top) - depth), min=0.0)
        entry = torch.clamp(torch.floor(depth * (1.0 / DEPTH_STEP_MM)), max=float(self.layer_at_depth.shape[0] - 1))
        layer = torch.gather(self.layer_at_depth, 0, entry.to(torch.int64))
        path_mm = torch.gather(self.depth_mm, 0, layer.to(torch.int64)) * secant

        # spot energy: quantiles of the core, then those of the tail
        place = u_energy * ENERGY_NODES
        node = torch.clamp(torch.floor(place), max=ENERGY_NODES - 1.0)
        index = torch.where(is_core, node, node + (ENERGY_NODES + 1.0)).to(torch.int64)
        quantiles_gev = (self.spot_quantiles * spot_mev[:, None] * 1e-3).reshape(-1)
        low, high = torch.gather(quantiles_gev, 0, index), torch.gather(quantiles_gev, 0, index + 1)
        gev = low + (place - node) * (high - low)

        # in the layer's plane: drift of the axis, offset along the inclination times 1 / cos, lean, field
        jitter = self.sigma_axis_mm * torch.sqrt(energy) / (energy + AXIS_ENERGY_GEV)
        shift = path_mm + along * (secant * secant / (secant + 1.0)) + self.lean * radius
        x = shift * dir_x + across_x * (1.0 - self.field[0]) + of_slot(jitter * z_shower[:, 3:4])
        y = shift * dir_y + across_y * (1.0 + self.field[0]) + of_slot(jitter * z_shower[:, 4:5])
        y = y + self.field[1] * radius
        return torch.stack([x, y, layer, gev], 0).transpose(0, 1), counts
