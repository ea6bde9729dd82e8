# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training data from EDM4hep files: frames, sub-cells, what cannot be converted."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ddcalogen import _core
from ddcalogen.edm4hep import CalorimeterHits, Contributions, Event, MCParticles, Writer
from ddcalogen.errors import ConfigurationError, InputError
from ddcalogen.training.convert import ECAL, HCAL, Stack, convert, join, read_slab, write_slab
from ddcalogen.training.data import ShowerFile, Showers
from test_cli import run

ENCODING = "system:8,layer:6,x:32:-16,y:-16"
COARSE = Stack("ecal", "EcalStackHits", 5.0)
MASS_GEV = 0.13957
NUMBER = 5


@pytest.fixture(scope="module", autouse=True)
def root() -> None:
    pytest.importorskip("ROOT")


def shower(rng: np.random.Generator, number: int, *, steps: bool = True, entry_mm: tuple[float, float]) -> Event:
    """A pion of 3 GeV, 200 steps, each a hit of its own; cells of 5 mm around the detector's origin."""
    n = 200
    step = np.column_stack([rng.normal(entry_mm[0], 20, n), rng.normal(entry_mm[1], 20, n), rng.uniform(1, 200, n)])
    cell = np.rint(step[:, :2] / 5.0)
    encoding = _core.CellIDEncoding(ENCODING)
    layer = rng.integers(0, 30, n)
    ids = [
        encoding.encode({"system": 20, "layer": int(a), "x": int(x), "y": int(y)})
        for a, (x, y) in zip(layer, cell, strict=True)
    ]
    energy = rng.exponential(1e-3, n)
    direction = np.array([0.3, -0.2, 0.8])
    direction /= np.linalg.norm(direction)
    vertex = np.array([*entry_mm, 0.0]) - direction * 10.0
    hits = CalorimeterHits(
        cell_id=np.array(ids, np.uint64),
        energy_gev=energy,
        position_mm=np.column_stack([5.0 * cell, step[:, 2]]),
        contribution_offsets=np.arange(n + 1),
        contributions=Contributions(
            particle=np.zeros(n, np.int32),
            pdg=np.full(n, 211),
            energy_gev=energy,
            time_ns=np.ones(n),
            step_position_mm=step if steps else np.zeros((n, 3)),
            step_length_mm=np.ones(n),
        ),
    )
    particles = MCParticles.create(
        pdg=[211], momentum_gev=3.0 * direction[None], mass_gev=[MASS_GEV], vertex_mm=vertex[None]
    )
    return Event(event_number=number, particles=particles, calorimeter_hits={"EcalStackHits": hits})


def write(path: Path, events: list[Event], name: str = "EcalStackHits") -> Path:
    with Writer(path, {name: ENCODING}, layout="current") as writer:
        for event in events:
            writer.write(event)
    return path


def make(folder: Path, **options: bool) -> tuple[Path, list[Event]]:
    rng = np.random.default_rng(5)
    events = [shower(rng, i, entry_mm=(7.0 * i, -3.0), **options) for i in range(NUMBER)]
    return write(folder / "ddsim.edm4hep.root", events), events


def points(showers: Showers, i: int) -> slice:
    return slice(int(showers.offsets[i]), int(showers.offsets[i + 1]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Event]]:
    return make(tmp_path_factory.mktemp("convert"))


def test_particles_are_given_in_the_shower_frame(made: tuple[Path, list[Event]]) -> None:
    angle = 0.7
    table = read_slab([made[0]], stacks=(COARSE,), grid_rotation_rad=angle)
    assert (table.pdg == 211).all()
    np.testing.assert_allclose(table.energy_gev, np.hypot(3.0, MASS_GEV) - MASS_GEV, rtol=1e-6)  # kinetic
    axis = made[1][0].particles.momentum_gev[0] / 3.0
    # the angle to the normal stays, the azimuth grows
    np.testing.assert_allclose(table.direction[:, 2], axis[2], rtol=1e-6)
    phi = np.arctan2(table.direction[:, 1], table.direction[:, 0]) - np.arctan2(axis[1], axis[0])
    np.testing.assert_allclose(np.cos(phi), np.cos(angle), rtol=1e-6)
    np.testing.assert_allclose(np.sin(phi), np.sin(angle), rtol=1e-6)


@pytest.mark.parametrize("pitch_mm", [1.0, 4.0])
def test_steps_land_in_their_sub_cells(made: tuple[Path, list[Event]], tmp_path: Path, pitch_mm: float) -> None:
    angle = 0.7
    stack = COARSE._replace(pitch_mm=pitch_mm)
    write_slab(read_slab([made[0]], stacks=(stack,), grid_rotation_rad=angle, steps=True), tmp_path / "s.h5")
    showers = ShowerFile(tmp_path / "s.h5").read(0, NUMBER)
    for i, event in enumerate(made[1]):
        mine = points(showers, i)
        x, y, layer = showers.x_mm[mine], showers.y_mm[mine], showers.layer[mine]
        assert len({*zip(x.tolist(), y.tolist(), layer.tolist(), strict=True)}) == len(x)  # each sub-cell once
        hits = event.calorimeter_hits["EcalStackHits"]
        assert showers.point_energy_gev[mine].sum() == pytest.approx(hits.energy_gev.sum(), rel=1e-3)
        # every step is in a sub-cell of its layer: at most half a pitch away along each axis of the grid
        step = hits.contributions.step_position_mm[:, :2] - [7.0 * i, -3.0]
        step_layer = _core.CellIDEncoding(ENCODING).get_array(hits.cell_id, "layer")
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        for (su, sv), number in zip(step, step_layer, strict=True):
            near = (layer == number) & (np.abs(u - su) < pitch_mm / 2 + 1e-3) & (np.abs(v - sv) < pitch_mm / 2 + 1e-3)
            assert near.any()


