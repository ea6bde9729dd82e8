# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Transport to the calorimeter face, against Geant4, an integration of the equation of motion, and its symmetries."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ddcalogen.edm4hep import MCParticles, Reader, SimulatorStatus
from ddcalogen.errors import GeometryError, InputError
from ddcalogen.geometry import Geometry
from ddcalogen.sources import CalorimeterEntries, EntryStatus, GeneratorEvent, read_edm4hep, transport
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ild_ecal import BARREL, ECAL_FACES, ENDCAP, PLUG, detector
from scipy.integrate import solve_ivp

ELECTRON_GEV = 0.51099895e-3
PION_GEV = 0.13957039
LIGHT = 299.792458  # mm/ns
APOTHEM, HALF_Z, FRONT = 1804.8, 2350.0, 2411.8
OCTAGON = np.array([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)])


def event_of(**columns: Any) -> GeneratorEvent:
    return GeneratorEvent(event_number=0, particles=MCParticles.create(**columns))


def shoot(
    geometry: Geometry,
    momentum: npt.ArrayLike,
    *,
    charge: float = -1.0,
    pdg: int = 11,
    mass: float = ELECTRON_GEV,
    vertex: npt.ArrayLike = (0.0, 0.0, 0.0),
    time: float = 0.0,
    **options: Any,
) -> CalorimeterEntries:
    """One particle."""
    event = event_of(
        pdg=[pdg], momentum_gev=[momentum], mass_gev=[mass], charge=[charge], vertex_mm=[vertex], time_ns=[time]
    )
    return transport(event, geometry, **options)


def status_of(entries: CalorimeterEntries) -> EntryStatus:
    return EntryStatus(int(entries.status[0]))


