# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Start and blocks of hadron showers: probabilities, features in training and in the sampler, sums, calibration."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ddcalogen.card import Domain  # noqa: E402
from ddcalogen.errors import ConfigurationError  # noqa: E402
from ddcalogen.training.config import load_config  # noqa: E402
from ddcalogen.training.data import Showers  # noqa: E402
from ddcalogen.training.operators import PackedRows  # noqa: E402
from ddcalogen.training.sampler import example_inputs  # noqa: E402
from ddcalogen.training.stacks import find_stack  # noqa: E402
from ddcalogen.training.systems._hadron_outline import (  # noqa: E402
    SHARE_FLOOR,
    START_FEATURES,
    Outline,
    calibrated,
    start_layers,
    start_mev,
)
from ddcalogen.training.systems._layered_networks import MEV_UNIT  # noqa: E402
from ddcalogen.training.systems._layered_spots import LATENTS  # noqa: E402
from ddcalogen.training.systems.point_cloud import PointCloud  # noqa: E402
from ddcalogen.validation.observables import readout_of  # noqa: E402

PIONS = Domain(pdg=(211,), energy_gev=(10.0, 100.0), theta_deg=(0.0, 1.0))
BLOCKS = {"HCAL": (20, 44), "ECAL+HCAL": (30, 74)}


def system_in(name: str, *settings: str, blocks: tuple[int, ...] | None = None) -> PointCloud:
    chosen = BLOCKS[name] if blocks is None else blocks
    config = load_config("point_cloud", None, [f"system.blocks=[{','.join(map(str, chosen))}]", *settings], smoke=True)
    torch.manual_seed(3)
    return PointCloud(config.system_config(), find_stack(name), PIONS)  # type: ignore[arg-type]


def outline_of(system: PointCloud) -> Outline:
    assert system.networks.outline is not None
    return system.networks.outline


def energies(number: int, layers: int, seed: int = 0) -> Any:
    """Random energies of layers, some empty, MeV."""
    rng = np.random.default_rng(seed)
    mev = rng.exponential(8.0, (number, layers)) * (rng.random((number, layers)) < 0.8)
    return torch.from_numpy(mev.astype(np.float32))


def incident_of(system: PointCloud, number: int) -> Any:
    direction = torch.tensor([[0.0, 0.0, 1.0]]).repeat(number, 1)
    energy = torch.linspace(10.0, 100.0, number)[:, None]
    return system.networks.incident(energy, direction, torch.full((number, 1), 211))


def set_to_zero(module: Any) -> None:
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)


def test_start_is_that_of_the_validation() -> None:
    stack = find_stack("ECAL+HCAL")
    readout = readout_of(stack.calorimeter())
    limits = start_mev(stack)
    assert set(limits[:30]) == {1.0}
    assert set(limits[30:]) == {2.5}
    mev = np.full((5, 78), 0.5)
    mev[0, 3:9] = 4.0
    mev[1, 10] = 4.0  # one layer alone is a track
    mev[2, 29] = 1.2
    mev[2, 30] = 2.6
    mev[3, 40:42] = 2.4  # would be enough in the ECAL
    mev[4, 76:] = 9.0
    assert readout.layers == 78
    assert start_layers(mev, limits).tolist() == [3, 78, 29, 78, 76]


def test_start_is_drawn_as_the_hazard_says() -> None:
    system = system_in("HCAL")
    outline = outline_of(system)
    hazard = 0.1
    outline.hazard.zero_()
    outline.hazard[0, 0] = math.log(hazard / (1 - hazard))
    p = incident_of(system, 2000)
    u = ((torch.arange(2000) + 0.5) / 2000)[:, None]
    with torch.no_grad():
        start = outline.draw_start(p, u)[:, 0].numpy()
        nll = outline.start_nll(p, torch.from_numpy(start)[:, None]).numpy()
    number = np.bincount(start.astype(int), minlength=49)
    expected = 2000 * hazard * (1 - hazard) ** np.arange(47)
    np.testing.assert_allclose(number[:47], expected, atol=1.01)
    assert number[47] == 0  # no two layers are left there
    assert number[48] == pytest.approx(2000 * (1 - hazard) ** 47, abs=1.01)
    here = np.minimum(start, 47)
    wanted = -here * math.log(1 - hazard) - np.where(start < 47, math.log(hazard), 0.0)
    np.testing.assert_allclose(nll, wanted, rtol=1e-4)


