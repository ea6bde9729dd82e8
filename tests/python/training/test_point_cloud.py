# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The point-cloud systems: coordinates, merged showers, mirroring, the solver, the consistency function."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ddcalogen.card import Domain  # noqa: E402
from ddcalogen.training.config import load_config  # noqa: E402
from ddcalogen.training.data import Showers  # noqa: E402
from ddcalogen.training.point_cloud_networks import (  # noqa: E402
    LOWEST,
    SIGMA_DATA,
    PointNetwork,
    compress,
    expand,
    noise_levels,
)
from ddcalogen.training.representations import mirrored  # noqa: E402
from ddcalogen.training.sampler import example_inputs  # noqa: E402
from ddcalogen.training.stacks import Stack, find_stack  # noqa: E402
from ddcalogen.training.systems._layered_networks import scales_of  # noqa: E402
from ddcalogen.training.systems._point_cloud_pool import draw_points, draw_showers, make_pool  # noqa: E402
from ddcalogen.training.systems.point_cloud import PointCloud, PointCloudConfig  # noqa: E402
from ddcalogen.training.systems.point_cloud_distilled import consistent  # noqa: E402

DOMAIN = Domain(pdg=(22,), energy_gev=(0.5, 130.0), theta_deg=(0.0, 60.0))
STACKS = ("ECAL", "HCAL", "ECAL+HCAL")


def showers_in(stack: Stack, number: int = 12, points: int = 300, seed: int = 0) -> Showers:
    """Random deposits on the merging grids of the layers, around inclined axes."""
    rng = np.random.default_rng(seed)
    pitch = np.array(stack.cell_mm) / np.where(np.array(stack.cell_mm) > 15.0, 3.0, 5.0)
    theta, phi = rng.uniform(0.0, 1.0, number), rng.uniform(-np.pi, np.pi, number)
    theta[: number // 2] = 0.0
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], 1)
    layer = rng.integers(0, stack.layers, number * points)
    row = np.repeat(np.arange(number), points)
    axis = direction[row, :2] / direction[row, 2:] * np.array(stack.layer_depth_mm)[layer][:, None]
    place = np.round((axis + rng.normal(0.0, 4.0, axis.shape) * pitch[layer][:, None]) / pitch[layer][:, None])
    position = (place * pitch[layer][:, None]).astype(np.float32)
    one = float(pitch[0]) if len(set(pitch.tolist())) == 1 else pitch
    return Showers(
        rng.uniform(1.0, 100.0, number).astype(np.float32),
        direction.astype(np.float32),
        np.full(number, 22, np.int32),
        np.arange(number + 1, dtype=np.int64) * points,
        position[:, 0].copy(),
        position[:, 1].copy(),
        layer.astype(np.int16),
        rng.exponential(1e-3, len(row)).astype(np.float32),
        one,
        0.0,
    )


def system_in(stack: Stack) -> PointCloud:
    config = load_config("point_cloud", smoke=True).system_config()
    assert isinstance(config, PointCloudConfig)
    torch.manual_seed(3)
    return PointCloud(config, stack, DOMAIN)