def follow(
    momentum: npt.ArrayLike, charge: float, mass: float, vertex: npt.ArrayLike, tesla: float, times_ns: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions (mm) and momenta (GeV) at `times_ns`: Lorentz force in SI units, integrated step by step."""
    joule_per_gev, metre_per_second, elementary_charge = 1.602176634e-10, 299792458.0, 1.602176634e-19
    start = np.asarray(momentum, np.float64)
    energy = math.sqrt(float((start**2).sum()) + mass**2) * joule_per_gev
    inverse_mass = metre_per_second**2 / energy  # 1 / (gamma m), per kg
    field = np.array([0.0, 0.0, tesla])

    def force(_: float, state: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        velocity = state[3:] * joule_per_gev / metre_per_second * inverse_mass  # m/s
        change = charge * elementary_charge * np.cross(velocity, field)  # kg m / s^2
        return np.concatenate((velocity * 1e3, change / joule_per_gev * metre_per_second)) * 1e-9  # mm, GeV per ns

    times = np.asarray(times_ns, np.float64)
    initial = np.concatenate((np.asarray(vertex, np.float64), start))
    solution = solve_ivp(force, (0.0, float(times[-1])), initial, method="DOP853", t_eval=times, rtol=1e-13, atol=1e-13)
    assert solution.success
    return solution.y[:3].T, solution.y[3:].T


def outside_of_tracker(position: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Largest distance beyond one of the eight planes or the end planes, mm; negative inside."""
    radial = (position[:, :2] @ OCTAGON.T).max(axis=1) - APOTHEM
    return np.asarray(np.maximum(radial, np.abs(position[:, 2]) - FRONT))


momenta = st.tuples(
    st.floats(math.log(0.05), math.log(120.0)).map(math.exp),
    st.floats(-0.98, 0.98),
    st.floats(0.0, 2.0 * math.pi),
).map(
    lambda drawn: np.array(
        [
            drawn[0] * math.sqrt(1.0 - drawn[1] ** 2) * math.cos(drawn[2]),
            drawn[0] * math.sqrt(1.0 - drawn[1] ** 2) * math.sin(drawn[2]),
            drawn[0] * drawn[1],
        ]
    )
)
vertices = st.tuples(st.floats(-900.0, 900.0), st.floats(-900.0, 900.0), st.floats(-2200.0, 2200.0)).map(np.array)


# -------------------------------------------------------------------------------------------------------- Geant4

# Electrons and positrons from photon conversions of a ddsim simulation of ILD_l5_v02 with Geant4 11.4.0: PDG code,
# vertex (mm), momentum (GeV), time (ns), then position (mm) and time (ns) of the hit in the first SET layer, just
# before the ECAL face. Last: the allowed distance (mm), as material deflects them.
GEANT4_TRACKS = [
    (-11, (17.62948, 304.113675, 1.483755), (0.53604805, 9.23955807, 0.04588514), 1.016129,
     (228.0415, 1772.8, 9.156), 5.97143, 0.5),
    (11, (51.271283, 851.472854, 47.749407), (0.16665024, 2.77505258, 0.15516702), 2.849807,
     (-59.161, 1772.8, 99.9649), 5.96736, 4.0),
    (-11, (51.271283, 851.472854, 47.749407), (0.43546049, 7.1910314, 0.40574422), 2.849807,
     (170.1552, 1772.8, 100.0891), 5.95612, 0.5),
    (11, (-3.296572, 39.718625, 0.20407), (-0.75283879, 9.06521224, 0.04670881), 0.132944,
     (-321.156, 1749.2841, 10.2687), 5.94344, 2.0),
    (-11, (-2.190488, 39.242704, 2.486642), (-0.50850437, 9.09793854, 0.57644585), 0.131365,
     (74.448, 1772.8, 112.8054), 5.94121, 0.5),
]  # fmt: skip


@pytest.mark.parametrize("track", GEANT4_TRACKS)
def test_tracks_of_geant4_are_met(track: tuple[Any, ...]) -> None:
    pdg, vertex, momentum, start, hit, time, tolerance = track
    # A test detector whose first barrel plane holds the hit.
    normal = OCTAGON[(OCTAGON @ hit[:2]).argmax()]
    plane = dataclasses.replace(ECAL_FACES[BARREL], distance_mm=float(normal @ hit[:2]))
    entries = shoot(
        detector((plane, *ECAL_FACES[1:])),
        momentum,
        charge=-math.copysign(1.0, pdg),
        pdg=pdg,
        vertex=vertex,
        time=start,
    )
    assert status_of(entries) is EntryStatus.ENTERED
    assert np.linalg.norm(entries.position_mm[0] - hit) < tolerance
    assert abs(entries.time_ns[0] - time) < 0.01  # deflection and SET hit position along the step
    wrong = shoot(detector((plane, *ECAL_FACES[1:])), momentum, charge=math.copysign(1.0, pdg), pdg=-pdg, vertex=vertex)
    assert np.linalg.norm(wrong.position_mm[0] - hit) > 20.0 * tolerance  # the sign of the field matters


def test_photons_of_geant4_shower_where_they_enter(ecal: Geometry, shared_data: Path) -> None:
    path = shared_data / "ddsim_ild_l5_v02_gamma_50GeV.edm4hep.root"
    compared = 0
    with Reader(path, collections=("ECalBarrelSiHitsEven", "ECalBarrelSiHitsOdd")) as reader:
        for simulated, event in zip(reader, read_edm4hep(path), strict=True):
            assert not event.calorimeter_hits
            entries = transport(event, ecal)
            if event.particles.has_status(SimulatorStatus.DECAYED_IN_TRACKER)[0]:  # converted
                continue
            assert list(entries.pdg) == [22]
            assert entries.face[0] == BARREL
            assert list(entries.particle) == [0]
            endpoint = event.particles.endpoint_mm[0]
            along = (endpoint - entries.position_mm[0]) @ entries.direction[0]
            assert 0.0 < along < 230.0
            assert np.linalg.norm(entries.position_mm[0] + along * entries.direction[0] - endpoint) < 1e-3
            for hits in simulated.calorimeter_hits.values():
                centre = np.average(hits.position_mm, axis=0, weights=hits.energy_gev)
                offset = centre - entries.position_mm[0]
                assert np.linalg.norm(offset - (offset @ entries.direction[0]) * entries.direction[0]) < 5.0
            compared += 1
    assert compared >= 5


# ------------------------------------------------------------------------------------- the equation of motion itself


@settings(max_examples=60, deadline=None)
@given(
    momentum=momenta,
    vertex=vertices,
    charge=st.sampled_from([-2.0, -1.0, 0.0, 1.0]),
    mass=st.sampled_from([ELECTRON_GEV, 0.10565838, 0.93827209]),
    tesla=st.sampled_from([3.5, 2.0, -4.0]),
)
def test_entry_agrees_with_an_integration_of_the_motion(
    momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64], charge: float, mass: float, tesla: float
) -> None:
    entries = shoot(
        detector(tesla=tesla), momentum, charge=charge, pdg=11, mass=mass, vertex=vertex, time=3.0, max_path_mm=3e4
    )
    assume(status_of(entries) in (EntryStatus.ENTERED, EntryStatus.BEAM_HOLE, EntryStatus.GAP))
    times = np.linspace(0.0, entries.time_ns[0] - 3.0, 4000)
    positions, momenta_then = follow(momentum, charge, mass, vertex, tesla, times)
    np.testing.assert_allclose(entries.position_mm[0], positions[-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        entries.momentum_gev[0], momenta_then[-1], rtol=0, atol=1e-9 * float(np.linalg.norm(momentum))
    )
    step = entries.path_mm[0] / (len(times) - 1)
    before = outside_of_tracker(positions[:-1])
    if entries.face[0] == BARREL:  # nothing was met before
        assert before.max() < 1e-6
        assert abs(outside_of_tracker(positions[-1:])[0]) < 1e-6
    else:  # no barrel front was crossed before the end plane
        crossed = before > 1e-6
        assert not np.any(crossed & (np.abs(positions[:-1, 2]) < HALF_Z - step))
        assert abs(abs(positions[-1, 2]) - FRONT) < 1e-6


def test_curling_particles_give_up_or_meet_the_endcap(ecal: Geometry) -> None:
    curling = [0.2, 0.0, 0.02]  # radius 190 mm, many turns
    entries = shoot(ecal, curling, vertex=(500.0, 0.0, 0.0))
    assert status_of(entries) is EntryStatus.ENTERED
    assert entries.face[0] == ENDCAP
    p = np.linalg.norm(curling)
    assert entries.path_mm[0] == pytest.approx(FRONT * p / 0.02, rel=1e-12)
    assert np.hypot(*(entries.position_mm[0, :2] - (500.0, 190.6))) == pytest.approx(190.6, abs=0.1)
    limited = shoot(ecal, curling, vertex=(500.0, 0.0, 0.0), max_path_mm=0.9 * entries.path_mm[0])
    assert status_of(limited) is EntryStatus.CURLS
    assert np.isnan(limited.position_mm).all()
    assert np.isnan(limited.time_ns).all()
    assert limited.face[0] == limited.sector[0] == -1
    assert status_of(shoot(ecal, [0.2, 0.0, 0.0])) is EntryStatus.CURLS


# ----------------------------------------------------------------------------------------------------- properties


@settings(max_examples=200, deadline=None)
@given(momentum=momenta, vertex=vertices, charge=st.sampled_from([-1.0, 0.0, 1.0]))
def test_entry_is_on_the_face_and_energy_is_kept(
    momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64], charge: float
) -> None:
    entries = shoot(detector(), momentum, charge=charge, pdg=211, mass=PION_GEV, vertex=vertex)
    if not entries.entered[0]:
        assert entries.face[0] == -1
        return
    position, normal = entries.position_mm[0], entries.normal[0]
    assert np.linalg.norm(normal) == pytest.approx(1.0, abs=1e-12)
    if entries.face[0] == BARREL:
        assert position @ normal == pytest.approx(APOTHEM, abs=1e-8)
        assert abs(position[2]) <= HALF_Z
        np.testing.assert_allclose(normal[:2], OCTAGON[entries.sector[0]], atol=1e-12)
        assert outside_of_tracker(position[None])[0] < 1e-8
    else:
        assert position @ normal == pytest.approx(FRONT, abs=1e-9)
        assert entries.sector[0] == (position[2] < 0.0)
        if entries.face[0] == ENDCAP:
            assert (OCTAGON @ position[:2]).max() <= 2095.84
            assert np.abs(position[:2]).max() > 400.0
        else:
            assert np.abs(position[:2]).max() <= 390.0
            assert np.hypot(position[0] - math.tan(7e-3) * 2523.4, position[1]) > 250.0
    assert entries.cos_angle[0] > 0.0
    assert entries.cos_angle[0] == pytest.approx(entries.direction[0] @ normal, abs=1e-12)
    p = np.linalg.norm(momentum)
    assert np.linalg.norm(entries.momentum_gev[0]) == pytest.approx(p, rel=1e-12)
    assert entries.momentum_gev[0, 2] == pytest.approx(momentum[2], rel=1e-12)
    assert entries.kinetic_energy_gev[0] == pytest.approx(math.hypot(p, PION_GEV) - PION_GEV, rel=1e-9)
    beta = p / math.hypot(p, PION_GEV)
    assert entries.time_ns[0] == pytest.approx(entries.path_mm[0] / (beta * LIGHT), rel=1e-12)
    assert entries.path_mm[0] >= np.linalg.norm(position - vertex) * (1.0 - 1e-12)