def test_hazard_is_fitted_by_kind_of_layer() -> None:
    """Whatever the depth: thin and thick tungsten, first layers and tiles come back from 20,000 starts."""
    outline = outline_of(system_in("ECAL+HCAL"))
    p = incident_of(system_in("ECAL+HCAL"), 20_000)
    truth = np.array([0.08, *[0.03] * 19, *[0.05] * 10, 0.15, *[0.11] * 46])
    u = np.random.default_rng(0).random((20_000, 1))
    start = (np.cumprod(1.0 - truth)[None] > u).sum(1)
    start = np.where(start > 76, 78, start)
    outline.fit_hazard(p, torch.from_numpy(start[:, None].astype(np.float32)))
    found = torch.sigmoid(outline._hazard(p))[:, 0].mean(0).numpy()[:77]
    np.testing.assert_allclose(found, truth, rtol=0.08)
    drawn = outline.draw_start(p, torch.from_numpy(u.astype(np.float32)))[:, 0].numpy()
    for low, high in ((0, 1), (1, 20), (20, 30), (30, 31), (31, 40), (40, 77)):
        inside = [((s >= low) & (s < high)).mean() for s in (drawn, start)]
        assert inside[0] == pytest.approx(inside[1], abs=0.01)


@pytest.mark.parametrize("name", BLOCKS)
def test_showers_start_where_they_were_drawn_to(name: str) -> None:
    system = system_in(name)
    net, outline = system.networks, outline_of(system)
    outline.factor.copy_(torch.linspace(0.5, 2.0, net.layers))
    net.layer.centre.fill_(3.0)  # layers far above and below the limit
    net.layer.scale.fill_(2.0)
    p = incident_of(system, 400)
    rng = torch.Generator().manual_seed(0)
    u, z = torch.rand(400, 1, 90, generator=rng), torch.randn(400, 1, 90, generator=rng)
    start = (torch.arange(400) % (net.layers + 1)).to(torch.float32)[:, None]
    start[start == net.layers - 1] = net.layers  # one layer alone is no start
    with torch.no_grad():
        mev = system.sampler()._outlined_energies(p, 17.0 * p.energy, start, u, z) / outline.factor
    found = start_layers(mev.double().numpy(), start_mev(system.stack))
    np.testing.assert_array_equal(found, start[:, 0].numpy())


