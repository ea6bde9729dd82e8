# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""EDM4hep files: typed event records, a writer and a reader. See docs/edm4hep.md."""

from __future__ import annotations

from ddcalogen.edm4hep.reader import Reader
from ddcalogen.edm4hep.records import (
    FAST_SIMULATION_STEP_LENGTH_MM,
    NO_HELICITY,
    NO_PARTICLE,
    CalorimeterHits,
    Contributions,
    Event,
    MCParticles,
    ParameterValue,
    Ragged,
    SimulatorStatus,
    TrackerHits,
)
from ddcalogen.edm4hep.schema import LayoutName
from ddcalogen.edm4hep.writer import Backend, Writer

__all__ = [
    "FAST_SIMULATION_STEP_LENGTH_MM",
    "NO_HELICITY",
    "NO_PARTICLE",
    "Backend",
    "CalorimeterHits",
    "Contributions",
    "Event",
    "LayoutName",
    "MCParticles",
    "ParameterValue",
    "Ragged",
    "Reader",
    "SimulatorStatus",
    "TrackerHits",
    "Writer",
]
