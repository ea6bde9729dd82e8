# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Showers handed out before placement are those that the whole chain places."""

from __future__ import annotations

import numpy as np
import pytest
from ddcalogen.cli.bench import barrel_particles
from ddcalogen.engine import Generator
from ddcalogen.errors import InputError
from ddcalogen.geometry import Geometry
from ddcalogen.models import DEFAULT_MODEL, find_model


def test_generated_and_then_placed_is_simulated(ild: Geometry) -> None:
    generator = Generator(find_model(DEFAULT_MODEL), ild, seed=11, batch=5)
    particles = barrel_particles(12, 3, (5.0, 60.0))
    simulated = generator.simulate(particles)
    particles = particles.take(np.flatnonzero(simulated.simulated))
    simulated = generator.simulate(particles)
    entries = [
        generator.stacks.find_entry(p.tolist(), d.tolist())
        for p, d in zip(particles.position_mm, particles.direction, strict=True)
    ]
    made = generator.generate(
        particles.energy_gev, np.array([e["direction"] for e in entries]), particles.pdg, particles.event
    )
    assert (made.status == 0).all()
    placed = generator.place(particles, made.values, made.counts)
    assert len(particles) > 5
    assert np.array_equal(placed.cell_id, simulated.cell_id)
    assert np.array_equal(placed.energy_gev, simulated.energy_gev)


def test_wrong_shapes_are_refused(ild: Geometry) -> None:
    generator = Generator(find_model(DEFAULT_MODEL), ild)
    with pytest.raises(InputError, match="direction"):
        generator.generate(np.ones(2), np.ones((3, 3)), np.full(2, 22, np.int32))