def test_features_of_the_start() -> None:
    outline = outline_of(system_in("ECAL+HCAL"))
    start = torch.tensor([[0.0], [25.0], [50.0], [78.0]])
    features = outline.start_features(start)[:, :, 0]
    torch.testing.assert_close(features[:, 0], outline.depth[[0, 25, 50, 78], 0] / 12.0 - 1.0)
    assert features[:, 2].tolist() == [0, 0, 0, 1]  # did not start
    assert features[:, 3].tolist() == [1, 0, 0, 0]  # at the first layer
    assert features[:, 4].tolist() == [1, 1, 0, 0]  # in the ECAL
    assert features[:, 5].tolist() == [0, 1, 0, 0]  # behind its thick absorbers
    torch.testing.assert_close(
        features[:, 6], torch.tensor([0.0, math.exp(-5.0 / 3.0), 0.0, 0.0]), atol=1e-4, rtol=1e-4
    )
    steps = outline.step_features(start)
    assert steps[2, 0].tolist() == [1.0] * 50 + [0.0] * 28
    assert steps[2, 1:4].argmax(1).tolist() == [49, 50, 51]
    assert steps[3, 0].tolist() == [1.0] * 78
    assert float(steps[1, 6, 25]) == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_add_up(name: str) -> None:
    system = system_in(name)
    outline = outline_of(system)
    rng = torch.Generator().manual_seed(0)
    total = torch.full((200, 1), 700.0)
    start = torch.zeros(200, 1)
    known = torch.cat(
        [system.networks.energy_features(incident_of(system, 200), total), outline.start_features(start)], 1
    )
    u, z = torch.rand(200, 1, 2, generator=rng), torch.randn(200, 1, 2, generator=rng)
    with torch.no_grad():
        blocks = outline.draw_blocks(known, total, u, z)
        torch.testing.assert_close(sum(blocks), total)
        assert all(bool((b >= 0).all()) for b in blocks)
        # shares at and below the floor are none
        outline.shares[0].centre.fill_(math.log(0.5 * SHARE_FLOOR))
        outline.shares[0].scale.fill_(1e-3)
        assert float(outline.draw_blocks(known, total, u, z)[-1].max()) == 0.0
    # a block in front of the start is not shown to its layers
    seen = outline.seen(blocks, torch.full((200, 1), float(outline.edges[1])))
    assert float(seen[0].max()) == 0.0
    torch.testing.assert_close(seen[1:], blocks[1:])
    layers = energies(40, system.stack.layers)
    sums = torch.cat(outline.sums(layers), 1)
    for k, (a, b) in enumerate(itertools.pairwise(outline.edges)):
        torch.testing.assert_close(sums[:, k], layers[:, a:b].sum(1))


def test_shares_are_learned_as_they_are_drawn() -> None:
    """The likelihood is that of the place that the sampler turns back into the share."""
    system = system_in("HCAL", blocks=(44,))
    outline = outline_of(system)
    mev = torch.zeros(100, 48)
    mev[:, 5], mev[:, 45] = 90.0, 10.0
    mixture = outline.shares[0]
    set_to_zero(mixture.network)
    mixture.scale.fill_(1.0)
    known = torch.zeros(100, 6 + START_FEATURES, 1)
    found = {}
    for share in (0.05, 0.1, 0.2):
        mixture.centre.fill_(math.log(share / (1 - share)))
        with torch.no_grad():
            found[share] = float(outline.shares_nll(known, mev).mean())
    assert min(found, key=lambda s: found[s]) == 0.1


@pytest.mark.parametrize("name", BLOCKS)
def test_the_sampler_shows_networks_what_they_saw_in_training(name: str) -> None:
    """Features of the layers of the first block: from whole showers, and while they are made."""
    system = system_in(name)
    net, outline = system.networks, outline_of(system)
    net.layer.centre.fill_(2.0)
    sampler = system.sampler()
    inputs = example_inputs(sampler, PIONS, 6, seed=1)
    p = net.incident(inputs["energy"], inputs["direction"], inputs["pdg"])
    start, total = torch.tensor([[0.0], [3.0], [9.0], [19.0], [40.0], [48.0]]), 17.0 * p.energy
    seen: list[Any] = []
    drawn: list[Any] = []
    draw = net.layer.draw

    def spy(x: Any, u: Any, z: Any, shift: Any = None) -> Any:
        seen.append(x)
        drawn.append(draw(x, u, z, shift))
        return drawn[-1]

    net.layer.draw = spy  # type: ignore[method-assign]
    blocks: list[Any] = []
    draw_blocks = outline.draw_blocks
    outline.draw_blocks = lambda *a: blocks.extend(draw_blocks(*a)) or blocks  # type: ignore[method-assign]
    noise = net.layers + len(outline.share)
    u, z = (inputs[n][:, None, :noise] for n in ("u_shower", "z_shower"))
    with torch.no_grad():
        sampler._outlined_energies(p, total, start, u, z)
        log = torch.clamp(torch.cat(drawn, 2)[:, 0], 0.0, 8.5)
        least, most, quiet = outline.bounds(start, MEV_UNIT)
        for layer in range(net.layers):
            limit = torch.log1p(outline.limit_mev[layer - 1] * outline.factor[layer - 1] / MEV_UNIT)
            lit = (log[:, layer - 1] > limit) & (torch.tensor(layer) > 0)
            bound = torch.where(lit, quiet[:, layer], most[:, layer])
            log[:, layer] = torch.maximum(torch.minimum(log[:, layer], bound), least[:, layer])
        layer_mev = MEV_UNIT * torch.exp(log) - MEV_UNIT
        made = torch.cat(
            [
                net.layer_features(p, total),
                net.known_history(p, layer_mev, total),
                outline.step_features(start),
                outline.block_features(blocks, layer_mev, start, MEV_UNIT),
            ],
            1,
        )
    assert len(seen) == net.layers
    for layer in range(outline.edges[1]):
        torch.testing.assert_close(seen[layer][:, :, 0], made[:, :, layer], rtol=1e-3, atol=1e-3)


