# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Calorimeter entries: particles that a simulation stopped at the calorimeter, to be replaced by showers later.

An entry is an `edm4hep::SimTrackerHit` of the collection `ENTRIES_COLLECTION`:

========== ========================================================================================================
cellID     `ENTRIES_ENCODING`: identity of the particle (Geant4's track number), on which the noise of its shower is
           keyed, and its PDG code
eDep       kinetic energy at the entry, GeV
time       time of the entry, ns
position   point of entry, global, mm
momentum   momentum there, GeV
particle   the MCParticle that stands for it (itself, or the ancestor that the simulation kept)
========== ========================================================================================================

The plugin for ddsim rounds a particle to the precision of these fields before it generates a shower, whether it writes
the entry or not, so that the shower is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep import TrackerHits
from ddcalogen.engine import IncidentParticles
from ddcalogen.errors import InputError
from ddcalogen.geometry import Geometry

__all__ = ["ENTRIES_COLLECTION", "ENTRIES_ENCODING", "cells_hashes", "entries_of", "incident_particles"]

ENTRIES_COLLECTION = "CaloGenEntries"
"""Name of the collection of entries."""

ENTRIES_ENCODING = "particle:0:32,pdg:32:-32"
"""Meaning of an entry's cellID, in DD4hep's notation."""


def incident_particles(entries: TrackerHits, event_number: int) -> IncidentParticles:
    """Entries of one event as particles for the generators.

    Raises
    ------
    InputError
        Two entries have the same identity: their showers would share their noise.
    """
    identity = (entries.cell_id & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    if len(np.unique(identity)) != len(identity):
        values, counts = np.unique(identity, return_counts=True)
        raise InputError(
            f"two calorimeter entries of event {event_number} have the same identity",
            found=f"particle {values[counts > 1][0]} {counts.max()} times",
            expected="each particle once",
            remedy="Fill the files before they are merged or overlaid.",
        )
    x, y, z = entries.momentum_gev.astype(np.float64).T
    # the same operations in the same order as in the plugin: the same bits
    with np.errstate(divide="ignore", invalid="ignore"):
        direction = (1.0 / np.sqrt(x * x + y * y + z * z)) * np.stack([x, y, z])
    return IncidentParticles(
        pdg=(entries.cell_id >> np.uint64(32)).astype(np.uint32).view(np.int32),
        energy_gev=entries.energy_gev.astype(np.float64),
        position_mm=entries.position_mm,
        direction=np.ascontiguousarray(direction.T),
        time_ns=entries.time_ns.astype(np.float64),
        event=np.full(len(entries), event_number, np.uint64),
        particle=identity,
    )


def entries_of(
    particles: IncidentParticles, momentum_gev: npt.NDArray[np.float64], link: npt.NDArray[np.int32]
) -> TrackerHits:
    """The entries that stand for particles.

    Parameters
    ----------
    particles
        N particles of one event.
    momentum_gev
        float64 [N,3].
    link
        int32 [N], index of the MCParticle, -1 for none.
    """
    pdg = particles.pdg.view(np.uint32).astype(np.uint64)
    number = len(particles)
    return TrackerHits(
        cell_id=pdg << np.uint64(32) | particles.particle.astype(np.uint64),
        energy_gev=particles.energy_gev.astype(np.float32),
        time_ns=particles.time_ns.astype(np.float32),
        path_length_mm=np.zeros(number, np.float32),
        quality=np.zeros(number, np.int32),
        position_mm=particles.position_mm,
        momentum_gev=momentum_gev.astype(np.float32),
        particle=link,
    )


def cells_hashes(geometry: Geometry, detectors: Iterable[str]) -> list[str]:
    """For each detector, "name:hash of its cells": the same for a loaded detector and for a snapshot made of it.

    Raises
    ------
    GeometryError
        There is no such detector.
    """
    found = []
    for name in sorted(set(detectors)):
        detector = geometry.detector(name)
        digest = hashlib.sha256(detector.json_part().encode())
        for key, array in detector.arrays().items():
            digest.update(f"{key}{array.shape}".encode())
            digest.update(array.tobytes())
        found.append(f"{name}:{digest.hexdigest()[:16]}")
    return found
