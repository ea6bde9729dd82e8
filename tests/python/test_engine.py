# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The chain from particle to cells, with real models in the real ILD geometry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from ddcalogen import _core
from ddcalogen.card import read_card
from ddcalogen.engine import GUARD_DECISIONS, SHOWER_STATUSES, Generator, Showers, open_session
from ddcalogen.errors import CardError, ConfigurationError, DDCaloGenError, InputError, ModelError
from ddcalogen.geometry import Geometry
from ddcalogen.models import find_model, shipped_models
from toys import covered_particles, photons

ORT_LIBRARY = next(iter((Path(ort.__file__).parent / "capi").glob("libonnxruntime.so.*")), None)
needs_cpp_session = pytest.mark.skipif(
    not _core.has_onnxruntime_session or ORT_LIBRARY is None,
    reason="this build has no C++ onnxruntime session (onnxruntime headers were not found)",
)


def assert_same(a: Showers, b: Showers) -> None:
    for name in ("guard", "status", "offsets", "cell_id", "energy_gev", "time_ns", "spot_position_mm", "placed_gev"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("model", sorted(shipped_models()))
class TestShippedModels:
    def test_same_cells_whatever_batch_and_threads(self, model: str, ild: Geometry) -> None:
        card = read_card(find_model(model))
        lowest = max(0.6, card.domain.energy_gev[0])
        particles = covered_particles(card, 96, (lowest, 60.0))
        reference = Generator(find_model(model), ild, seed=5, batch=256).simulate(particles)
        assert reference.simulated.all()
        assert len(reference.cell_id) > 5_000
        for batch, threads in ((1, 1), (37, 1), (64, 4)):
            assert_same(
                reference, Generator(find_model(model), ild, seed=5, batch=batch, threads=threads).simulate(particles)
            )

    def test_order_and_company_do_not_matter(self, model: str, ild: Geometry) -> None:
        particles = covered_particles(read_card(find_model(model)), 40)
        generator = Generator(find_model(model), ild, seed=5)
        together = generator.simulate(particles)
        backwards = generator.simulate(particles.take(np.arange(40)[::-1]))
        for i in range(40):
            a = slice(*together.offsets[i : i + 2].astype(int))
            b = slice(*backwards.offsets[39 - i : 41 - i].astype(int))
            np.testing.assert_array_equal(together.cell_id[a], backwards.cell_id[b])
            np.testing.assert_array_equal(together.energy_gev[a], backwards.energy_gev[b])

    def test_seed_event_and_particle_make_the_shower(self, model: str, ild: Geometry) -> None:
        particles = covered_particles(read_card(find_model(model)), 1)
        one = Generator(find_model(model), ild, seed=5).simulate(particles)
        assert_same(one, Generator(find_model(model), ild, seed=5).simulate(particles))
        other = Generator(find_model(model), ild, seed=6).simulate(particles)
        assert not np.array_equal(one.energy_gev, other.energy_gev)

    def test_accounting_closes_and_every_cell_exists(self, model: str, ild: Geometry) -> None:
        showers = Generator(find_model(model), ild, seed=5).simulate(
            covered_particles(read_card(find_model(model)), 100)
        )
        booked = showers.placed_gev + showers.dead_gev + showers.outside_gev
        np.testing.assert_allclose(showers.generated_gev, booked, rtol=1e-12)
        in_cells = np.add.reduceat(showers.energy_gev.astype(float), showers.offsets[:-1].astype(int))
        np.testing.assert_allclose(in_cells, showers.placed_gev, rtol=1e-6)
        assert ild.surfaces.exists(showers.cell_id).all()
        assert (ild.surfaces.collection_of(showers.cell_id) >= 0).all()
        assert (showers.energy_gev > 0).all()
        assert np.isfinite(showers.time_ns).all()
        assert abs(showers.account().imbalance_gev) < 1e-9

    @needs_cpp_session
    def test_cpp_and_python_onnxruntime_agree(self, model: str, ild: Geometry) -> None:
        particles = covered_particles(read_card(find_model(model)), 64)
        python = Generator(find_model(model), ild, seed=5).simulate(particles)
        compiled = Generator(find_model(model), ild, seed=5, runtime="c++", library=str(ORT_LIBRARY))
        assert_same(python, compiled.simulate(particles))


def test_spot_goes_into_the_cell_behind_the_entry(toy_model: Callable[..., Path], ild: Geometry) -> None:
    particles = photons(50)
    showers = Generator(toy_model(), ild, seed=1).simulate(particles)
    stacks = Generator(toy_model(), ild, seed=1).stacks
    found = 0
    for i in range(50):
        entry = stacks.find_entry(particles.position_mm[i], particles.direction[i])
        frame = stacks.frame(entry["stack"])
        depth = frame["depth_mm"][3]
        # the toy's spot is at x = y = 0 of layer 3: straight behind the entry, along the normal
        point = particles.position_mm[i] + depth * np.array(frame["normal"])
        cell = ild.surfaces.locate(point[None])[0]
        cells = showers.cell_id[slice(*showers.offsets[i : i + 2].astype(int))]
        if cell:
            assert list(cells) == [cell]
            found += 1
    assert found > 40


@pytest.mark.parametrize(
    ("graph", "status"),
    [
        ({"row": (float("nan"), 0.0, 3.0, 0.5)}, "not finite"),
        ({"row": (0.0, 0.0, 3.0, float("inf"))}, "not finite"),
        ({"row": (0.0, 0.0, 3.0, -0.5)}, "negative energy"),
        ({"row": (0.0, 0.0, 30.0, 0.5)}, "layer out of range"),
        ({"row": (0.0, 0.0, 0.5, 0.5)}, "layer out of range"),
        ({"row": (0.0, 0.0, 3.0, 0.0)}, "no energy"),
        ({"count": 11}, "more spots than declared"),
    ],
)
def test_bad_shower_is_rejected_and_counted(
    graph: dict[str, object], status: str, toy_model: Callable[..., Path], ild: Geometry
) -> None:
    showers = Generator(toy_model(**graph), ild).simulate(photons(5))
    assert [SHOWER_STATUSES[s] for s in showers.status] == [status] * 5
    assert len(showers.cell_id) == 0
    assert not showers.simulated.any()


def test_counts_that_do_not_add_up_are_an_error(toy_model: Callable[..., Path], ild: Geometry) -> None:
    with pytest.raises(DDCaloGenError, match="counts that do not add up") as caught:
        Generator(toy_model(count=3, declared=2), ild).simulate(photons(5))
    assert caught.value.expected
    assert caught.value.remedy


def test_guard_reasons(toy_model: Callable[..., Path], ild: Geometry) -> None:
    particles = photons(6)
    particles.pdg[0] = 211
    particles.energy_gev[1] = 0.5
    particles.energy_gev[2] = 101.0
    particles.position_mm[3] = (100.0, 0.0, 0.0)
    particles.direction[4] = 0.0
    particles.direction[5] = np.nan
    showers = Generator(toy_model(), ild).simulate(particles)
    assert [GUARD_DECISIONS[g] for g in showers.guard] == [
        "particle type not covered",
        "energy below range",
        "energy above range",
        "not at this calorimeter",
        "bad kinematics",
        "bad kinematics",
    ]


def test_entries_in_all_staves_endcaps_and_plug(ild: Geometry) -> None:
    stacks = Generator(find_model("ild_ecal_em_layered"), ild).stacks
    assert len(stacks) == 12  # 8 staves, 2 endcaps, 2 plugs
    for k in range(8):
        phi = k * np.pi / 4
        n = np.array([np.cos(phi), np.sin(phi), 0.0])
        entry = stacks.find_entry(1804.8 * n + np.array([0, 0, 100.0]), n)
        assert entry["decision"] == "accepted"
        frame = stacks.frame(entry["stack"])
        np.testing.assert_allclose(frame["normal"], n, atol=1e-9)
        np.testing.assert_allclose(frame["x_axis"], [0, 0, -1], atol=1e-9)
        np.testing.assert_allclose(frame["y_axis"], [-np.sin(phi), np.cos(phi), 0], atol=1e-9)
        np.testing.assert_allclose(frame["depth_mm"][0], 6.8025, atol=1e-3)
        assert len(frame["depth_mm"]) == 30
    for sign in (1, -1):
        for radius, depth in ((1000.0, 6.8025), (320.0, None)):
            entry = stacks.find_entry([radius, 10.0, sign * 2411.8], [0.0, 0.0, sign])
            frame = stacks.frame(entry["stack"])
            assert entry["decision"] == "accepted"
            np.testing.assert_allclose(frame["normal"], [0, 0, sign], atol=1e-9)
            np.testing.assert_allclose(frame["x_axis"], [sign, 0, 0], atol=1e-9)
            np.testing.assert_allclose(frame["y_axis"], [0, 1, 0], atol=1e-9)
            if depth is not None:
                np.testing.assert_allclose(frame["depth_mm"][0], depth, atol=1e-3)


def test_models_that_cannot_be_used(tmp_path: Path, toy_model: Callable[..., Path], ild: Geometry) -> None:
    with pytest.raises(ModelError, match="there is no model"):
        find_model("nowhere.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(toy_model().read_bytes()[:100])
    with pytest.raises(CardError):
        Generator(broken, ild)
    with pytest.raises(ModelError, match="cannot load"):
        open_session(broken)
    unknown = {"name": "LumiCal", "detector": "X", "layer_depth_mm": [1.0], "cell_size_mm": [1.0, 1.0]}
    model = toy_model(card={"calorimeter": unknown})
    with pytest.raises(ConfigurationError, match="calorimeter"):
        Generator(model, ild)


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is available here")
def test_missing_provider_is_an_error_not_a_silent_change(toy_model: Callable[..., Path], ild: Geometry) -> None:
    with pytest.raises(ConfigurationError, match="provider"):
        Generator(toy_model(), ild, provider="cuda")


@pytest.mark.parametrize("options", [{"batch": 0}, {"threads": 0}, {"seed": -1}, {"seed": 2**64}])
def test_option_values_out_of_range(options: dict[str, int], toy_model: Callable[..., Path], ild: Geometry) -> None:
    with pytest.raises(InputError):
        Generator(toy_model(), ild, **options)


def test_python_session_rejects_what_is_no_tensor(ild: Geometry, toy_model: Callable[..., Path]) -> None:
    generator = Generator(toy_model(), ild)
    from ddcalogen.engine import _core_model

    for answer in ([np.zeros((4, 4)), np.zeros(2, np.int64)], [np.zeros((4, 4), np.float32)], "text"):
        session = _core.PythonSession(lambda names, feeds, answer=answer: answer, "test")
        simulation = _core.Simulation(
            generator.stacks, _core_model(generator.card), session, seed=1, batch=4, threads=1,
            grid_method=_core.GridMethod.overlap, max_entry_depth_mm=40.0,
        )  # fmt: skip
        with pytest.raises(DDCaloGenError):
            simulation.simulate(**photons(2).columns())


def test_given_showers_are_placed(toy_model: Callable[..., Path], ild: Geometry) -> None:
    generator = Generator(toy_model(), ild)
    spots = np.array([[0, 0, 0, 1.0], [3, 4, 5, 2.0], [0, 0, 29, 3.0]], np.float32)
    showers = generator.place(photons(2), spots, np.array([2, 1]))
    np.testing.assert_allclose(showers.generated_gev, [3.0, 3.0])
    with pytest.raises(InputError):
        generator.place(photons(2), spots, np.array([2, 2]))
    with pytest.raises(InputError):
        generator.place(photons(2), spots[:, :3], np.array([2, 1]))


def test_run_left_for_the_plugin_may_outlive_the_interpreter(toy_model: Callable[..., Path]) -> None:
    program = """
import sys
from ddcalogen import _core
from ddcalogen.engine import Generator
from ddcalogen.geometry import load_snapshot
generator = Generator(sys.argv[1], load_snapshot("ILD_l5_o1_v02"), seed=1)
_core.share_run("left", program_version="", geometry_name="", cells=[], models=[(generator.compiled, 1)])
"""
    command = [sys.executable, "-c", program, str(toy_model())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