def test_single_particles_stay_when_sums_are_corrected() -> None:
    mev = torch.tensor([0.54, 0.54, 6.0, 12.0])
    weight = Outline.weight(mev, torch.full((4,), 1.5))
    corrected = mev + weight * ((25.0 - mev.sum()) / weight.sum())
    assert float(corrected.sum()) == pytest.approx(25.0)
    torch.testing.assert_close(corrected[:2], mev[:2], rtol=0.02, atol=0)
    assert float(corrected[2:].sum()) > 23.5


@pytest.mark.parametrize("name", BLOCKS)
def test_calibrated_sums_are_kept_and_single_particles_stay(name: str) -> None:
    """Two single particles and one point of many in each layer of six showers."""
    system = system_in(name)
    outline, layers = outline_of(system), system.stack.layers
    factor = torch.linspace(0.5, 2.0, layers)
    outline.factor.copy_(factor)
    sampler = system.sampler()
    packed = PackedRows(torch.full((6, layers), 3), torch.full((6, 1), 10_000))
    single = packed.of_slot((0.2 * torch.from_numpy(start_mev(system.stack)).float() * factor)[None])
    mev = torch.where(torch.arange(packed.total) % 3 == 0, 20.0, 1.0) * single
    off = torch.rand(6, layers, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.7
    wanted = off * torch.zeros(6 * layers).index_add(0, packed.slot, mev).reshape(6, layers)
    latents = torch.zeros(6, LATENTS)
    latents[:, 0] = 9.0  # all in the first ring
    zero = torch.zeros(packed.total)
    made = sampler._to_outline(packed, mev, zero, zero, wanted, latents, wanted.sum(1, keepdim=True))
    for layer in system.stack.parts.values():
        mine = (packed.slot % layers >= layer.start) & (packed.slot % layers < layer.stop)
        sums = torch.zeros(6).index_add(0, packed.row[mine], made[mine])
        torch.testing.assert_close(sums, wanted[:, layer].sum(1), rtol=1e-3, atol=1e-3)
    few = mev < 2.0 * single
    torch.testing.assert_close(made[few], mev[few], rtol=0.05, atol=0.0)
    with torch.no_grad():
        inputs = example_inputs(sampler, PIONS, 8, seed=1)
        spots, counts = sampler(*inputs.values())
    assert bool(torch.isfinite(spots).all())
    assert int(counts.sum()) == len(spots)


def test_factors_of_the_calorimeters_come_back() -> None:
    stack = find_stack("ECAL+HCAL")
    rng = np.random.default_rng(0)
    number = 400
    truth = np.where(np.arange(78) < 20, 0.05, np.where(np.arange(78) < 30, 0.1, 0.06))
    share = rng.dirichlet(np.full(78, 0.1), number)
    energy = rng.uniform(10.0, 100.0, number)
    mev = share * energy[:, None] / truth
    zero = np.zeros(number * 78, np.float32)
    showers = Showers(
        energy.astype(np.float32),
        np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (number, 1)),
        np.full(number, 211, np.int32),
        78 * np.arange(number + 1, dtype=np.int64),
        *(zero, zero.copy(), np.tile(np.arange(78, dtype=np.int16), number)),
        (mev * 1e-3).ravel().astype(np.float32),
        0.0,
        0.0,
    )
    np.testing.assert_allclose(calibrated(showers, stack), truth / truth[-1], rtol=1e-3)
    assert set(calibrated(dataclasses.replace(showers), find_stack("HCAL"))) == {1.0}


