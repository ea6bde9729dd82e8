# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""HepMC3 input: agreement with the HepMC3 library on the shipped events, units, compression, damaged files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyhepmc
import pytest
from ddcalogen.errors import DDCaloGenError, InputError
from ddcalogen.sources import STABLE, GeneratorEvent, read_hepmc3, transport
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SHIPPED = Path(__file__).resolve().parents[3] / "events" / "zh_250GeV_100.hepmc3.gz"
HEAD = "HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n"
FOOT = "HepMC::Asciiv3-END_EVENT_LISTING\n"
EVENT = """E 7 2 5
U GEV MM
W 0.5 2.0
P 1 0 11 0 0 5 5 0 4
P 2 0 -11 0 0 -5 5 0 4
V -1 0 [1,2] @ 0.1 0.2 0.3 0.6
P 3 -1 111 0 0 3 3.003 0.13498 2
P 4 3 22 0 0 3 3 0 1
P 5 3 22 0 0 0.003 0.003 0 1
"""


def write(path: Path, body: str) -> Path:
    path.write_text(HEAD + body + FOOT)
    return path


def read_text(tmp_path: Path, body: str) -> list[GeneratorEvent]:
    return list(read_hepmc3(write(tmp_path / "events.hepmc3", body)))


def failure(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_hepmc3(path))
    assert str(path) in str(caught.value)
    return str(caught.value)


# -------------------------------------------------------------------------------------------------- shipped events


def test_shipped_events_are_what_the_library_reads() -> None:
    with pyhepmc.open(SHIPPED) as file:
        for ours, theirs in zip(read_hepmc3(SHIPPED), file, strict=True):
            expected = sorted(theirs.particles, key=lambda particle: particle.id)
            assert ours.event_number == theirs.event_number
            assert ours.weight == 1.0
            particles = ours.particles
            assert list(particles.pdg) == [p.pid for p in expected]
            assert list(particles.generator_status) == [p.status for p in expected]
            momenta = [(p.momentum.px, p.momentum.py, p.momentum.pz) for p in expected]
            np.testing.assert_array_equal(particles.momentum_gev, momenta)
            masses = np.array([p.generated_mass for p in expected])
            np.testing.assert_allclose(particles.mass_gev, masses, atol=1e-3, rtol=0)
            for i, particle in enumerate(expected):
                assert sorted(particles.parents[i]) == sorted(parent.id - 1 for parent in particle.parents)
                assert sorted(particles.daughters[i]) == sorted(child.id - 1 for child in particle.children)
                at = particle.production_vertex.position if particle.production_vertex else theirs.event_pos
                np.testing.assert_allclose(particles.vertex_mm[i], (at.x, at.y, at.z), rtol=1e-12)
                assert particles.time_ns[i] == pytest.approx(at.t / 299.792458, rel=1e-6)
                end = particle.end_vertex.position if particle.end_vertex else at
                np.testing.assert_allclose(particles.endpoint_mm[i], (end.x, end.y, end.z), rtol=1e-12)


def test_shipped_events_are_zh_at_250_gev() -> None:
    events = list(read_hepmc3(SHIPPED))
    assert [event.event_number for event in events] == list(range(100))
    recoil, charged, to_b = [], [], 0
    for event in events:
        p = event.particles
        stable = p.generator_status == STABLE
        assert p.energy_gev[stable].sum() == pytest.approx(250.0, abs=1e-4)
        np.testing.assert_allclose(p.momentum_gev[stable].sum(axis=0), 0.0, atol=1e-4)
        assert p.charge[stable].sum() == 0.0
        higgs, z = (int(np.flatnonzero(p.pdg == code)[0]) for code in (25, 23))
        assert p.mass_gev[higgs] == pytest.approx(125.0, abs=0.2)
        energy = 250.0 - p.energy_gev[z]
        recoil.append(np.sqrt(max(0.0, energy**2 - (p.momentum_gev[z] ** 2).sum())))
        charged.append(np.count_nonzero(p.charge[stable]))
        last = np.flatnonzero(p.pdg == 25)[-1]
        to_b += bool(np.any(np.abs(p.pdg[p.daughters[last]]) == 5))
    assert abs(np.median(recoil) - 125.0) < 1.0  # initial state radiation makes the tail above
    assert abs(np.mean(charged) - 38.7) < 4.5  # 38.66 +- 0.22 in 5000 events of the same generator, 15 wide
    assert abs(to_b - 58) < 20  # branching ratio of H -> b bbar 58 %


