# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Behaviour of the grid systems beyond "trains and exports", which the test of all systems covers."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.checkpoint import build_system
from ddcalogen.training.config import load_config
from ddcalogen.training.grid_networks import Layer
from ddcalogen.training.losses import slope_penalty
from ddcalogen.training.sampler import draw_noise
from ddcalogen.training.systems._bib_ae import BatchStatisticsCritic
from ddcalogen.training.systems.wgan_lo import optimise_latent


@dataclasses.dataclass
class Step:
    """One step of a stage without a loop."""

    system: torch.nn.Module
    stage: str
    index: int = 0
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    rng: np.random.Generator = dataclasses.field(default_factory=lambda: np.random.default_rng(1))
    forgotten: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        self.optimisers = self.system.optimisers(self.stage)

    def minimise(self, optimiser, loss):
        chosen = self.optimisers[optimiser].optimiser
        chosen.zero_grad()
        loss.backward()
        chosen.step()

    def forget(self, optimiser):
        self.forgotten.append(optimiser)

    def report(self, text):
        pass


def small(name, *settings):
    torch.manual_seed(1)
    system = build_system(load_config(name, None, settings, smoke=True))
    grids, layers = system.grids, system.stack.layers
    number = 4
    grid = torch.rand(number, layers, grids.nx, grids.ny) * 5e-3
    grid = torch.where(torch.rand_like(grid) < 0.1, grid, torch.zeros_like(grid))
    direction = torch.nn.functional.normalize(torch.tensor([[0.1, 0.2, 1.0]]).repeat(number, 1), dim=1)
    return system, {"grid": grid, "energy": 10.0 + 90.0 * torch.rand(number, 1), "direction": direction}


def state(module):
    return copy.deepcopy(module.state_dict())


def same(before, module):
    return all(torch.equal(before[k], v) for k, v in module.state_dict().items())