@pytest.mark.parametrize("blocks", [(0, 44), (44, 20), (48,), (44, 44)])
def test_blocks_out_of_order_are_refused(blocks: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match="blocks"):
        system_in("HCAL", blocks=blocks)


def test_other_showers_have_no_outline() -> None:
    assert system_in("ECAL+HCAL", blocks=()).networks.outline is None


def particles_through(energy_mev: dict[str, np.ndarray], seed: int) -> Showers:
    """One shower for each particle, of one point in a layer of the ECAL and one of the HCAL."""
    rng = np.random.default_rng(seed)
    number = len(energy_mev["ecal"])
    layer = np.stack([rng.integers(0, 30, number), rng.integers(30, 78, number)], 1)
    mev = np.stack([energy_mev["ecal"], energy_mev["hcal"]], 1)
    zero = np.zeros(2 * number, np.float32)
    return Showers(
        np.full(number, 50.0, np.float32),
        np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (number, 1)),
        np.full(number, 211, np.int32),
        2 * np.arange(number + 1, dtype=np.int64),
        *(zero, zero.copy(), layer.ravel().astype(np.int16)),
        (1e-3 * mev).ravel().astype(np.float32),
        0.0,
        0.0,
    )


def test_each_calorimeter_has_a_spectrum_of_its_own() -> None:
    """Energies of pads and tiles come back from their places, thick absorbers or not; each is calibrated alone."""
    system = system_in("ECAL+HCAL")
    outline = outline_of(system)
    outline.factor.copy_(torch.tensor([0.87] * 20 + [1.73] * 10 + [1.0] * 48))
    rng = np.random.default_rng(0)
    layer = torch.from_numpy(rng.integers(0, 78, 40_000))
    peak = np.where(layer.numpy() < 30, 0.16, 0.54)
    mev = torch.from_numpy((peak * rng.lognormal(0.0, 0.3, 40_000)).astype(np.float32))
    points = {"mev": mev * outline.factor[layer], "layer": layer}
    log_mev = system.log_visible(points)
    torch.testing.assert_close(torch.exp(log_mev), mev)
    system.standardise_spectrum(log_mev, layer)
    place = system.spectrum_place(log_mev, layer)
    for inside in (layer < 20, (layer >= 20) & (layer < 30), layer >= 30):  # as many below as above the peak
        assert float((place[inside] > 0).float().mean()) == pytest.approx(0.5, abs=0.02)
    sampler = system.sampler()
    again = sampler._spectrum(place, part=system.networks.part[layer])
    torch.testing.assert_close(again[place > -6.0], mev[place > -6.0], rtol=2e-3, atol=1e-4)

    energies = {name: at * rng.lognormal(0.0, 0.3, 20_000) for name, at in (("ecal", 0.16), ("hcal", 0.54))}
    truth = particles_through(energies, 1)
    made = particles_through({**energies, "hcal": 1.1 * energies["hcal"]}, 1)
    before = system.networks.log_mev.clone()
    system.calibrate_spots(made, truth, 0)
    shift = (system.networks.log_mev - before)[:, 400:500]  # a good part of all points to both sides of the peak
    torch.testing.assert_close(shift[0], torch.zeros_like(shift[0]), rtol=0.0, atol=0.01)
    torch.testing.assert_close(shift[1], torch.full_like(shift[1], -0.8 * math.log(1.1)), rtol=0.0, atol=0.015)