def test_coordinates_come_back() -> None:
    offset = 40.0 * torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    scale = torch.full((500,), 3.0)
    scale[250:] = 18.0
    a, b = compress(offset, scale).unbind(1)
    torch.testing.assert_close(torch.stack(expand(a, b, scale), 1), offset, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", STACKS)
def test_pool_keeps_the_energy_of_every_layer_and_is_always_the_same(name: str) -> None:
    stack = find_stack(name)
    showers = showers_in(stack)
    below = np.full(stack.layers, 0.6)
    pool, again = (make_pool(showers, stack, number=100, below_mev=below) for _ in range(2))
    torch.testing.assert_close(
        pool.summaries["layer_mev"].double(),
        torch.from_numpy(showers.layer_energy_gev(stack.layers) * 1e3),
        rtol=1e-4,
        atol=1e-4,
    )
    assert torch.equal(pool.offset_mm, again.offset_mm)
    assert int(pool.number.sum()) == len(pool.mev) == int(pool.summaries["layer_counts"].sum())
    assert len(make_pool(showers, stack, number=5, below_mev=below)) == 5


def test_points_are_those_of_their_showers() -> None:
    stack = find_stack("ECAL")
    pool = make_pool(showers_in(stack), stack, number=100, below_mev=np.full(30, 0.6))
    drawn = draw_showers(pool, np.random.default_rng(1), 8, ())
    points = draw_points(pool, drawn, np.random.default_rng(2), 2000)
    for k in range(8):
        mine = points["shower"] == k
        first, number = (int(v[drawn["index"][k]]) for v in (pool.first, pool.number))
        assert set(points["mev"][mine].tolist()) <= set(pool.mev[first : first + number].tolist())
        assert len(set(points["mev"][mine].tolist())) > 0.9 * number


@pytest.mark.parametrize("axes", [("x",), ("y",), ("x", "y")])
def test_mirroring_is_that_of_the_showers(axes: tuple[str, ...]) -> None:
    """Points at centres of their merging cells have no grid of their own: both ways give the same points."""
    stack = find_stack("ECAL")
    showers = showers_in(stack, 64)
    free = dataclasses.replace(showers, pitch_mm=0.0)
    below = np.full(30, 1e-6)  # nothing merges
    pool = make_pool(free, stack, number=100, below_mev=below)
    turned = make_pool(mirrored(free, axes), stack, number=100, below_mev=below)  # type: ignore[arg-type]
    seen = 0
    for seed in range(20):
        drawn = draw_showers(pool, np.random.default_rng(seed), 1000, axes)
        wanted = turned.summaries["direction"]
        points = draw_points(pool, drawn, np.random.default_rng(seed), 1)
        for row, shower in enumerate(points["shower"].tolist()):
            sign = drawn["turned"][shower]
            first, number = int(pool.first[shower]), int(pool.number[shower])
            upright = shower < 32
            if upright:
                continue
            if not torch.allclose(drawn["direction"][shower], wanted[shower], atol=1e-6):
                continue
            mine = pool.offset_mm[first : first + number] * sign
            theirs = turned.offset_mm[first : first + number]
            order, other = (torch.argsort(v[:, 0] + 1e3 * v[:, 1]) for v in (mine, theirs))
            torch.testing.assert_close(mine[order], theirs[other], rtol=1e-4, atol=1e-3)
            seen += row >= 0
    assert seen > 50


def test_solver_gives_the_width_of_the_data() -> None:
    """A network that says nothing is the exact denoiser of normal points of width SIGMA_DATA."""
    system = system_in(find_stack("ECAL"))
    torch.nn.init.zeros_(system.network.out.weight)
    torch.nn.init.zeros_(system.network.out.bias)
    system.config.__dict__["sampler_steps"] = 20
    sampler = system.sampler()
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made = sampler.points(noise, torch.zeros(4000, system.config.hidden))
    assert float(made.std()) == pytest.approx(SIGMA_DATA, rel=0.02)


def test_consistency_function_is_the_identity_at_the_lowest_level() -> None:
    network = PointNetwork(4, (8,), 16, 2)
    points, known = torch.randn(50, 3), torch.randn(50, 16)
    with torch.no_grad():
        same = consistent(network, points, torch.full((50,), LOWEST), known)
    torch.testing.assert_close(same, points)
    levels = noise_levels(18)
    assert levels[0] == pytest.approx(20.0)
    assert levels[-1] == pytest.approx(0.005)
    assert all(a > b for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("name", STACKS)
def test_sampler_keeps_what_the_shower_model_says(name: str) -> None:
    """Visible energy as drawn, layers within the stack, spots around the axis, in every calorimeter."""
    stack = find_stack(name)
    system = system_in(stack)
    pool = make_pool(showers_in(stack), stack, number=100, below_mev=np.full(stack.layers, 0.6))

    class Step:
        stage, index, mirror, device = "showers", 0, ("x",), torch.device("cpu")
        rng = np.random.default_rng(0)

    system.standardise_all(pool, Step())  # type: ignore[arg-type]
    sampler = system.sampler()
    inputs = example_inputs(sampler, DOMAIN, 6, seed=1)
    with torch.no_grad():
        spots, counts = sampler(*inputs.values())
        p = system.networks.incident(inputs["energy"], inputs["direction"], inputs["pdg"])
        total = sampler._shower(p, inputs["u_shower"], inputs["z_shower"])[0]
    row = torch.repeat_interleave(torch.arange(6), counts)
    made = torch.zeros(6).index_add(0, row, spots[:, 3] * 1e3)
    # what lies beyond the capacity is lost, and layers of less than 1 keV
    assert bool((made <= total[:, 0] * 1.001).all())
    whole = torch.tensor([n < sampler.capacity(float(e)) - 2 for n, e in zip(counts, inputs["energy"], strict=True)])
    torch.testing.assert_close(made[whole], total[whole, 0], rtol=1e-3, atol=1e-3 * stack.layers)
    assert bool(whole.any())
    assert bool(torch.isfinite(spots).all())
    assert set(spots[:, 2].tolist()) <= set(range(stack.layers))


def test_scales_of_the_stacks() -> None:
    for name in STACKS:
        stack = find_stack(name)
        scales = scales_of(stack)
        assert len(scales.depth) == len(scales.second) == len(scales.kind) == len(scales.late) == stack.layers
        assert all(a < b for a, b in itertools.pairwise(scales.depth))
    assert math.isclose(scales_of(find_stack("ECAL")).depth[-1], 24.5, abs_tol=1.0)
