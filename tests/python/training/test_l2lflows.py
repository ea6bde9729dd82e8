# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""L2LFlows: causality, density and samples of one flow, spectrum function."""

import pytest
import torch
from ddcalogen.training.checkpoint import build_system
from ddcalogen.training.config import load_config
from ddcalogen.training.sampler import draw_noise
from ddcalogen.training.systems.l2lflows import MonotoneCubic


def small(name="l2lflows", *settings):
    torch.manual_seed(1)
    system = build_system(load_config(name, None, ("system.cells=3", *settings), smoke=True)).eval()
    with torch.no_grad():
        for flow in (system.energies, system.shapes):
            flow.w_out.mul_(30.0)
        system.energy_centre.fill_(-2.0)
        system.energy_scale.fill_(0.5)
        system.cell_centre.fill_(-3.0)
        system.cell_scale.fill_(0.5)
    grid = 1e-3 * torch.rand(4, 30, 3, 3) * (torch.rand(4, 30, 3, 3) < 0.7)
    direction = torch.tensor([[0.0, 0.0, 1.0]]).repeat(4, 1)
    return system, {"grid": grid, "energy": 20.0 + 10.0 * torch.rand(4, 1), "direction": direction}


def test_the_density_of_a_layer_knows_nothing_of_layers_behind_it():
    system, batch = small()
    condition, energies, cells, _ = system.variables(batch)
    cells = cells.detach().requires_grad_(True)
    density = system._shape_density(cells, system.known(condition, energies, cells))
    for layer in (0, 4, 17):
        (slope,) = torch.autograd.grad(density[layer].sum(), cells, retain_graph=True)
        seen = slope.abs().sum((1, 2)) > 0
        history = system.config.history
        assert seen.tolist() == [layer - history <= other <= layer for other in range(30)]


@pytest.mark.parametrize("name", ["l2lflows", "l2lflows_student"])
def test_the_sampler_draws_layers_in_turn(name):
    system, batch = small(name)
    sampler = system.sampler()
    noise = draw_noise(sampler, 4, 0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = sampler(batch["energy"], batch["direction"], *noise.values())
        noise["cells"][:, 12] += 0.5
        after = sampler(batch["energy"], batch["direction"], *noise.values())
    changed = (before != after).flatten(2).any(2).any(0)
    assert not changed[:12].any()
    assert changed[12]


def test_the_teacher_samples_what_it_gives_densities_of():
    system, batch = small()
    sampler = system.sampler()
    condition = system.condition(batch["energy"], batch["direction"])
    z = torch.randn(30, 4, 9)
    energies = torch.randn(4, 30)
    with torch.no_grad():
        cells = sampler.logarithms(z, condition, energies)
        known = system.known(condition, energies, cells)
        back, _, _ = system.shapes.quick(cells, system.summarise(system.summary_weights(), known))
    assert float((cells - z).abs().max()) > 0.1
    torch.testing.assert_close(back, z, atol=2e-3, rtol=1e-3)


def test_layers_have_the_energies_that_their_flow_drew():
    system, batch = small("l2lflows", "system.threshold_mev=0.0")
    sampler = system.sampler()
    noise = draw_noise(sampler, 4, 0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        drawn = sampler.layer_energies(noise["layer_energies"], system.condition(batch["energy"], batch["direction"]))
        grid = sampler.before_correction(batch["energy"], batch["direction"], *noise.values())
    expected = 10.0 ** (drawn * 0.5 - 2.0)
    torch.testing.assert_close(grid.sum(2), expected, rtol=1e-4, atol=1e-6)


def test_the_spectrum_function_turns_one_spectrum_into_the_other_and_is_monotone():
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(40_000, generator=generator) * 0.6 - 3.0
    # a peak that the sampler has lost
    peak = torch.randn(20_000, generator=generator) * 0.05 - 3.7
    truth = torch.cat([peak, torch.randn(20_000, generator=generator) * 0.5 - 2.8])
    function = MonotoneCubic(128)
    torch.testing.assert_close(function(made), made, atol=1e-4, rtol=0.0)
    function.fit(made, truth)
    fresh = function(torch.randn(40_000, generator=generator) * 0.6 - 3.0)
    levels = torch.linspace(0.02, 0.98, 49)
    assert float((torch.quantile(fresh, levels) - torch.quantile(truth, levels)).abs().max()) < 0.05
    line = function(torch.linspace(-6.0, 0.0, 5001))
    assert torch.all(line.diff() > -1e-6)  # float32 rounding


def test_the_student_takes_over_a_trained_teacher(tmp_path):
    from ddcalogen.errors import ConfigurationError

    teacher, _ = small()
    student, _ = small("l2lflows_student", "system.teacher=run/best.ckpt")
    assert [s.name for s in student.stages()] == ["distillation", "spectrum"]
    with torch.no_grad():
        teacher.w_summary.add_(1.0)
    student.begin("distillation", lambda path: teacher)
    assert torch.equal(student.w_summary, teacher.w_summary)
    other = build_system(load_config("l2lflows", None, ("system.cells=2",), smoke=True))
    with pytest.raises(ConfigurationError, match="does not fit"):
        student.begin("distillation", lambda path: other)
