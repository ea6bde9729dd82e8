# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The layered shower: merging of deposits, mixtures, tables of quantiles, conservation in the sampler."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ddcalogen.card import Domain
from ddcalogen.errors import InputError
from ddcalogen.training.config import load_config
from ddcalogen.training.data import Showers
from ddcalogen.training.sampler import example_inputs, generate, incident
from ddcalogen.training.stacks import find_stack
from ddcalogen.training.systems._layered_calibration import (
    CellSample,
    core_shift,
    development_shifts,
    groups_of_like,
    layer_shifts,
    radius_shift,
    response_shifts,
    ring_shifts,
    slope_shifts,
    spectrum_shift,
    spectrum_shifts,
    turn_shifts,
)
from ddcalogen.training.systems._layered_networks import (
    LEAST_LEVEL_RADIUS,
    RADIUS_NODES,
    Incident,
    LayeredNetworks,
    Mixture,
    level_of_place,
    place_of_level,
    radius_place,
)
from ddcalogen.training.systems._layered_sampler import LayeredSampler
from ddcalogen.training.systems._layered_spots import (
    LATENTS,
    RING_EDGES_MM,
    SpotSummaries,
    across_axis,
    merge_deposits,
    stretch,
)
from ddcalogen.training.systems.layered import Layered, LayeredConfig
from hypothesis import given, settings
from hypothesis import strategies as st

ECAL = find_stack("ECAL")
DOMAIN = Domain(pdg=(22,), energy_gev=(0.5, 130.0), theta_deg=(0.0, 60.0))
PITCH = ECAL.cell_mm[0] / 5.0
TURN = 0.39


def deposits(
    u: list[int], v: list[int], layer: list[int], mev: list[float], *, pitch: float = PITCH, tangent: float = 0.0
) -> Showers:
    """One shower with deposits at places of the merging grid."""
    cos = 1.0 / math.hypot(1.0, tangent)
    a, b = np.array(u) * PITCH, np.array(v) * PITCH
    return Showers(
        np.array([10.0], np.float32),
        np.array([[tangent * cos, 0.0, cos]], np.float32),
        np.array([22], np.int32),
        np.array([0, len(u)]),
        (a * math.cos(TURN) - b * math.sin(TURN)).astype(np.float32),
        (a * math.sin(TURN) + b * math.cos(TURN)).astype(np.float32),
        np.array(layer, np.int16),
        (np.array(mev) * 1e-3).astype(np.float32),
        pitch,
        TURN,
    )


def many(number: int = 6, points: int = 400, seed: int = 0) -> Showers:
    """Showers of random deposits."""
    rng = np.random.default_rng(seed)
    parts = []
    for k in range(number):
        place = np.unique(np.round(rng.normal(0.0, 6.0, (points, 2))).astype(int), axis=0)
        layer = rng.integers(0, 30, len(place))
        mev = rng.exponential(0.4, len(place))
        parts.append(deposits(list(place[:, 0]), list(place[:, 1]), list(layer), list(mev), tangent=0.2 * k))
    return Showers.join(parts)


class TestMerging:
    def test_a_small_deposit_joins_its_neighbour_unless_a_cell_border_lies_between(self) -> None:
        pair = deposits([0, 1], [0, 0], [4, 4], [0.5, 0.1])
        number = [len(merge_deposits(pair, ECAL, np.random.default_rng(k), below_mev=0.3).mev) for k in range(400)]
        # of five places of the border between two neighbours one parts them
        assert np.mean(np.array(number) == 2) == pytest.approx(0.2, abs=0.06)

    def test_what_does_not_merge(self) -> None:
        rng = np.random.default_rng(0)
        for other in (
            deposits([0, 2], [0, 0], [4, 4], [0.5, 0.1]),  # not neighbours
            deposits([0, 1], [0, 0], [4, 5], [0.5, 0.1]),  # other layer
            deposits([0, 1], [0, 0], [4, 4], [0.5, 0.4]),  # not small
        ):
            for _ in range(10):
                assert len(merge_deposits(other, ECAL, rng, below_mev=0.3).mev) == 2

    def test_chains_merge_to_their_top_at_the_centre_of_energy(self) -> None:
        chain = deposits([0, 1, 2], [0, 0, 0], [4, 4, 4], [0.1, 0.2, 0.4])
        found = [merge_deposits(chain, ECAL, np.random.default_rng(k), below_mev=0.3) for k in range(100)]
        whole = [s for s in found if len(s.mev) == 1]
        assert whole
        assert whole[0].mev[0] == pytest.approx(0.7)
        along = PITCH * (0.2 + 0.8) / 0.7
        assert whole[0].along_mm[0] == pytest.approx(along * math.cos(TURN), rel=1e-4)
        assert whole[0].across_mm[0] == pytest.approx(along * math.sin(TURN), rel=1e-4)

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 1000), below=st.floats(0.05, 5.0))
    def test_energy_is_conserved_in_every_layer(self, seed: int, below: float) -> None:
        showers = many(2, 200, seed)
        spots = merge_deposits(showers, ECAL, np.random.default_rng(seed), below_mev=below)
        merged = np.bincount(spots.shower * 30 + spots.layer, spots.mev, 60).reshape(2, 30)
        np.testing.assert_allclose(merged, showers.layer_energy_gev(30) * 1e3, rtol=1e-5, atol=1e-6)
        assert len(spots.mev) <= len(showers.layer)

    def test_position_is_relative_to_the_axis(self) -> None:
        tangent = 1.2
        depth = ECAL.layer_depth_mm[20]
        at = tangent * depth / PITCH
        showers = deposits([round(at * math.cos(TURN))], [round(-at * math.sin(TURN))], [20], [1.0], tangent=tangent)
        spots = merge_deposits(showers, ECAL, np.random.default_rng(0), below_mev=0.3)
        assert np.hypot(spots.along_mm, spots.across_mm)[0] < PITCH

    def test_coarse_grids_are_refused(self) -> None:
        with pytest.raises(InputError, match="too coarse a grid"):
            merge_deposits(deposits([0], [0], [0], [1.0], pitch=10.0), ECAL, np.random.default_rng(0), below_mev=0.3)

    def test_points_on_no_grid_are_taken(self) -> None:
        spots = merge_deposits(
            deposits([0, 1], [0, 0], [4, 4], [0.5, 0.1], pitch=0.0), ECAL, np.random.default_rng(0), below_mev=0.3
        )
        assert spots.mev.sum() == pytest.approx(0.6)