@settings(max_examples=100, deadline=None)
@given(momentum=momenta, vertex=vertices)
def test_neutral_particles_fly_straight(momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64]) -> None:
    entries = shoot(detector(), momentum, charge=0.0, pdg=22, mass=0.0, vertex=vertex, time=1.5)
    assume(entries.entered[0])
    unit = momentum / np.linalg.norm(momentum)
    with np.errstate(divide="ignore", over="ignore"):
        planes = (APOTHEM - OCTAGON @ vertex[:2]) / (OCTAGON @ unit[:2])
        end = (math.copysign(FRONT, unit[2]) - vertex[2]) / unit[2]
    reach = min(planes[planes > 0.0].min(), end)
    if abs(vertex[2] + reach * unit[2]) > HALF_Z:
        reach = end
    np.testing.assert_allclose(entries.position_mm[0], vertex + reach * unit, atol=1e-8)
    np.testing.assert_allclose(entries.direction[0], unit, atol=1e-14)
    assert entries.time_ns[0] == pytest.approx(1.5 + reach / LIGHT, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(momentum=momenta, exponent=st.integers(3, 18))
def test_stiff_tracks_approach_the_straight_line(momentum: npt.NDArray[np.float64], exponent: int) -> None:
    stiff = momentum / np.linalg.norm(momentum) * 10.0**exponent
    bent, straight = (shoot(detector(), stiff, charge=charge, pdg=13) for charge in (-1.0, 0.0))
    assume(bent.entered[0] and straight.entered[0] and bent.face[0] == straight.face[0])
    assume(straight.cos_angle[0] > 0.1 and bent.sector[0] == straight.sector[0])
    sagitta = straight.path_mm[0] ** 2 * 0.3e-3 * 3.5 / 10.0**exponent
    np.testing.assert_allclose(bent.position_mm[0], straight.position_mm[0], rtol=0, atol=10.0 * sagitta + 1e-8)


@settings(max_examples=100, deadline=None)
@given(momentum=momenta, vertex=vertices)
def test_charge_conjugation_mirrors(momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64]) -> None:
    flip = np.array([1.0, -1.0, 1.0])
    electron = shoot(detector(), momentum, vertex=vertex)
    positron = shoot(detector(), momentum * flip, vertex=vertex * flip, charge=1.0, pdg=-11)
    reversed_field = shoot(detector(tesla=-3.5), momentum, vertex=vertex, charge=1.0, pdg=-11)
    assert status_of(electron) is status_of(positron) is status_of(reversed_field)
    assert electron.face[0] == positron.face[0] == reversed_field.face[0]
    np.testing.assert_allclose(electron.position_mm * flip, positron.position_mm, atol=1e-7)
    np.testing.assert_array_equal(electron.position_mm, reversed_field.position_mm)


