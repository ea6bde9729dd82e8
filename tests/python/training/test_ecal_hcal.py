# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers through ECAL and HCAL: read as one stack, measured in the cells of either, placed into the planes of both."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from ddcalogen.engine import Generator, IncidentParticles
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.simulate import Simulator
from ddcalogen.sources import GunConfig, ParticleGun
from ddcalogen.training.data import ShowerFile, Showers, describe_dataset, load_split
from ddcalogen.training.stacks import find_stack
from toys import card_for, constant_spots

BOTH = find_stack("ECAL+HCAL")
PITCH = {"ecal": 1.0176666, "hcal": 10.0}
TURN = 0.3


def write_slab(path: Path, showers: int = 60, seed: int = 0, *, hcal_turn: float = TURN, last_layer: int = 29) -> Path:
    """Pions on the axis; some leave nothing in the ECAL, some nothing in the HCAL."""
    rng = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file["incident_energy_gev"] = rng.uniform(10, 100, showers).astype(np.float32)
        file["direction"] = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (showers, 1))
        file["pdg"] = np.full(showers, 211, np.int32)
        for name, layers in (("ecal", last_layer + 1), ("hcal", 48)):
            counts = rng.integers(0, 40, showers) * (rng.random(showers) < 0.8)
            n = int(counts.sum())
            group = file.create_group(name)
            group["ix"], group["iy"] = (rng.integers(-20, 20, n).astype(np.int16) for _ in range(2))
            group["layer"] = np.append(rng.integers(0, layers, n - 1), layers - 1).astype(np.uint8)
            group["energy_mev"] = (0.05 + rng.exponential(1.0, n)).astype(np.float16)
            group["offsets"] = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
            group.attrs["pitch_mm"] = PITCH[name]
            group.attrs["grid_rotation_rad"] = TURN if name == "ecal" else hcal_turn
    return path


def test_stack_is_both_calorimeters_behind_the_face_of_the_ecal() -> None:
    ecal, hcal = find_stack("ECAL"), find_stack("HCAL")
    assert BOTH.layers == 78
    assert BOTH.parts == {"ecal": slice(0, 30), "hcal": slice(30, 78)}
    assert BOTH.layer_depth_mm[:30] == ecal.layer_depth_mm
    np.testing.assert_allclose(np.subtract(BOTH.layer_depth_mm[30:], hcal.layer_depth_mm), 2058.0 - 1804.8)
    assert BOTH.cell_mm == ecal.cell_mm + hcal.cell_mm
    assert BOTH.threshold_gev == (1e-4,) * 30 + (2.5e-4,) * 48