def test_shipped_events_reach_the_calorimeters(ecal: Any) -> None:
    entered = stable = 0
    for event in read_hepmc3(SHIPPED):
        entries = transport(event, ecal)
        entered += int(entries.entered.sum())
        stable += len(entries)
    assert 0.8 < entered / stable < 0.95


# ----------------------------------------------------------------------------------------------------- small files


def test_small_event(tmp_path: Path) -> None:
    (event,) = read_text(tmp_path, EVENT)
    p = event.particles
    assert (event.event_number, event.weight, list(event.weights)) == (7, 0.5, [2.0])
    assert list(p.pdg) == [11, -11, 111, 22, 22]
    assert list(p.charge) == [-1.0, 1.0, 0.0, 0.0, 0.0]
    assert [list(parents) for parents in p.parents] == [[], [], [0, 1], [2], [2]]
    assert [list(daughters) for daughters in p.daughters] == [[2], [2], [3, 4], [], []]
    np.testing.assert_array_equal(p.vertex_mm[:2], 0.0)
    np.testing.assert_allclose(p.vertex_mm[2:], [[0.1, 0.2, 0.3]] * 3)  # the decay has no position of its own
    np.testing.assert_allclose(p.time_ns[2:], 0.6 / 299.792458)
    np.testing.assert_allclose(p.endpoint_mm[0], [0.1, 0.2, 0.3])


def test_units_become_ours(tmp_path: Path) -> None:
    body = EVENT.replace("U GEV MM", "U MEV CM")
    small, large = (read_text(tmp_path, text)[0].particles for text in (body, EVENT))
    np.testing.assert_allclose(small.momentum_gev, large.momentum_gev * 1e-3)
    np.testing.assert_allclose(small.mass_gev, large.mass_gev * 1e-3)
    np.testing.assert_allclose(small.vertex_mm, large.vertex_mm * 10.0)
    np.testing.assert_allclose(small.time_ns, large.time_ns * 10.0)


def test_position_of_the_event(tmp_path: Path) -> None:
    shifted = EVENT.replace("E 7 2 5", "E 7 2 5 @ 1 2 3 4").replace(" @ 0.1 0.2 0.3 0.6", "")
    (event,) = read_text(tmp_path, shifted)
    np.testing.assert_array_equal(event.particles.vertex_mm, [[1.0, 2.0, 3.0]] * 5)