class TestSummaries:
    def test_ranks_follow_radii_within_a_layer(self) -> None:
        batch = SpotSummaries(2000, 0.3)(many(), ECAL, np.random.default_rng(1))
        rank, radius, layer = (batch[f"spot_{n}"].numpy() for n in ("rank", "radius", "layer"))
        assert rank.min() > 0
        assert rank.max() < 1
        for shower in range(len(rank)):
            for at in np.unique(layer[shower]):
                here = layer[shower] == at
                # places on the grid share radii: among equal ones any order is right
                value, group = np.unique(np.round(radius[shower][here], 4), return_inverse=True)
                stratum = np.floor(rank[shower][here] * float(batch["layer_counts"][shower, at]) - 1e-4)
                low, high = np.full(len(value), np.inf), np.full(len(value), -np.inf)
                np.minimum.at(low, group, stratum)
                np.maximum.at(high, group, stratum)
                assert np.all(high[:-1] <= low[1:] + 1e-9)

    def test_sums(self) -> None:
        showers = many()
        batch = SpotSummaries(0, 0.3)(showers, ECAL, np.random.default_rng(1))
        np.testing.assert_allclose(batch["layer_mev"], showers.layer_energy_gev(30) * 1e3, rtol=1e-4, atol=1e-5)
        assert "spot_rank" not in batch
        assert torch.isfinite(batch["latents"]).all()
        assert (batch["latents"][:, -2:].abs() <= 1).all()