def run_sampler(system, batch, seed=1):
    sampler = system.sampler().eval()
    noise = draw_noise(sampler, len(batch["energy"]), 0, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return sampler(batch["energy"], batch["direction"], *noise.values())


def test_the_constrainer_of_the_wgan_is_frozen_after_its_steps():
    system, batch = small("wgan", "system.constrainer_steps=1", "system.critic_steps=1")
    step = Step(system, "adversarial")
    before = state(system.constrainer)
    system.training_step(batch, step)
    assert not same(before, system.constrainer)
    before, generator = state(system.constrainer), state(system.generator)
    step.index = 1
    system.training_step(batch, step)
    assert same(before, system.constrainer)
    assert not same(generator, system.generator)


def test_the_generator_of_the_wgan_moves_only_every_so_many_critic_steps():
    system, batch = small("wgan", "system.critic_steps=3")
    step = Step(system, "adversarial")
    moved = []
    for step.index in range(6):
        before = state(system.generator)
        system.training_step(batch, step)
        moved.append(not same(before, system.generator))
    assert moved == [False, False, True, False, False, True]


def test_latent_optimisation_climbs_the_critic_within_the_range_of_the_noise():
    system, batch = small("wgan_lo", "system.critic_profile=0")
    condition = batch["energy"] / 100.0
    noise = torch.rand(4, 100) * 1.6 - 0.8
    # a small step, so that the slope at the start is that of the whole way
    moved = optimise_latent(system.generator, system.critic, condition, noise, alpha=1e-2, beta=1e-3, norm=1.0)
    with torch.no_grad():
        before, after = (system.critic(system.generator(condition, z), condition) for z in (noise, moved))
    assert float(after.mean()) > float(before.mean())
    far = optimise_latent(system.generator, system.critic, condition, noise, alpha=1e9, beta=0.1, norm=1000.0)
    assert float(far.abs().max()) == 1.0
    assert not torch.equal(far, noise)
    assert not far.requires_grad


def test_the_regressor_of_the_pion_wgan_is_trained_first_and_frozen_then():
    system, batch = small("wgan_lo", "system.critic_steps=1")
    generator, regressor = state(system.generator), state(system.regressor)
    system.training_step(batch, Step(system, "regressor"))
    assert same(generator, system.generator)
    assert not same(regressor, system.regressor)
    regressor = state(system.regressor)
    system.train()
    system.training_step(batch, Step(system, "adversarial"))
    # its batch statistics do not move either
    assert same(regressor, system.regressor)
    assert not same(generator, system.generator)


@pytest.mark.parametrize("angular", [False, True])
def test_the_angular_constrainer_is_an_option(angular):
    system, batch = small("wgan_lo", f"system.angular={str(angular).lower()}", "system.critic_steps=1")
    system.training_step(batch, Step(system, "regressor"))
    system.training_step(batch, Step(system, "adversarial"))
    with torch.no_grad():  # the start is all but zero everywhere
        for parameter in system.generator.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    turned = {**batch, "direction": torch.tensor([[0.0, 0.0, 1.0]]).repeat(4, 1)}
    assert torch.equal(run_sampler(system, batch), run_sampler(system, turned)) is not angular


@pytest.mark.parametrize("name", ["gan", "wgan", "wgan_lo", "bib_ae", "bib_ae_pions", "bib_ae_angle"])
def test_profiles_are_seen_by_critics_and_made_by_generators(name):
    encodes, settings = name.startswith("bib_ae"), ["system.profile=4", "system.critic_profile=4"]
    settings += ["system.critic_steps=1"] if name != "gan" else []
    # a post-processor that leaves empty cells empty
    settings += ["system.post.residual=true"] if encodes else []
    system, batch = small(name, *settings)
    step = Step(system, "autoencoder" if encodes else "adversarial", index=1)
    critic = system.discriminator if name == "gan" else system.critic
    direct = system.coder.direct if encodes else system.direct
    seen, made = state(critic.view), state(direct)
    system.training_step(batch, step)
    assert not same(seen, critic.view)
    assert not same(made, direct)
    # showers of which the head says that there is nothing in layer 3
    with torch.no_grad():
        direct.end.weight.zero_()
        direct.end.bias.zero_()
        direct.end.bias.reshape(system.size[0], -1)[3, :10] = -1e3
    grid = run_sampler(system, batch)
    assert torch.all(grid[:, 3] == 0)


def test_profiles_are_compared_only_if_there_are_any():
    with pytest.raises(ConfigurationError, match="profiles"):
        small("bib_ae_angle", "system.critic_profile=0", "system.profile_reconstruction=1.0")


def test_the_slope_of_the_discriminator_is_penalised_every_so_many_steps():
    system, batch = small("gan", "system.slope=1.0", "system.slope_every=2")
    step = Step(system, "adversarial")
    penalised = []
    for step.index in range(4):
        penalised.append("squared_slope" in system.training_step(batch, step))
    assert penalised == [False, True, False, True]


def test_a_penalised_discriminator_is_flatter_at_the_showers():
    slopes = {}
    for weight in (0.0, 1.0):
        system, batch = small("gan", f"system.slope={weight}", "system.slope_every=1", "system.discriminator_rate=0.01")
        step = Step(system, "adversarial")
        for step.index in range(20):
            torch.manual_seed(step.index)
            system.training_step(batch, step)
        d, (image, profile) = system.discriminator, system.views(batch["grid"][:, None] * 1e3)
        slopes[weight] = float(slope_penalty(d.judge, (d.channels(image), profile), batch["energy"]))
    assert slopes[1.0] < 0.5 * slopes[0.0]


@pytest.mark.parametrize("name", ["bib_ae_pions", "bib_ae_angle"])
def test_the_second_critic_starts_anew_and_the_first_does_not(name):
    system, batch = small(name, "system.reset_every=2")
    step = Step(system, "autoencoder")
    for step.index in range(2):
        system.training_step(batch, step)
    assert step.forgotten == []
    # without steps of the optimisers, only starting anew changes weights
    step.minimise = lambda optimiser, loss: None
    first, second = state(system.critic), state(system.second_critic)
    step.index = 2
    system.training_step(batch, step)
    assert step.forgotten == ["second_critic"]
    assert same(first, system.critic)
    assert not same(second, system.second_critic)
    second = state(system.second_critic)
    step.index = 3
    system.training_step(batch, step)
    assert same(second, system.second_critic)


def test_the_batch_statistics_critic_sees_the_other_showers():
    torch.manual_seed(2)
    critic = BatchStatisticsCritic((8, 8, 8), [Layer(2, 2, 2), Layer(2, 2)], 1, 4)
    image, condition = torch.rand(3, 1, 8, 8, 8), torch.ones(3, 1)
    other = image.clone()
    other[2] *= 3.0
    a, b = critic(image, image, condition), critic(other, other, condition)
    assert not torch.isclose(a[0], b[0])
    # and has finite slopes where all showers are equal
    same_image = image[:1].repeat(3, 1, 1, 1, 1).requires_grad_(True)
    critic(same_image, same_image, condition).sum().backward()
    assert torch.isfinite(same_image.grad).all()


@pytest.mark.parametrize("name", ["bib_ae", "bib_ae_pions", "bib_ae_angle"])
def test_only_what_a_stage_trains_moves(name):
    system, batch = small(name)
    for stage, moving in (("autoencoder", "coder"), ("post_mse", "post"), ("post", "post")):
        parts = {n: state(getattr(system, n)) for n in ("coder", "post")}
        step = Step(system, stage, index=1)
        system.training_step(batch, step)
        assert {n for n, before in parts.items() if not same(before, getattr(system, n))} == {moving}, stage


def collect(system, batch):
    step = Step(system, "encode")
    for step.index in range(system.encode_stage.steps * 16):
        energy = 10.0 + 90.0 * torch.rand(4, 1)
        scaled = batch["grid"] * energy[:, :, None, None] / batch["grid"].sum((1, 2, 3))[:, None, None, None] * 0.02
        system.training_step({**batch, "grid": scaled, "energy": energy}, step)


def test_latents_are_sampled_from_the_kernels_of_encoded_showers():
    system, batch = small("bib_ae", "system.latents.bandwidth=0.01")
    collect(system, batch)
    assert int(system.collected_rows) == 64
    system.training_step({}, Step(system, "latents"))
    _, condition, visible = system.collected_latents()
    assert torch.allclose(visible[:, 0], condition[:, 0] * 100.0 * 0.02 * 1e3, rtol=1e-3)
    at = condition[5:6]
    drawn = system.kde(at.repeat(50, 1), torch.rand(50, 1), torch.randn(50, 4))
    near = (condition[:, 0] - at).abs()[0] < 0.05
    assert near.sum() >= 1
    # every sample lies by a kernel of about that energy
    distance = torch.cdist(drawn, system.kde.centre_mean + at @ system.kde.regress)
    kernels = distance.argmin(1)
    assert torch.all((condition[kernels, 0] - at).abs() < 0.2)


def test_the_flow_decides_on_the_visible_energy():
    system, batch = small("bib_ae_angle", "system.threshold_mev=0.0")
    collect(system, batch)
    step = Step(system, "flow")
    system.training_step({}, step)
    with torch.no_grad():  # make the decoded showers visible at all
        system.post.end[-1].weight.fill_(0.1)
        system.post.end[0].bias.fill_(1.0)
    grid = run_sampler(system, batch)
    sampler = system.sampler()
    noise = draw_noise(sampler, 4, 0, torch.Generator().manual_seed(1))
    condition = torch.cat([batch["energy"] / 100.0, batch["direction"][:, :2]], 1)
    with torch.no_grad():
        fraction = (system.flow(noise["latent"], condition) * system.scale + system.centre)[:, 0]
    assert torch.allclose(grid.sum((1, 2, 3)), fraction * batch["energy"][:, 0], rtol=1e-4)
    assert torch.allclose(fraction, torch.full((4,), 0.02), atol=2e-3)


@pytest.mark.parametrize(
    ("name", "part", "published"),
    [
        ("wgan", "generator", 3.7e6),
        ("wgan", "critic", 250e3),
        ("wgan", "constrainer", 220e3),
        ("bib_ae", "coder", 71e6),
    ],
)
def test_networks_are_as_large_as_the_published_ones(name, part, published):
    """Numbers of parameters in sections 4.2 and 4.3 of arXiv:2005.05334."""
    with torch.device("meta"):
        system = build_system(load_config(name))
    number = sum(p.numel() for p in getattr(system, part).parameters())
    assert number == pytest.approx(published, rel=0.03)