def test_cells_serve_where_they_are_the_sub_cells(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    event = shower(rng, 0, entry_mm=(0.0, 0.0), steps=False)
    path = write(tmp_path / "cells.edm4hep.root", [event])
    table = read_slab([path], stacks=(COARSE,))
    hits = event.calorimeter_hits["EcalStackHits"]
    fields = [_core.CellIDEncoding(ENCODING).get_array(hits.cell_id, f) for f in ("layer", "x", "y")]
    expected: dict[tuple[int, ...], float] = {}
    for *key, energy in zip(*fields, hits.energy_gev, strict=True):
        where = tuple(map(int, key))
        expected[where] = expected.get(where, 0.0) + 1e3 * float(energy)
    p = table.points["ecal"]
    found = {(int(a), int(x), int(y)): float(e) for a, x, y, e in zip(p.layer, p.ix, p.iy, p.energy_mev, strict=True)}
    assert found.keys() == {k for k, e in expected.items() if e > 1e-7}
    for key, energy in found.items():
        assert energy == pytest.approx(expected[key], rel=1e-3)
    with pytest.raises(InputError, match="no positions of steps"):
        read_slab([path], stacks=(COARSE,), steps=True)


def test_both_layouts_hold_the_same(made: tuple[Path, list[Event]], tmp_path: Path) -> None:
    pytest.importorskip("showerdata")
    assert convert([made[0]], tmp_path / "a.h5", stacks=(COARSE,)) == NUMBER
    assert convert([made[0]], tmp_path / "b.h5", stacks=(COARSE,), layout="showerdata") == NUMBER
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "b.h5"]
    slab, other = (ShowerFile(tmp_path / f"{n}.h5") for n in "ab")
    assert (slab.layout, other.layout) == ("slab", "showerdata")
    a, b = slab.read(0, NUMBER), other.read(0, NUMBER)
    for name in ("energy_gev", "direction", "pdg", "offsets", "x_mm", "y_mm", "layer", "point_energy_gev"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_two_calorimeters_in_one_showerdata_file(made: tuple[Path, list[Event]], tmp_path: Path) -> None:
    pytest.importorskip("showerdata")
    stacks = (COARSE, HCAL._replace(collection=COARSE.collection))
    assert convert([made[0]], tmp_path / "both.h5", stacks=stacks, layout="showerdata") == NUMBER
    convert([made[0]], tmp_path / "slab.h5", stacks=stacks)
    both, slab = (ShowerFile(tmp_path / f"{n}.h5", "ecal+hcal").read(0, NUMBER) for n in ("both", "slab"))
    np.testing.assert_array_equal(both.layer_energy_gev(78), slab.layer_energy_gev(78))
    assert slab.layer.max() >= 30


def test_command_and_join(made: tuple[Path, list[Event]], tmp_path: Path) -> None:
    out = tmp_path / "one.h5"
    options = ("--pitch-mm", 5.0, "--source", "made for a test")
    result = run("data", "convert", made[0], made[0], "-o", out, *options)
    assert result.returncode == 0, result.stderr
    assert f"{2 * NUMBER} showers" in result.stdout
    with h5py.File(out) as file:
        assert file.attrs["source"] == "made for a test"
        assert file["ecal"].attrs["grid_rotation_rad"] == np.pi / 8
    both = tmp_path / "both.h5"
    result = run("data", "join", out, out, "-o", both)
    assert result.returncode == 0, result.stderr
    joined, single = ShowerFile(both), ShowerFile(out)
    assert len(joined) == 4 * NUMBER
    a, b = joined.read(2 * NUMBER, 4 * NUMBER), single.read(0, 2 * NUMBER)
    np.testing.assert_array_equal(a.x_mm, b.x_mm)
    np.testing.assert_array_equal(a.point_energy_gev, b.point_energy_gev)
    other = tmp_path / "other.h5"
    convert([made[0]], other, stacks=(COARSE,))
    with pytest.raises(InputError, match="different kinds"):
        join([out, other], both)
    for wrong in (["--calorimeter", "muon"], ["--layout", "root"], ["--pitch-mm", 1.0, "--pitch-mm", 2.0]):
        result = run("data", "convert", made[0], "-o", out, *wrong)
        assert result.returncode == 1
        assert "error" in result.stderr


def test_what_cannot_be_converted_is_told(made: tuple[Path, list[Event]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no hits of the hcal stack"):
        read_slab([made[0]], stacks=(HCAL,))
    with pytest.raises(ConfigurationError, match="no file"):
        read_slab([])
    with pytest.raises(ConfigurationError, match="holds one calorimeter"):
        convert([made[0]], tmp_path / "x.h5", stacks=(HCAL, ECAL), layout="showerdata")
    with pytest.raises(InputError, match="does not fly towards the front face"):
        read_slab([made[0]], stacks=(COARSE,), face_z_mm=-100.0)
    with pytest.raises(InputError, match="outside of what shower files can hold"):
        read_slab([made[0]], stacks=(COARSE._replace(pitch_mm=1e-4),))
    with pytest.raises(InputError, match="no incident particle"):
        read_slab([write(tmp_path / "none.edm4hep.root", [Event(event_number=1)])], stacks=(COARSE,))
    assert not (tmp_path / "x.h5").exists()
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match="no packed slab file"):
        join([tmp_path / "foreign.h5"], tmp_path / "y.h5")