class TestMixture:
    @pytest.fixture
    def mixture(self) -> Mixture:
        torch.manual_seed(3)
        result = Mixture(2, (8,), 3, 0.05)
        with torch.no_grad():
            for p in result.parameters():
                p.add_(0.5 * torch.randn_like(p))
        result.centre.fill_(2.0)
        result.scale.fill_(3.0)
        return result

    def test_density_is_normalised_and_what_is_drawn(self, mixture: Mixture) -> None:
        n = 40_000
        feature = torch.tensor([0.3, -0.7])[None, :, None]
        y = torch.linspace(-60.0, 60.0, 60_001)
        with torch.no_grad():
            density = torch.exp(-mixture.nll(feature.expand(1, 2, len(y)), y[None]))[0].double()
            drawn = mixture.draw(feature.expand(1, 2, n), torch.rand(1, 1, n), torch.randn(1, 1, n))[0, 0].numpy()
        density = density / (math.sqrt(2 * math.pi) * float(mixture.scale))
        total = np.cumsum(density.numpy()) * 0.002
        assert total[-1] == pytest.approx(1.0, abs=1e-3)
        place = np.interp(np.sort(drawn), y.numpy(), total)
        assert np.abs(place - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov, 1e-3


def test_places_and_levels_are_inverse() -> None:
    u = torch.linspace(0.0, 1.0, 1001)
    np.testing.assert_allclose(level_of_place(place_of_level(u)), u, atol=2e-6)
    assert (torch.diff(place_of_level(u)) > 0).all()


class TestSampler:
    @pytest.fixture
    def system(self) -> Layered:
        torch.manual_seed(1)
        return Layered(LayeredConfig(), ECAL, DOMAIN)

    def test_tables_increase(self) -> None:
        torch.manual_seed(2)
        networks = LayeredNetworks(ECAL, layer_hidden=(8,), table_hidden=(8,))
        with torch.no_grad():
            tables = networks.tables(5.0 * torch.randn(2, networks.context.weights[0].shape[1], 30))
        at, size = networks.tables_of.radius, networks.tables_of.energy
        assert tables.shape[1] == networks.tables_of.rows
        assert (torch.diff(tables[:, :at], dim=1) > 0).all()
        assert (torch.diff(tables[:, at : at + size].reshape(2, 8, 17, 30), dim=2) > 0).all()
        turns = tables[:, at + size :].reshape(2, 8, 13, 30)
        np.testing.assert_allclose(turns[:, :, -1], turns[:, :, 0] + 1.0, rtol=1e-5)

    @pytest.mark.parametrize("means", [(0.2, 0.0, 0.0, 0.0), (0.1, 0.1, -0.08, 0.05), (0.0, 0.0, 0.0, 0.15)])
    def test_azimuths_have_the_means_that_their_tables_were_made_of(self, means: tuple[float, ...]) -> None:
        networks = LayeredNetworks(ECAL, layer_hidden=(8,), table_hidden=(8,))
        table = networks._turns([torch.full((1, 8, 1), m) for m in means]).reshape(8, 13)[3].double().numpy()
        angle = 2.0 * math.pi * np.interp(np.arange(12_000) / 1000.0, np.arange(13), table)
        found = [f(k * angle).mean() for k in (1, 2) for f in (np.cos, np.sin)]
        np.testing.assert_allclose(found, means, atol=0.018)

    @pytest.mark.parametrize("pdg", [22, 11, -11])
    @pytest.mark.parametrize("turn", [0.0, 0.2, 0.6])
    def test_what_the_field_does_to_azimuths_stands_still_while_the_inclination_turns(
        self, pdg: int, turn: float
    ) -> None:
        """The amplitudes of the inclination are switched off; the second harmonic lies along the field, for leptons the
        first along the Lorentz force, opposite for opposite charges."""
        networks = LayeredNetworks(ECAL, layer_hidden=(8,), table_hidden=(8,))
        angle = 2.0 * math.pi * turn
        direction = torch.tensor([[0.5 * math.cos(angle), 0.5 * math.sin(angle), math.sqrt(0.75)]])
        p = networks.incident(torch.tensor([[10.0]]), direction, torch.tensor([[pdg]]))
        one = torch.ones(1, 30)
        features = networks.context_features(p, one, one, one[:, :1], torch.zeros(1, LATENTS))
        raw = torch.zeros(1, 8, 4, 30)
        raw[:, :, 1], raw[:, :, 3] = 0.3, -0.2
        a, b, c, d = (float(m[0, 4, 7]) for m in networks.harmonics(raw.reshape(1, 32, 30), features))
        first, second = (a + 1j * b) * np.exp(1j * angle), (c + 1j * d) * np.exp(2j * angle)
        assert second == pytest.approx(0.5 * math.tanh(-0.2), abs=1e-5)
        charge = {22: 0, 11: -1, -11: 1}[pdg]
        assert first == pytest.approx(-1j * charge * 0.5 * math.tanh(0.3), abs=1e-5)  # B along -x, motion along z

    def test_spots_carry_exactly_the_energy_of_their_layer(self, system: Layered) -> None:
        sampler = system.sampler().eval()
        inputs = example_inputs(sampler, system.domain, 8, 1)
        with torch.no_grad():
            p = system.networks.incident(inputs["energy"], inputs["direction"], inputs["pdg"])
            total, layer_mev, counts, _, _ = sampler._shower(p, inputs["u_shower"], inputs["z_shower"])  # type: ignore[operator]
            spots, number = sampler(*inputs.values())
        np.testing.assert_allclose(layer_mev.sum(1), total[:, 0], rtol=1e-4)
        row = np.repeat(np.arange(8), number.numpy())
        sums = np.bincount(row * 30 + spots[:, 2].numpy().astype(int), spots[:, 3].numpy() * 1e3, 240).reshape(8, 30)
        whole = number.numpy() == counts.sum(1).numpy()  # showers that their capacity does not cut
        assert whole.any()
        placed = np.where(counts.numpy() > 0, layer_mev.numpy(), 0.0)
        np.testing.assert_allclose(sums[whole], placed[whole], rtol=2e-3, atol=1e-4)

    def test_the_domain_is_what_the_data_had(self) -> None:
        system = Layered(
            LayeredConfig(), ECAL, Domain(pdg=(22, 11, -11), energy_gev=(0.5, 130.0), theta_deg=(0.0, 60.0))
        )
        assert system.domain.pdg == (22, 11, -11)
        assert "Electrons" in system.describe()
        representation = system.representation("spots")
        assert representation is not None
        showers = many(4)
        batch = representation(showers, ECAL, np.random.default_rng(0)) | incident(showers)
        system.standardise([batch])
        assert system.domain.pdg == (22,)
        assert "Electrons" not in system.describe()

    def test_calibration_moves_the_number_of_cells_to_that_of_the_data(self) -> None:
        """Data: showers of the same networks with 30 % more spots in each layer."""
        from ddcalogen.training.systems._layered_showers import cells_above_threshold

        config = load_config("layered", smoke=True).system_config()
        assert isinstance(config, LayeredConfig)
        torch.manual_seed(4)
        system = Layered(config, ECAL, DOMAIN)
        system.networks.response.scale.fill_(0.1)
        system.networks.layer.centre.fill_(2.0)
        like = many(24, 20)
        like = Showers(
            np.geomspace(1.0, 20.0, 24).astype(np.float32),
            *(getattr(like, n) for n in ("direction", "pdg", "offsets", "x_mm", "y_mm", "layer", "point_energy_gev")),
        )
        depth = np.array(ECAL.layer_depth_mm)
        system.networks.count_correction[0] = 0.26
        truth = generate(system.sampler(), like, depth, seed=1)
        system.networks.count_correction[0] = 0.0

        class Step:
            stage, index, device, mirror = "calibration", 0, torch.device("cpu"), ()

            def __init__(self, seed: int) -> None:
                self.rng = np.random.default_rng(seed)

            def training_showers(self) -> Showers:
                return truth

        ratios = []
        for k in range(3):
            system.training_step({}, Step(k))  # type: ignore[arg-type]
            made = generate(system.sampler(), like, depth, seed=10 + k)
            ratios.append(cells_above_threshold(made, ECAL, 0).mean() / cells_above_threshold(truth, ECAL, 1).mean())
        assert ratios[-1] == pytest.approx(1.0, abs=0.08)

    def test_the_number_of_spots_of_a_shower_is_the_one_drawn(self, system: Layered) -> None:
        """That of the layers together follows that of the shower, though layers are drawn one by one."""
        sampler = system.sampler()
        inputs = example_inputs(sampler, DOMAIN, 64, 3)
        inputs["energy"] = torch.full((64, 1), 20.0)
        net = system.networks
        net.depth.centre.fill_(math.log(9.0))
        net.width.centre.fill_(math.log(4.0))
        net.depth.scale.fill_(0.1)
        net.width.scale.fill_(0.1)
        net.number.scale.fill_(1e-3)
        net.count.centre.fill_(math.log(12.0))
        net.count.scale.fill_(0.2)

        def logarithm_of_spots_per_mev(drawn: float) -> torch.Tensor:
            net.number.centre.fill_(drawn)
            with torch.no_grad():
                p = net.incident(inputs["energy"], inputs["direction"], inputs["pdg"])
                total, _, count, _, _ = sampler._shower(p, inputs["u_shower"], inputs["z_shower"])  # type: ignore[operator]
            return torch.log(count.sum(1) / total[:, 0])

        usual = float(logarithm_of_spots_per_mev(-0.7).median())
        few, many_spots = (logarithm_of_spots_per_mev(usual + shift) for shift in (-0.1, 0.1))
        assert float((many_spots - few).median()) == pytest.approx(0.2, abs=0.02)


def test_corrections_are_straight_lines_between_energies() -> None:
    log_energy = torch.tensor([-3.0, -2.5, -1.5, -0.75, 1.5, 2.0])[:, None]
    terms = LayeredNetworks.terms(log_energy, torch.full((6, 1), 0.3), torch.full((6, 1), -0.5))
    wanted = np.zeros((6, 7))
    wanted[:, 5], wanted[:, 6] = 0.3, -0.15
    wanted[[0, 1, 2, 4, 5], [0, 0, 1, 4, 4]] = 1.0
    wanted[3, 1:3] = 0.25, 0.75
    np.testing.assert_allclose(terms, wanted, atol=1e-6)


def test_radii_move_by_the_correction_of_their_shower() -> None:
    torch.manual_seed(5)
    net = LayeredNetworks(ECAL, layer_hidden=(8, 8), table_hidden=(8, 8), refined=True)
    features = torch.randn(2, net.context.weights[0].shape[1], 5)
    features[:, 0], features[:, 1] = torch.tensor([[-0.5], [0.5]]), 0.0
    with torch.no_grad():
        before = net.tables(features, whole=True)[:, : RADIUS_NODES + 1]
        net.radius_correction[2], net.radius_correction[3] = 0.1, -0.2
        after = net.tables(features, whole=True)[:, : RADIUS_NODES + 1]
    np.testing.assert_allclose((after - before)[0], 0.1, atol=1e-5)
    np.testing.assert_allclose((after - before)[1], -0.2, atol=1e-5)


def test_the_outermost_radius_that_was_learned_is_found_at_its_level() -> None:
    """Tables are continued beyond it to level 1, along the hyperbola of the last interval."""
    torch.manual_seed(2)
    net = LayeredNetworks(ECAL, layer_hidden=(8, 8), table_hidden=(8, 8), refined=True)
    features = torch.randn(3, net.context.weights[0].shape[1], 5)
    with torch.no_grad():
        learned, whole = (net.tables(features, whole=k)[:, : RADIUS_NODES + 1] for k in (False, True))
    places = torch.tensor([0.0, 0.3, 0.93, 0.97, float(place_of_level(torch.tensor(1.0 - LEAST_LEVEL_RADIUS))), 1.0])
    at = radius_place(places)
    np.testing.assert_allclose(at[:3], RADIUS_NODES * places[:3], rtol=1e-6)
    assert bool((at[1:] > at[:-1]).all())
    assert float(at[-1]) == RADIUS_NODES
    part = float(at[4]) - (RADIUS_NODES - 1)
    found = whole[:, -2] + part * (whole[:, -1] - whole[:, -2])
    np.testing.assert_allclose(found, learned[:, -1], rtol=1e-4)


def showers_in_depth(seed: int, number: int = 40) -> tuple[LayeredNetworks, Incident, torch.Tensor]:
    """Networks, inclined particles, and layer energies [number, 30] that rise and fall with some noise."""
    torch.manual_seed(seed)
    net = LayeredNetworks(ECAL, layer_hidden=(8, 8), table_hidden=(8, 8), refined=True)
    turn, sin = 6.3 * torch.rand(number), 0.85 * torch.rand(number)
    direction = torch.stack([sin * torch.cos(turn), sin * torch.sin(turn), torch.sqrt(1.0 - sin**2)], 1)
    p = net.incident(torch.full((number, 1), 20.0), direction, torch.full((number, 1), 22))
    peak = 6.0 + 4.0 * torch.rand(number, 1)
    layer_mev = 50.0 * torch.exp(-((p.path - peak) ** 2) / 30.0) * torch.exp(0.3 * torch.randn(number, 30)) + 0.01
    return net, p, layer_mev


def test_what_is_ahead_is_the_mean_distance_to_the_energy_that_is_left() -> None:
    net, p, layer_mev = showers_in_depth(1)
    total = layer_mev.sum(1, keepdim=True)
    mean, _ = net.development(p, layer_mev, total)
    ahead = net.known_history(p, layer_mev, total, mean=mean)[:, -1]
    for layer in (0, 7, 14):
        left = layer_mev[:, layer:]
        wanted = (left * (p.path[:, layer:] - p.path[:, layer : layer + 1])).sum(1) / left.sum(1)
        enough = left.sum(1) > 0.05 * total[:, 0]
        assert int(enough.sum()) >= 5
        np.testing.assert_allclose(10.0 * ahead[enough, layer], wanted[enough], rtol=1e-3, atol=1e-2)


@given(st.integers(0, 1000), st.floats(-0.04, 0.04), st.floats(-0.06, 0.06))
@settings(max_examples=20, deadline=None)
def test_layers_are_brought_to_a_depth_and_width(seed: int, deeper: float, wider: float) -> None:
    net, p, layer_mev = showers_in_depth(seed)
    sampler = LayeredSampler(net, ECAL, DOMAIN)
    total = layer_mev.sum(1, keepdim=True)
    mean, width = net.development(p, layer_mev, total)
    wanted = mean * (1.0 + deeper), width * (1.0 + wider)
    brought = layer_mev * torch.exp(sampler._tilt(p, layer_mev, total, *wanted))
    now = net.development(p, brought, brought.sum(1, keepdim=True))
    for before, after, target, most in zip((mean, width), now, wanted, (0.01, 0.03), strict=True):
        lack = (after / target - 1.0).abs()
        assert float(lack.max()) < most
        assert bool((lack <= (before / target - 1.0).abs() + 1e-2).all())


def test_the_share_left_drifts_only_where_something_was_drawn() -> None:
    networks = LayeredNetworks(ECAL, layer_hidden=(8, 8), table_hidden=(8, 8))
    energy, direction, pdg = (
        torch.full((40, 1), 10.0),
        torch.tensor([[0.0, 0.0, 1.0]]).expand(40, 3),
        torch.full((40, 1), 22),
    )
    p = networks.incident(energy, direction, pdg)
    layers = torch.rand(40, 30)
    total = layers.sum(1, keepdim=True)
    exact, drifting = (networks.known_history(p, layers, total, drift)[:, 0] for drift in (0.0, 0.01))
    torch.testing.assert_close(exact[:, -1], layers[:, -1] / total[:, 0], atol=1e-5, rtol=0.0)
    assert torch.equal(drifting[:, 0], torch.ones(40))
    assert 0.005 < float((drifting - exact)[:, 5:25].std()) < 0.01


def test_far_from_the_axis_nothing_is_stretched() -> None:
    radius, secant = np.array([0.0, 30.0, 4000.0]), np.full(3, 2.0)
    np.testing.assert_allclose(stretch(radius, secant), [2.0, 2.0, 1.0], atol=1e-3)


@given(radius=st.floats(0.0, 3000.0), turn=st.floats(0.0, 1.0), secant=st.floats(1.0, 2.0))
def test_summaries_undo_the_stretch_of_the_sampler(radius: float, turn: float, secant: float) -> None:
    r, s = np.array([radius]), np.array([secant])
    along = r * math.cos(2 * math.pi * turn) * stretch(r, s)
    back, found = across_axis(along, r * math.sin(2 * math.pi * turn), s)
    assert found[0] == pytest.approx(radius, rel=0.03, abs=1e-6)
    assert back[0] == pytest.approx(radius * math.cos(2 * math.pi * turn), abs=0.05 * radius + 1e-6)


def test_tables_hold_places_in_the_spectrum_less_the_excess_of_the_core() -> None:
    """The excess falls to none away from the axis of an ECAL shower; steel and scintillator have none."""
    radius = torch.linspace(0.5, 6.0, 100)
    excess = LayeredNetworks(ECAL, layer_hidden=(8,), table_hidden=(8,)).core_excess(radius)
    assert (torch.diff(excess) <= 0).all()
    assert excess[0] > 3.0
    assert (excess[radius > 4.0] == 0).all()
    hcal = LayeredNetworks(find_stack("HCAL"), layer_hidden=(8,), table_hidden=(8,))
    assert (hcal.core_excess(radius) == 0).all()


class TestCalibration:
    """Shifts that bring the cells of one sample to those of another."""

    @staticmethod
    def sample(
        log_mev: np.ndarray,
        radius: np.ndarray,
        layer_mev: np.ndarray | None = None,
        hits: np.ndarray | None = None,
        ring_mev: np.ndarray | None = None,
        ring_turns: np.ndarray | None = None,
        spread: np.ndarray | None = None,
    ) -> CellSample:
        none = np.zeros((1, 30))
        shower = np.arange(len(radius)) % 30
        return CellSample(
            log_mev,
            radius,
            np.arange(len(radius)) % 30,
            radius,
            shower,
            none if layer_mev is None else layer_mev,
            none if hits is None else hits,
            np.zeros((1, 7)) if ring_mev is None else ring_mev,
            np.zeros((1, 7, 3)) if ring_turns is None else ring_turns,
            np.ones(1) if spread is None else spread,
        )

    @staticmethod
    def terms(log_energy: np.ndarray, incline: np.ndarray | float = 0.0) -> np.ndarray:
        return np.stack([np.ones_like(log_energy), log_energy, np.broadcast_to(incline, log_energy.shape)], 1)

    @staticmethod
    def groups(log_energy: np.ndarray, incline: np.ndarray) -> list[np.ndarray]:
        """Fifteen, for samples of few showers."""
        rows = np.array_split(np.argsort(log_energy, kind="stable"), 5)
        return [g for part in rows for g in np.array_split(part[np.argsort(incline[part], kind="stable")], 3)]

    def test_groups_are_of_like_showers(self) -> None:
        """Each shower is in one group; a group's energies, and then its inclinations, are neighbours."""
        keys = np.random.default_rng(3).uniform(-1.0, 1.0, (3, 4800))
        groups = groups_of_like(*keys)
        assert sorted(np.concatenate(groups)) == list(range(4800))
        assert max(len(g) for g in groups) - min(len(g) for g in groups) <= 2
        for key, most in zip(keys, (0.3, 0.9, 1.3), strict=True):
            assert max(np.ptp(key[g]) for g in groups) < most

    def test_shifts_lead_from_one_sample_to_the_other(self) -> None:
        rng = np.random.default_rng(0)
        log_mev, radius = rng.normal(-1.5, 0.6, 200_000), rng.gamma(2.0, 12.0, 200_000)
        made = self.sample(log_mev, radius)
        moved = np.exp(np.log(radius + 1.5) + 0.05) - 1.5
        truth = dataclasses.replace(self.sample(log_mev + 0.03, moved), cell_radius_mm=radius)
        at = np.tile(np.log([0.1, 0.2, 0.4]), (3, 1))
        np.testing.assert_allclose(spectrum_shift(made, truth, at, (7.0, 20.0)), 0.03, atol=0.008)
        of = np.linspace(-1.0, 1.0, 30), np.arange(30) % 3 / 2.0
        groups, at = self.groups(*of), np.array([10.0, 20.0, 40.0])
        level, *slopes = radius_shift(made, truth, groups, self.terms(*of), at, 1.5)
        np.testing.assert_allclose(level, 0.05, atol=0.015)
        np.testing.assert_allclose(slopes, 0.0, atol=0.02)

    def test_zones_of_radii_have_shifts_of_their_own(self) -> None:
        rng = np.random.default_rng(3)
        log_mev, radius = rng.normal(-1.5, 0.6, 300_000), rng.uniform(0.0, 40.0, 300_000)
        truth = self.sample(log_mev + np.where(radius < 7.0, -0.1, np.where(radius < 20.0, 0.0, 0.1)), radius)
        shift = spectrum_shift(self.sample(log_mev, radius), truth, np.log([[0.2], [0.2], [0.2]]), (7.0, 20.0))
        np.testing.assert_allclose(shift[:, 0], [-0.1, 0.0, 0.1], atol=0.015)

    def test_spectra_shift_with_the_incident_energy(self) -> None:
        rng = np.random.default_rng(8)
        log_mev, log_energy = rng.normal(-1.5, 0.6, 300_000), np.linspace(-1.5, 1.5, 30)
        made = self.sample(log_mev, rng.uniform(0.0, 40.0, 300_000))
        truth = self.sample(log_mev + 0.03 + 0.02 * log_energy[made.cell_shower], made.cell_radius_mm)
        level, slope = spectrum_shifts(made, truth, log_energy, np.tile(np.log([0.15, 0.3, 9.0]), (3, 1)), (7.0, 20.0))
        np.testing.assert_allclose(level[:, :2], 0.03, atol=0.01)
        np.testing.assert_allclose(slope[:, :2], 0.02, atol=0.012)
        np.testing.assert_allclose([level[:, 2], slope[:, 2]], 0.0, atol=0.005)  # where there are no cells

    def test_radii_shift_with_the_energy(self) -> None:
        rng = np.random.default_rng(4)
        radius, log_energy = rng.gamma(2.0, 12.0, 300_000), np.linspace(-1.5, 1.5, 30)
        incline = np.arange(30) % 3 / 2.0
        made = self.sample(rng.normal(-1.0, 1.0, 300_000), radius)
        moved = np.exp(np.log(radius + 1.5) + (0.04 * log_energy - 0.05 * incline)[made.shower]) - 1.5
        truth, at = self.sample(made.log_mev, moved), np.array([15.0, 30.0])
        terms = self.terms(log_energy, incline)
        _, slope, inclined = radius_shift(made, truth, self.groups(log_energy, incline), terms, at, 1.5)
        np.testing.assert_allclose(slope, 0.04, atol=0.012)
        np.testing.assert_allclose(inclined, -0.05, atol=0.02)

    def test_energies_move_with_energy_inclination_and_azimuth(self) -> None:
        rng = np.random.default_rng(6)
        terms = np.stack([np.ones(8000), *rng.uniform(-1.0, 1.0, (3, 8000))], 1)
        wanted = np.array([0.01, -0.008, 0.0, 0.015])
        usual = np.exp(5.0 + 1.3 * terms[:, 1])
        made, truth = (
            self.sample(np.zeros(1), np.zeros(1), (usual * np.exp(rng.normal(0.0, 0.1, 8000) + shift))[:, None])
            for shift in (0.0, terms @ wanted)
        )
        np.testing.assert_allclose(response_shifts(made, truth, terms[:, 1], terms), wanted, atol=0.005)

    def test_azimuths_move_with_the_inclination_and_in_the_field(self) -> None:
        """Truth: amplitudes 0.05, -0.08 (inclination) and -0.06 (field along x) more than made, in the sixth ring.

        The second harmonic of the inclination has a part that goes with the fourth power of the sine, too.
        """
        rng = np.random.default_rng(9)
        sin, turn, number = rng.uniform(0.0, 0.87, 4000), rng.uniform(0.0, 2.0 * math.pi, 4000), 4000
        direction = np.stack([sin * np.cos(turn), sin * np.sin(turn), np.sqrt(1.0 - sin**2)], 1)
        mev = np.tile(np.linspace(3.0, 1.0, 7), (number, 1))
        means = rng.normal(0.0, 0.1, (2, number, 7, 3))
        second = -0.08 * sin**2 + 0.04 * sin**4 - 0.06 * np.exp(-2j * turn)
        means[1, :, 5] += np.stack([0.05 * sin, second.real, second.imag], 1)
        none = np.zeros(1)
        made, truth = (self.sample(none, none, ring_mev=mev, ring_turns=mev[:, :, None] * m) for m in means)
        at = np.log([67.5, 12.5])
        shift = turn_shifts(made, truth, rng.uniform(-1.0, 1.0, number), direction, at, RING_EDGES_MM)
        np.testing.assert_allclose(shift[[0, 3], 0], [0.05, -0.06], atol=0.02)
        for power in (0.25, 0.75):  # the two parts are hardly told apart, their sum is
            assert shift[1, 0] * power + shift[2, 0] * power**2 == pytest.approx(
                -0.08 * power + 0.04 * power**2, abs=0.01
            )
        np.testing.assert_allclose(shift[:, 1], 0.0, atol=0.04)

    def test_the_core_has_more_energy_where_the_width_of_cells_is_too_small(self) -> None:
        """Only showers of high energy count; the step is limited."""
        none, log_energy = np.zeros(1), np.arange(30.0)
        width = np.where(log_energy >= 20, 2.0, 1.0)
        made, truth, far = (self.sample(none, none, spread=width * f) for f in (1.0, 1.01, 0.5))
        assert core_shift(made, truth, log_energy) == pytest.approx(0.07, rel=0.02)
        assert core_shift(made, far, log_energy) == pytest.approx(-0.14)
        assert core_shift(made, dataclasses.replace(made, spread=np.where(width > 1, width, 9.0)), log_energy) == 0.0

    def test_depth_and_width_move_with_their_terms(self) -> None:
        """Truth: layers that are 3 % farther apart in depth, and 2 % more so for a unit of the second term."""
        rng = np.random.default_rng(12)
        terms = self.terms(rng.uniform(-1.0, 1.0, 4000), rng.uniform(0.0, 1.0, 4000))
        scale = np.exp(0.03 + 0.02 * terms[:, 1:2])
        path = np.arange(1.0, 31.0) * np.ones((4000, 1))
        peak = 10.0 * np.exp(rng.normal(0.0, 0.1, (4000, 1)))
        none = np.zeros(1)
        made, truth = (
            self.sample(none, none, np.exp(-((path / s - peak) ** 2) / 20.0)) for s in (np.ones_like(scale), scale)
        )
        shift = development_shifts(made, truth, terms[:, 1], path, terms)
        np.testing.assert_allclose(shift, [[0.03, 0.03], [0.02, 0.02], [0.0, 0.0]], atol=0.004)

    def test_rings_move_with_energy_and_inclination(self) -> None:
        """A ring of the truth has more energy, the more so the higher the energy; the others have their shares."""
        rng = np.random.default_rng(7)
        terms = self.terms(rng.uniform(-1.0, 1.0, 4000), rng.uniform(0.0, 1.0, 4000))
        mev = np.exp(rng.normal(np.linspace(3.0, -1.0, 7), 0.2, (4000, 7)))
        factor = np.ones((4000, 7))
        factor[:, 2] = np.exp(0.05 + 0.06 * terms[:, 1] - 0.1 * terms[:, 2])
        none = np.zeros(1)
        samples = (self.sample(none, none, ring_mev=m) for m in (mev, mev * factor))
        shift = ring_shifts(*samples, self.groups(terms[:, 1], terms[:, 2]), terms)
        np.testing.assert_allclose(shift[:, 2], [0.05, 0.06, -0.1], atol=0.02)
        np.testing.assert_allclose(shift[:, 3:], 0.0, atol=0.02)

    def test_no_shift_where_cells_are_sums_of_many_spots_or_few(self) -> None:
        rng = np.random.default_rng(1)
        made = self.sample(rng.normal(-1.0, 1.0, 50_000), rng.gamma(2.0, 12.0, 50_000))
        truth = self.sample(made.log_mev + 0.1, made.radius_mm * 1.2)
        beyond = np.log([[8.5], [4.5], [6.5]])
        np.testing.assert_array_equal(spectrum_shift(made, truth, beyond, (7.0, 20.0)), 0.0)
        of, at = (np.zeros(30), np.zeros(30)), np.array([1.0, 2.5, 930.0])
        shift = radius_shift(made, truth, self.groups(*of), self.terms(*of), at, 1.5)
        np.testing.assert_array_equal(shift, 0.0)

    def test_too_few_cells_shift_nothing(self) -> None:
        few = self.sample(np.full(10, -1.0), np.full(10, 20.0))
        np.testing.assert_array_equal(spectrum_shift(few, few, np.log([[0.2]] * 3), (7.0, 20.0)), 0.0)

    def test_layers_move_to_their_share_of_the_energy_and_of_the_cells(self) -> None:
        rng = np.random.default_rng(2)
        log_energy = rng.uniform(-1.0, 1.0, 4000)
        mev = np.exp(rng.normal(0.0, 0.3, (4000, 30)))
        hits = 5.0 * mev
        made = self.sample(np.zeros(1), np.zeros(1), mev, hits)
        wrong = np.exp(0.04 * np.linspace(-1.0, 1.0, 30) + 0.02 * log_energy[:, None] * (np.arange(30) < 10))
        truth = self.sample(
            np.zeros(1), np.zeros(1), mev * wrong, hits * wrong * np.where(np.arange(30) == 3, 1.1, 1.0)
        )
        level, slope, number = layer_shifts(made, truth, log_energy)
        assert level[25] - level[5] == pytest.approx(0.04 * 40 / 29, abs=0.012)
        assert slope[5] - slope[25] == pytest.approx(0.02, abs=0.008)
        assert number[3] - number[4] == pytest.approx(math.log(1.1), abs=0.01)

    def test_the_number_of_cells_follows_a_feature_as_in_the_data(self) -> None:
        rng = np.random.default_rng(5)
        log_energy, feature = rng.uniform(-1.0, 1.0, 3000), rng.normal(0.0, 0.2, (3000, 2))

        def cells(slope: float) -> np.ndarray:
            return np.exp(5.0 + log_energy + slope * feature[:, 0])[:, None]

        mev = np.ones((3000, 1))
        made, truth = (self.sample(np.zeros(1), np.zeros(1), mev, cells(s)) for s in (0.1, 0.5))
        np.testing.assert_allclose(slope_shifts(made, truth, log_energy, (feature, feature)), [0.4, 0.0], atol=0.02)