def check_against_file(path: Path, showers: Showers) -> None:
    """Points, energies and layers of every shower are those of both groups of the file."""
    layers = showers.layer_energy_gev(BOTH.layers)
    with h5py.File(path) as file:
        for name, part in BOTH.parts.items():
            group, mine = file[name], showers.of_layers(part)
            offsets = group["offsets"][:]
            np.testing.assert_array_equal(mine.offsets, offsets)
            np.testing.assert_array_equal(mine.layer, group["layer"][:])
            np.testing.assert_allclose(mine.point_energy_gev, group["energy_mev"][:].astype(np.float32) / 1e3, 1e-6)
            turn, pitch = group.attrs["grid_rotation_rad"], group.attrs["pitch_mm"]
            assert mine.pitch_mm == pytest.approx(pitch)
            u, v = group["ix"][:] * pitch, group["iy"][:] * pitch
            np.testing.assert_allclose(mine.x_mm, u * np.cos(turn) - v * np.sin(turn), rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(mine.y_mm, u * np.sin(turn) + v * np.cos(turn), rtol=1e-5, atol=1e-3)
            sums = np.concatenate(([0.0], np.cumsum(group["energy_mev"][:].astype(float))))[offsets]
            np.testing.assert_allclose(layers[:, part].sum(1), np.diff(sums) / 1e3, rtol=1e-5, atol=1e-9)


def test_read_as_one_stack(tmp_path: Path) -> None:
    path = write_slab(tmp_path / "pions.h5")
    file = ShowerFile(path, "ecal+hcal")
    whole = file.read(0, len(file))
    check_against_file(path, whole)
    np.testing.assert_array_equal(np.unique(whole.point_pitch_mm), sorted(PITCH.values()))
    again = Showers.join(list(file.chunks(7)))
    for name in ("offsets", "x_mm", "layer", "point_energy_gev"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    single = ShowerFile(path, "ecal")
    np.testing.assert_array_equal(file.splits, single.splits)
    train = load_split([path], "train", "ecal+hcal")
    assert describe_dataset([path], "pions", "ecal+hcal").training_showers == len(train)
    with pytest.raises(InputError, match="different grids"):
        Showers.join([whole, single.read(0, 3)])


def test_geant4_showers_are_read_whole(shared_data: Path) -> None:
    path = shared_data / "pion_ecal_hcal_slab.h5"
    file = ShowerFile(path, "ecal+hcal")
    showers = file.read(0, len(file))
    check_against_file(path, showers)
    energy = showers.layer_energy_gev(BOTH.layers)
    ecal = energy[:, BOTH.parts["ecal"]].sum(1)
    leaking = energy[:, -3:].sum(1) > 0.03 * energy.sum(1)
    # 30 ECAL layers are about one interaction length: a good third of the pions pass them as minimum-ionising particles
    passed = (ecal < 0.02).mean()
    assert 0.2 < passed < 0.6
    assert 0.0 < leaking.mean() < 0.3
    np.testing.assert_array_equal(showers.layer[np.diff(showers.offsets)[0] - 1] >= 30, True)


def test_both_layouts(tmp_path: Path) -> None:
    showerdata = pytest.importorskip("showerdata")
    file = ShowerFile(write_slab(tmp_path / "pions.h5"), "ecal+hcal")
    whole = file.read(0, len(file))
    counts = np.diff(whole.offsets)
    padded = np.zeros((len(whole), int(counts.max()), 4), np.float32)
    padded[np.arange(padded.shape[1])[None, :] < counts[:, None]] = np.column_stack(
        [whole.x_mm, whole.y_mm, whole.layer, whole.point_energy_gev]
    )
    showerdata.save(
        showerdata.Showers(
            points=padded, energies=whole.energy_gev[:, None], directions=whole.direction, pdg=whole.pdg
        ),
        tmp_path / "showers.h5",
    )
    other = ShowerFile(tmp_path / "showers.h5", "ecal+hcal")
    again = other.read(0, len(other))
    np.testing.assert_allclose(again.layer_energy_gev(78), whole.layer_energy_gev(78), rtol=1e-6)
    np.testing.assert_array_equal(other.splits, file.splits)


def test_hostile_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="turned differently"):
        ShowerFile(write_slab(tmp_path / "turned.h5", hcal_turn=0.1), "ecal+hcal")
    deep = ShowerFile(write_slab(tmp_path / "deep.h5", last_layer=30), "ecal+hcal")
    with pytest.raises(InputError, match="not in the calorimeter"):
        deep.read(0, len(deep))
    lone = write_slab(tmp_path / "lone.h5")
    with h5py.File(lone, "r+") as file:
        file.move("hcal", "muon")
    with pytest.raises(InputError, match="no known shower layout"):
        ShowerFile(lone, "ecal+hcal")
    with pytest.raises(ConfigurationError, match="no such calorimeter"):
        ShowerFile(lone, "ecal+muon")
    short = write_slab(tmp_path / "short.h5")
    with h5py.File(short, "r+") as file:
        shorter = file["hcal/ix"][:-5]
        del file["hcal/ix"]
        file["hcal/ix"] = shorter
    broken = ShowerFile(short, "ecal+hcal")
    with pytest.raises(InputError, match=r"damaged|cannot be read"):
        broken.read(0, len(broken))


# ------------------------------------------------------------------------------------------------------------ training


def test_clouds_and_fidelity(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from ddcalogen.training.fidelity import OBSERVABLES, fidelity
    from ddcalogen.training.representations import Clouds

    file = ShowerFile(write_slab(tmp_path / "pions.h5", 120), "ecal+hcal")
    whole = file.read(0, len(file))
    for level in ("subcell", "cell"):
        batch = Clouds(level)(whole, BOTH, np.random.default_rng(1))  # type: ignore[arg-type]
        np.testing.assert_allclose(batch["layer_energy"].numpy(), whole.layer_energy_gev(78), rtol=1e-5, atol=1e-9)
    assert fidelity(whole, whole, BOTH)["fidelity"] < 15.0  # the cells' random places differ
    # 30 % more in the HCAL is found in the HCAL and in the sum, and not in the ECAL
    more = np.where(whole.layer >= 30, 1.3, 1.0).astype(np.float32)
    changed = fidelity(dataclasses.replace(whole, point_energy_gev=whole.point_energy_gev * more), whole, BOTH)
    assert len(changed) == 2 * len(OBSERVABLES) + 3
    assert changed["w1_ecal_response"] < 1.0
    assert changed["w1_hcal_response"] > 5.0
    assert changed["w1_response"] > 5.0


def test_training_through_export_and_placement(tmp_path: Path, ild: Any) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lightning_fabric")
    pytest.importorskip("onnxscript")
    from ddcalogen.card import read_card
    from ddcalogen.training.config import load_config
    from ddcalogen.training.export import export_model
    from ddcalogen.training.loop import train

    path = write_slab(tmp_path / "pions.h5", 160)
    settings = ["data.calorimeter=ECAL+HCAL", "data.pdg=[211]", "data.energy_gev=[10, 100]", "data.theta_deg=[0, 30]"]
    config = load_config("point_cloud", None, settings, smoke=True)
    best = train(config, [path], tmp_path / "run", accelerator="cpu")
    card = export_model(best, tmp_path / "model.onnx")
    assert card.calorimeter.name == "ECAL+HCAL"
    assert len(card.calorimeter.layer_depth_mm) == 78
    assert read_card(tmp_path / "model.onnx").domain.pdg == (211,)
    generator = Generator(tmp_path / "model.onnx", ild, seed=1, batch=8)
    result = generator.simulate(shoot(8, (300.0, 1804.8, 400.0), (0.0, 1.0, 0.0)))
    assert result.simulated.mean() > 0.5
    names = np.array([d.name for d in ild.detectors])[result.detector]
    assert set(names) == {"EcalBarrel", "HcalBarrel"}
    assert abs(result.account().imbalance_gev) < 1e-6 * max(1.0, result.account().generated_gev)


# ----------------------------------------------------------------------------------------------------------- placement


def shoot(number: int, position_mm: tuple[float, ...], direction: tuple[float, ...]) -> IncidentParticles:
    unit = np.array(direction) / np.linalg.norm(direction)
    return IncidentParticles(
        pdg=np.full(number, 211, np.int32),
        energy_gev=np.full(number, 50.0),
        position_mm=np.tile(np.array(position_mm), (number, 1)),
        direction=np.tile(unit, (number, 1)),
        time_ns=np.full(number, 6.0),
        event=np.arange(number, dtype=np.uint64),
        particle=np.zeros(number, np.uint32),
    )


@pytest.mark.parametrize(
    ("position", "direction", "axis", "detectors", "hcal_mm"),
    [
        # first scintillator of the HCAL behind the face of the ECAL: barrel 2082.5 - 1804.8, endcap 2674.5 - 2411.8
        ((300.0, 1804.8, 400.0), (0.0, 1.0, 0.0), 1, ("EcalBarrel", "HcalBarrel"), 277.7),
        ((800.0, 700.0, 2411.8), (0.0, 0.0, 1.0), 2, ("EcalEndcap", "HcalEndcap"), 262.7),
        ((900.0, 700.0, 2411.8), (0.05, 0.2, 1.0), 2, ("EcalEndcap", "HcalEndcap"), 262.7),
    ],
)
def test_every_layer_goes_to_its_plane(
    position: tuple[float, ...],
    direction: tuple[float, ...],
    axis: int,
    detectors: tuple[str, str],
    hcal_mm: float,
    toy_model: Any,
    ild: Any,
) -> None:
    calorimeter = {**card_for(constant_spots()).calorimeter.model_dump(), **BOTH.calorimeter().model_dump()}
    domain = {"pdg": [211], "energy_gev": [1.0, 100.0], "theta_deg": [0.0, 60.0]}
    generator = Generator(toy_model(card={"calorimeter": calorimeter, "domain": domain}), ild, seed=1, batch=1)
    slope = np.array(direction[:2]) / direction[2] if axis == 2 else np.zeros(2)
    depth = np.array(BOTH.layer_depth_mm)
    # spots on the axis, as the model has the layers
    spots = np.column_stack([np.outer(depth, slope), np.arange(78), np.full(78, 1e-3)]).astype(np.float32)
    result = generator.place(shoot(1, position, direction), spots, np.array([78]))
    assert len(result.cell_id) == 78
    assert result.account().placed_gev == pytest.approx(0.078)
    assert [d.name for d in (ild.detectors[i] for i in result.detector)] == 30 * [detectors[0]] + 48 * [detectors[1]]
    truth = np.concatenate([depth[:30], hcal_mm + 26.5 * np.arange(48)])
    placed = result.spot_position_mm - np.array(position)
    np.testing.assert_allclose(placed[:, axis], truth, atol=0.01)
    # where the real plane is less deep than the model's, the spot is still on the axis
    for other in {0, 1, 2} - {axis}:
        np.testing.assert_allclose(placed[:, other], truth * direction[other] / direction[axis], atol=0.02)
    layer = ild.surfaces.cell_centres(result.cell_id)[:, axis]
    np.testing.assert_allclose(layer - position[axis], truth, atol=0.01)


def test_pions_go_to_the_model_of_the_face_they_reach(toy_model: Any, ild: Any) -> None:
    """Of models of both, of the HCAL alone and of photons in the ECAL."""
    generators = {}
    for name in ("ECAL+HCAL", "HCAL", "ECAL"):
        card = card_for(constant_spots()).model_dump()
        calorimeter = {**card["calorimeter"], **find_stack(name).calorimeter().model_dump()}
        domain = {"pdg": [22 if name == "ECAL" else 211], "energy_gev": [10.0, 100.0], "theta_deg": [0.0, 1.0]}
        path = toy_model(row=(0.0, 0.0, 2.0, 0.5), card={"calorimeter": calorimeter, "domain": domain})
        generators[name] = Generator(path, ild, seed=1)
    faces = {
        "ECAL+HCAL": (((300.0, 1804.8, 400.0), (0.0, 1.0, 0.0)), ((800.0, 700.0, 2411.8), (0.0, 0.0, 1.0))),
        "HCAL": (((300.0, 2058.0, 400.0), (0.0, 1.0, 0.0)), ((800.0, 700.0, 2650.0), (0.0, 0.0, 1.0))),
    }
    for place, entries in faces.items():
        for position, direction in entries:
            pion = shoot(1, position, direction)
            found = [name for name in ("ECAL+HCAL", "HCAL", "ECAL") if generators[name].simulate(pion).guard[0] == 0]
            assert found[0] == place
            if place == "HCAL":
                assert found == ["HCAL"]
    # from the front both at once, that of the ECAL first
    simulator = Simulator([generators["ECAL"], generators["ECAL+HCAL"], generators["HCAL"]])
    for number, (place, theta) in enumerate((("1800,100,300", "90"), ("800,700,2400", "0"))):
        gun = {"particle": "pi+", "energy_gev": "50", "theta_deg": theta, "phi_deg": "0", "position_mm": place}
        (event,) = simulator.simulate(ParticleGun(GunConfig.parse(**gun), seed=1).events(1))
        (name,) = (n for n, hits in event.calorimeter_hits.items() if len(hits.energy_gev))
        assert name.startswith(("ECalBarrel", "ECalEndcap")[number])