@settings(max_examples=100, deadline=None)
@given(momentum=momenta, vertex=vertices, charge=st.sampled_from([-1.0, 0.0, 1.0]), turns=st.integers(1, 7))
def test_octagon_symmetry(
    momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64], charge: float, turns: int
) -> None:
    angle = turns * math.pi / 4
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    faces = ECAL_FACES[:1]
    first = shoot(detector(faces), momentum, charge=charge, vertex=vertex)
    second = shoot(detector(faces), turn @ momentum, charge=charge, vertex=turn @ vertex)
    assume(first.entered[0])
    assume(HALF_Z - abs(first.position_mm[0, 2]) > 1e-6)
    np.testing.assert_allclose(turn @ first.position_mm[0], second.position_mm[0], atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(momentum=momenta, vertex=vertices, charge=st.sampled_from([-1.0, 1.0]))
def test_the_way_back_leads_to_the_vertex(
    momentum: npt.NDArray[np.float64], vertex: npt.NDArray[np.float64], charge: float
) -> None:
    there = shoot(detector(), momentum, charge=charge, vertex=vertex, max_path_mm=2e4)
    assume(there.entered[0])
    back, momenta_then = follow(
        -there.momentum_gev[0], -charge, ELECTRON_GEV, there.position_mm[0], 3.5, np.linspace(0.0, there.time_ns[0], 3)
    )
    np.testing.assert_allclose(back[-1], vertex, atol=1e-5)
    np.testing.assert_allclose(momenta_then[-1], -momentum, atol=1e-8 * float(np.linalg.norm(momentum)))


@settings(max_examples=50, deadline=None)
@given(drawn=st.lists(st.tuples(momenta, vertices, st.sampled_from([-1.0, 0.0, 1.0])), min_size=2, max_size=6))
def test_particles_do_not_influence_each_other(drawn: list[tuple[Any, Any, float]]) -> None:
    geometry = detector()
    together = transport(
        event_of(
            pdg=[11] * len(drawn),
            momentum_gev=[momentum for momentum, _, _ in drawn],
            vertex_mm=[vertex for _, vertex, _ in drawn],
            charge=[charge for _, _, charge in drawn],
            mass_gev=[ELECTRON_GEV] * len(drawn),
        ),
        geometry,
    )
    for i, (momentum, vertex, charge) in enumerate(drawn):
        alone = shoot(geometry, momentum, vertex=vertex, charge=charge)
        for name in ("status", "face", "sector", "position_mm", "momentum_gev", "time_ns", "normal"):
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name)[0])