def test_event_without_particles_and_negative_rounding(tmp_path: Path) -> None:
    body = "E 1 0 0\nU GEV MM\nE 2 0 2\nU GEV MM\nP 1 0 22 1 0 0 1 -1e-7 1\nP 2 0 21 1 0 0 1 -5 3\n"
    empty, rounded = read_text(tmp_path, body)
    assert len(empty.particles) == 0
    assert list(rounded.particles.mass_gev) == [0.0, -5.0]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", None), ("", lambda raw: raw)],
)
def test_compressions(tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes] | None) -> None:
    if pack is None:
        pack = pytest.importorskip("backports.zstd").compress
    path = tmp_path / f"events.hepmc3{suffix}"
    packed = pack((HEAD + EVENT * 50 + FOOT).encode())
    path.write_bytes(packed)
    assert len(list(read_hepmc3(path))) == 50
    path.write_bytes(packed[: len(packed) // 2])
    assert "cannot read" in failure(path) or "truncated" in failure(path) or "malformed" in failure(path)
    path.rename(tmp_path / "any_name")  # the content tells the compression, not the name
    assert "any_name" in failure(tmp_path / "any_name")


def test_listings_in_a_row_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "two.hepmc3"
    path.write_text((HEAD + EVENT + FOOT) * 2)
    assert len(list(read_hepmc3(path))) == 2
    path.write_bytes((HEAD + EVENT + FOOT).replace("\n", "\r\n").encode())
    assert len(list(read_hepmc3(path))) == 1


def test_files_of_the_library(tmp_path: Path) -> None:
    """With names of weights, tools and attributes in the run header."""
    path = tmp_path / "library.hepmc3"
    run = pyhepmc.GenRunInfo()
    run.weight_names = ["nominal", "up"]
    run.tools = [("Generator", "1.0", "two\nlines | bar")]
    event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    event.run_info = run
    event.event_number = 3
    event.weights = [1.5, 2.5]
    vertex = pyhepmc.GenVertex(pyhepmc.FourVector(0, 0, 1, 2))
    vertex.add_particle_in(pyhepmc.GenParticle(pyhepmc.FourVector(0, 0, 1, 1), 22, 4))
    vertex.add_particle_out(pyhepmc.GenParticle(pyhepmc.FourVector(0, 0, 1, 1), 22, 1))
    event.add_vertex(vertex)
    event.attributes["signal"] = "some text"
    with pyhepmc.open(path, "w") as file:
        file.write(event)
    (read,) = read_hepmc3(path)
    assert (read.event_number, read.weight, list(read.weights)) == (3, 1.5, [2.5])
    assert list(read.particles.generator_status) == [4, 1]


def test_reading_is_lazy(tmp_path: Path) -> None:
    events = read_hepmc3(write(tmp_path / "events.hepmc3", EVENT + EVENT.replace("P 5 3 22", "P 5 3 x")))
    assert next(events).event_number == 7
    with pytest.raises(InputError, match="line 20 "):
        next(events)


# ------------------------------------------------------------------------------------------------------- bad files


def test_missing_empty_and_foreign_files(tmp_path: Path) -> None:
    assert "No such file" in failure(tmp_path / "missing.hepmc3")
    assert "directory" in failure(tmp_path).lower()
    path = tmp_path / "file.hepmc3"
    path.write_bytes(b"")
    assert "is empty" in failure(path)
    path.write_text(HEAD + FOOT)
    assert "holds no event" in failure(path)
    path.write_text("HepMC::Version 2.06.09\nHepMC::IO_GenEvent-START_EVENT_LISTING\nE 0 0\n")
    assert "HepMC2" in failure(path)
    path.write_bytes(b"root" + bytes(range(256)) * 100)
    assert "not part of a HepMC3" in failure(path)
    path.write_bytes(b"\0" * 5_000_000)
    assert "too long" in failure(path)
    path.write_bytes(b"\x1f\x8b" + b"rubbish")
    assert "cannot read" in failure(path)


def test_truncation_at_every_line(tmp_path: Path) -> None:
    lines = (HEAD + EVENT + EVENT + FOOT).splitlines(keepends=True)
    for kept in range(len(lines)):
        path = tmp_path / "cut.hepmc3"
        path.write_text("".join(lines[:kept]))
        failure(path)
        path.write_text("".join(lines[:kept]) + lines[kept][:3])
        failure(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("E 7 2 5", "E 7 2 6", "5 particles; expected 6"),
        ("E 7 2 5", "E 7 3 5", "2 vertices; expected 3"),
        ("E 7 2 5", "E -1 2 5", "line 3"),
        ("E 7 2 5", "E 7 2", "line 3"),
        ("U GEV MM", "U GEV FM", "line 4"),
        ("P 3 -1 111", "P 3 -2 111", "missing vertices [-2]"),
        ("P 4 3 22", "P 4 4 22", "a reference to 4; expected -2 to 3"),
        ("P 4 3 22", "P 5 3 22", "particle 5; expected particle 4"),
        ("P 4 3 22 0 0 3 3", "P 4 3 22 0 0 nan 3", "line 10"),
        ("P 4 3 22 0 0 3 3", "P 4 3 22 0 0 0x3 3", "line 10"),
        ("P 4 3 22 0 0 3 3", "P 4 3 22 0 0 1e999 3", "not finite"),
        ("P 4 3 22", "P 4 3 999999999", "no valid PDG code"),
        ("V -1 0 [1,2]", "V -1 0 [1,9]", "a reference to 9"),
        ("V -1 0 [1,2]", "V -1 0 [1,1]", "a second end of particle 1"),
        ("V -1 0 [1,2]", "V -3 0 [1,2]", "vertex -3"),
        ("V -1 0 [1,2]", "V -1 0 [1,2,3]", "two ends of the particles [3]"),
        ("V -1 0 [1,2]", "V -1 0 [1,2", "line 8"),
        ("W 0.5 2.0", "W 0.5 two", "line 5"),
        ("W 0.5 2.0", "X", "line 5"),
        (HEAD, HEAD + "P 1 0 11 0 0 5 5 0 4\n", "a line E before it"),
    ],
)
def test_damage_is_located(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "damaged.hepmc3"
    text = HEAD + EVENT + FOOT
    assert old in text
    path.write_text(text.replace(old, new))
    assert message in failure(path)


def test_histories_that_are_large_or_have_loops(tmp_path: Path) -> None:
    count = 20_000
    chain = "".join(f"P {i} {i - 1} 22 0 0 1 1 0 {2 if i < count else 1}\n" for i in range(1, count + 1))
    (event,) = read_text(tmp_path, f"E 0 {count - 1} {count}\nU GEV MM\n{chain}")
    assert event.particles.parents.indices.size == count - 1
    loop = "E 0 2 2\nU GEV MM\nV -1 0 [2]\nP 1 -1 22 0 0 1 1 0 2\nV -2 0 [1]\nP 2 -2 22 0 0 1 1 0 2\n"
    (event,) = read_text(tmp_path, loop)
    assert [list(parents) for parents in event.particles.parents] == [[1], [0]]
    np.testing.assert_array_equal(event.particles.vertex_mm, 0.0)
    half = 8000
    incoming = ",".join(str(i) for i in range(1, half + 1))
    joint = "".join(f"P {i} 0 22 0 0 1 1 0 2\n" for i in range(1, half + 1)) + f"V -1 0 [{incoming}]\n"
    joint += "".join(f"P {i} -1 22 0 0 1 1 0 1\n" for i in range(half + 1, 2 * half + 1))
    path = write(tmp_path / "joint.hepmc3", f"E 0 1 {2 * half}\nU GEV MM\n{joint}")
    assert "too many parents" in failure(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutated_files_give_events_or_typed_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    with gzip.open(SHIPPED, "rt") as file:
        lines = [file.readline() for _ in range(150)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        i = rng.randrange(len(lines))
        fields = lines[i].split(" ")
        kind = rng.randrange(6)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            fields[rng.randrange(len(fields))] = rng.choice(
                ["-1", "0", "99999999", "nan", "x", "", "[1,2", "1e400", "[3]", str(rng.randrange(-60, 100))]
            )
            lines[i] = " ".join(fields)
        elif kind == 2:
            lines[i] = lines[i][: rng.randrange(len(lines[i]))]
        elif kind == 3:
            lines.insert(i, rng.choice(lines))
        elif kind == 4:
            lines[i] = rng.randbytes(30).decode("latin-1")
        else:
            lines = [*lines[:i], FOOT]
            break
    path = tmp_path / "mutated.hepmc3"
    path.write_text("".join(lines), encoding="latin-1")
    try:
        events = list(read_hepmc3(path))
    except DDCaloGenError as error:
        message = str(error)
    else:
        message = str(path)
        assert all(np.isfinite(event.particles.momentum_gev).all() for event in events)
    assert str(path) in message
