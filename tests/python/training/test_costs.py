# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The table of costs: counts against hand calculation, a process of its own; never a time."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from ddcalogen.card import Domain, GridOutput, NoiseInput  # noqa: E402
from ddcalogen.errors import InferenceError, InputError  # noqa: E402
from ddcalogen.training import costs  # noqa: E402
from ddcalogen.training.config import load_config  # noqa: E402
from ddcalogen.training.costs import Cost, StageCost, configurations, measure_apart, write_table  # noqa: E402
from ddcalogen.training.sampler import Sampler  # noqa: E402
from ddcalogen.training.stacks import find_stack  # noqa: E402
from ddcalogen.training.system import find_system, system_names  # noqa: E402
from test_systems import write_showers  # noqa: E402


def test_table(tmp_path: Path) -> None:
    closed = Cost("a", "", "thing", 1234, 56, 2.5e9, 410.0, 400.0, (), 3)
    stages = (StageCost("one", 8, 8, 10, 1.5, 15.0), StageCost("two", 64, 16, 2, 2.0, 40.0))
    write_table([closed, Cost("b", "small", "other", 2, 1, 1e6, 500.0, 390.0, stages, 2000)], tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text()
    assert "| thing | `a` | 1,234 | 56 | 2.5 | 410 | closed form | 3 |" in text
    assert "| other | `b_small` | 2 | 1 | 0.001 | 500 | one 15 (8), two 40 (16 of 64) | 2,000 |" in text
    assert "400 MB of it are Python and PyTorch" in text


def test_other_rows_stay_if_measured_on_the_same_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cost(system: str, parameters: int) -> Cost:
        return Cost(system, "", "thing", parameters, 1, 1e9, 410.0, 400.0, (), 3)

    table = tmp_path / "t.md"
    write_table([cost("b", 1), cost("c", 2)], table)
    write_table([cost("a", 3), cost("c", 4)], table)
    rows = [line.split("|")[2:4] for line in table.read_text().splitlines() if line.startswith("| thing")]
    assert rows == [[" `a` ", " 3 "], [" `b` ", " 1 "], [" `c` ", " 4 "]]
    monkeypatch.setattr(costs, "_processor", lambda: "another machine")
    write_table([cost("d", 5)], table)
    assert table.read_text().count("| thing |") == 1


class Network(Sampler):
    """Two dense layers and a convolution, of known cost."""

    def __init__(self) -> None:
        grid = GridOutput(
            kind="grid", shape=(1, 6, 6), cell_mm=(5.0, 5.0), lower_edge_mm=(-15.0, -15.0), follows_axis=True
        )
        super().__init__(noise=(NoiseInput(name="z", distribution="normal", shape=(7,)),), output=grid)
        self.first, self.second = torch.nn.Linear(8, 10), torch.nn.Linear(10, 36)
        self.convolution = torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, energy: Any, direction: Any, z: Any) -> Any:
        del direction
        cells = self.second(self.first(torch.cat([energy, z], 1))).reshape(-1, 1, 6, 6)
        return self.convolution(cells)


def test_operations_are_those_of_the_layers() -> None:
    domain = Domain(pdg=(22,), energy_gev=(1.0, 100.0), theta_deg=(0.0, 1.0))
    system: Any = SimpleNamespace(sampler=Network, domain=domain)
    assert costs._operations(system) == 2 * (8 * 10 + 10 * 36 + 9 * 36)


@pytest.mark.parametrize(("name", "settings"), [("layered", ()), ("point_cloud", ("system.blocks=[20]",))])
def test_operations_of_networks_with_weights_for_each_layer(name: str, settings: tuple[str, ...]) -> None:
    domain = Domain(pdg=(22,), energy_gev=(1.0, 100.0), theta_deg=(0.0, 1.0))
    config = load_config(name, None, settings, smoke=True)
    system = find_system(name)(config.system_config(), find_stack("ECAL"), domain)
    learned = [p.requires_grad for p in system.parameters()]
    assert costs._operations(system) > 2 * 48 * 48 * 30  # of the network of layers alone
    assert [p.requires_grad for p in system.parameters()] == learned


def test_every_configuration_belongs_to_its_system() -> None:
    found = configurations()
    assert {name for name, label, _ in found if not label} == set(system_names())
    assert len(set(found)) == len(found)
    for name, label, path in found:
        assert path is None or path.stem == f"{name}_{label}"
        assert load_config(name, path).system == name
    assert ("gan", "small") in {f[:2] for f in configurations(["gan"])}
    assert {f[0] for f in configurations(["l2lflows"])} == {"l2lflows"}  # not those of l2lflows_student


def test_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    showers = write_showers(tmp_path / "toy.h5")
    (tmp_path / "other.h5").write_text("no shower file")
    cost = measure_apart("gan", "", None, [showers, tmp_path / "other.h5"], smoke=True, seconds=0.0)
    config = load_config("gan", smoke=True)
    assert 0 < cost.sampler_parameters <= cost.parameters
    assert cost.flops > 0
    assert cost.memory_mb > cost.bare_mb > 10
    assert [(s.name, s.batch) for s in cost.stages] == [("adversarial", config.data.batch)]
    assert all(s.batch_timed == min(s.batch, 4) for s in cost.stages)
    assert all(s.steps_timed == 5 for s in cost.stages)
    for stage in cost.stages:
        assert stage.epoch_seconds == pytest.approx(stage.step_seconds * cost.showers / stage.batch_timed)
    with pytest.raises(InputError, match="no showers"):
        measure_apart("wgan_lo", "", None, [showers], smoke=True)  # wants pions


def test_a_killed_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_child", _die)
    with pytest.raises(InferenceError, match="without an answer"):
        measure_apart("gan", "", None, [tmp_path / "none.h5"])


def _die(*arguments: object) -> None:
    del arguments
    os._exit(9)