# -------------------------------------------------------------------------------------------------------- statuses


def test_face_by_direction(ecal: Geometry) -> None:
    at = {
        BARREL: [10.0, 1.0, 1.0],
        ENDCAP: [4.0, 1.0, -10.0],
        PLUG: [-1.35, 0.0, 10.0],
    }
    for face, momentum in at.items():
        entries = shoot(ecal, momentum, charge=0.0, pdg=22, mass=0.0)
        assert entries.face[0] == face
        assert entries.sector[0] == {BARREL: 0, ENDCAP: 1, PLUG: 0}[face]


def test_hole_follows_the_outgoing_beam(ecal: Geometry) -> None:
    """At 260 mm to +x the hole, centred at +17.7 mm, still is open; at -x the plug is met."""
    right, left = (shoot(ecal, [side * 260.0, 0.0, FRONT], charge=0.0, pdg=22, mass=0.0) for side in (1.0, -1.0))
    assert status_of(right) is EntryStatus.BEAM_HOLE
    assert np.isfinite(right.position_mm).all()
    assert np.isnan(right.normal).all()
    assert left.face[0] == PLUG


def test_slits_between_the_calorimeters(ecal: Geometry) -> None:
    slit = shoot(ecal, [395.0, 0.0, FRONT], charge=0.0, pdg=22, mass=0.0)
    assert status_of(slit) is EntryStatus.GAP
    assert slit.position_mm[0] == pytest.approx([395.0, 0.0, FRONT])
    behind_barrel = shoot(ecal, [2000.0, 0.0, 2380.0], charge=0.0, pdg=22, mass=0.0)  # passes z = 2350 inside, then
    assert status_of(behind_barrel) is EntryStatus.ENTERED  # ... the front of the endcap outside the barrel's bore
    through = shoot(ecal, [1.0, 0.0, 0.1], vertex=(1700.0, 0.0, 2380.0), charge=0.0, pdg=22, mass=0.0)
    assert status_of(through) is EntryStatus.ENTERED
    assert through.face[0] == ENDCAP
    lost = shoot(ecal, [1.0, 0.0, 0.03], vertex=(1700.0, 0.0, 2380.0), charge=0.0, pdg=22, mass=0.0)
    assert status_of(lost) is EntryStatus.GAP


def test_slit_at_the_end_of_the_barrel(ecal: Geometry) -> None:
    """A particle that leaves through it backwards, or along it, is lost there and not moved on through the barrel."""
    for slope in (-0.1, 1e-9):
        entries = shoot(ecal, [1.0, 0.0, slope], vertex=(1700.0, 0.0, 2380.0), charge=0.0, pdg=22, mass=0.0)
        assert status_of(entries) is EntryStatus.GAP
        assert entries.position_mm[0, 0] == pytest.approx(APOTHEM)


def test_hole_of_a_ring_leads_to_the_endcap_behind() -> None:
    """As in the HCAL: the ring in front is open where the endcap is; the beam leaves through the holes of both."""
    ring = dataclasses.replace(ECAL_FACES[ENDCAP], detector="Ring", r_inner_mm=1500.0, r_outer_mm=1800.0)
    behind = dataclasses.replace(ECAL_FACES[ENDCAP], distance_mm=2600.0, z_min_mm=2600.0, z_max_mm=2800.0)
    geometry = detector((ECAL_FACES[BARREL], ring, behind))
    for r, status, face in (
        (1700.0, EntryStatus.ENTERED, 1),
        (1000.0, EntryStatus.ENTERED, 2),
        (100.0, EntryStatus.BEAM_HOLE, -1),
    ):
        entries = shoot(geometry, [0.0, 0.0, 10.0], charge=0.0, pdg=22, mass=0.0, vertex=[r, 0.0, 0.0])
        assert status_of(entries) is status
        assert entries.face[0] == face


def test_end_faces_behind_the_first_are_tried_next() -> None:
    hcal = dataclasses.replace(
        ECAL_FACES[ENDCAP], detector="HcalEndcap", distance_mm=2650.0, r_inner_mm=350.0, r_outer_mm=3225.0, symmetry=16
    )
    entries = shoot(detector((*ECAL_FACES, hcal)), [395.0, 0.0, FRONT], charge=0.0, pdg=22, mass=0.0)
    assert entries.face[0] == 3
    assert entries.position_mm[0, 2] == pytest.approx(2650.0)


@pytest.mark.parametrize("pdg", [12, -14, 16, 1000022])
def test_invisible_particles(ecal: Geometry, pdg: int) -> None:
    entries = shoot(ecal, [1.0, 2.0, 2.0], charge=0.0, pdg=pdg, mass=0.0)
    assert status_of(entries) is EntryStatus.INVISIBLE
    assert entries.kinetic_energy_gev[0] == pytest.approx(3.0)
    assert np.isnan(entries.position_mm).all()


def test_particles_at_rest_and_behind_the_face(ecal: Geometry) -> None:
    at_rest = shoot(ecal, [0.0, 0.0, 0.0])
    assert status_of(at_rest) is EntryStatus.AT_REST
    assert at_rest.kinetic_energy_gev[0] == 0.0
    for vertex in ([1900.0, 0.0, 0.0], [0.0, 0.0, -2500.0], [0.0, 1804.9, 100.0]):
        entries = shoot(ecal, [-1.0, -1.0, 1.0], vertex=vertex)
        assert status_of(entries) is EntryStatus.OUTSIDE
        assert np.isnan(entries.path_mm[0])


def test_vertex_on_the_face(ecal: Geometry) -> None:
    inward = shoot(ecal, [1.0, 0.1, 0.2], vertex=(APOTHEM, 0.0, 100.0))
    assert inward.face[0] == BARREL
    assert inward.path_mm[0] == 0.0
    back = shoot(ecal, [-1.0, 0.0, 0.0], vertex=(APOTHEM, 0.0, 100.0), charge=0.0, pdg=22, mass=0.0)
    assert back.sector[0] == 4
    assert back.path_mm[0] == pytest.approx(2.0 * APOTHEM)
    end = shoot(ecal, [0.1, 0.1, -1.0], vertex=(600.0, 600.0, -FRONT))
    assert end.face[0] == ENDCAP
    assert end.path_mm[0] == 0.0


def test_particles_that_decay_on_the_way(ecal: Geometry) -> None:
    kaon: dict[str, Any] = {"charge": 0.0, "pdg": 310, "mass": 0.497611}  # c tau = 26.8 mm
    assert status_of(shoot(ecal, [5.0, 0.0, 0.0], **kaon)) is EntryStatus.DECAYS
    assert status_of(shoot(ecal, [60.0, 0.0, 0.0], **kaon)) is EntryStatus.ENTERED
    assert status_of(shoot(ecal, [5.0, 0.0, 0.0], charge=0.0, pdg=130, mass=0.497611)) is EntryStatus.ENTERED
    assert status_of(shoot(ecal, [5.0, 0.0, 0.0], charge=2.0, pdg=1000020040, mass=3.7274)) is EntryStatus.ENTERED


def test_only_stable_particles_are_moved(ecal: Geometry) -> None:
    entries = transport(
        event_of(
            pdg=[11, 22, 23, 22],
            momentum_gev=[[0, 0, 125], [1, 0, 0], [0, 5, 0], [0, 1, 0]],
            generator_status=[4, 1, 2, 1],
        ),
        ecal,
    )
    assert list(entries.particle) == [1, 3]
    assert len(transport(event_of(pdg=np.zeros(0, np.int32), momentum_gev=np.zeros((0, 3))), ecal)) == 0


def test_shipped_ild_has_these_faces(ild: Geometry) -> None:
    faces = {face.detector: face for face in ild.faces}
    rng = np.random.default_rng(5)
    momentum = rng.normal(size=(2000, 3)) * 3.0
    event = event_of(
        pdg=[11] * 2000, momentum_gev=momentum, charge=rng.choice([-1.0, 1.0], 2000), mass_gev=[ELECTRON_GEV] * 2000
    )
    names = [face.detector for face in ECAL_FACES]
    shipped, ours = transport(event, ild, detectors=names), transport(event, detector())
    np.testing.assert_array_equal(shipped.status, ours.status)
    np.testing.assert_allclose(shipped.position_mm, ours.position_mm, atol=1e-9)
    for face in ECAL_FACES:
        assert faces[face.detector].distance_mm == pytest.approx(face.distance_mm)
    whole = transport(event, ild)
    assert (whole.status == EntryStatus.ENTERED).sum() >= (ours.status == EntryStatus.ENTERED).sum()


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": [math.nan, 0.0, 1.0]},
        {"momentum": [math.inf, 0.0, 1.0]},
        {"momentum": [1.2e308, 1.2e308, 1.2e308]},
        {"mass": 1e200},
        {"vertex": [0.0, math.inf, 0.0]},
        {"time": math.nan},
        {"mass": -1.0},
        {"charge": math.nan},
    ],
)
def test_numbers_that_are_none(ecal: Geometry, change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"momentum": [1.0, 0.0, 0.0], **change}
    with pytest.raises(InputError, match="stable particle of event 0"):
        shoot(ecal, **arguments)


@settings(max_examples=200, deadline=None)
@given(
    momentum=st.tuples(*[st.floats(-1e29, 1e29)] * 3),
    vertex=st.tuples(*[st.floats(-1e10, 1e10)] * 3),
    charge=st.floats(-1e3, 1e3, width=32),
    mass=st.floats(0.0, 1e10),
)
def test_any_finite_particle_gets_a_status(
    momentum: tuple[float, ...], vertex: tuple[float, ...], charge: float, mass: float
) -> None:
    entries = shoot(detector(), momentum, vertex=vertex, charge=charge, mass=mass)
    assert status_of(entries) in EntryStatus
    if entries.entered[0]:
        assert np.isfinite(entries.position_mm).all()
        assert np.isfinite(entries.momentum_gev).all()


def test_unusable_geometries() -> None:
    with pytest.raises(GeometryError, match="no calorimeter face"):
        shoot(detector(()), [1.0, 0.0, 0.0])
    with pytest.raises(GeometryError, match="EcalBarrel"):
        shoot(detector(), [1.0, 0.0, 0.0], detectors=["NoSuch"])
    wide = dataclasses.replace(ECAL_FACES[BARREL], distance_mm=3400.0)
    with pytest.raises(GeometryError, match="not inside the solenoid"):
        shoot(detector((wide,)), [1.0, 0.0, 0.0])
    round_one = dataclasses.replace(ECAL_FACES[BARREL], symmetry=0)
    with pytest.raises(GeometryError, match="not a polygon"):
        shoot(detector((round_one,)), [1.0, 0.0, 0.0])


@pytest.mark.parametrize("kept", [(BARREL,), (ENDCAP, PLUG), (ENDCAP,)])
def test_part_of_a_detector(kept: tuple[int, ...]) -> None:
    geometry = detector()
    names = [ECAL_FACES[i].detector for i in kept]
    outward = shoot(geometry, [10.0, 0.0, 1.0], detectors=names, pdg=22, charge=0.0, mass=0.0)
    forward = shoot(geometry, [3.0, 0.0, 10.0], detectors=names, pdg=22, charge=0.0, mass=0.0)
    assert outward.face[0] == (BARREL if BARREL in kept else -1)
    assert forward.face[0] == (ENDCAP if ENDCAP in kept else -1)
