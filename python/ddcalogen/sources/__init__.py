# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of particles, and their way to the calorimeter face.

`ParticleGun`, `read_hepmc3` and `read_edm4hep` give `GeneratorEvent`s; `transport` moves the stable particles of an
event to the calorimeters. Units: mm, GeV, ns.
"""

from __future__ import annotations

from ddcalogen.sources.edm4hep import read_edm4hep
from ddcalogen.sources.events import STABLE, GeneratorEvent
from ddcalogen.sources.gun import Box, Choice, Fixed, GunConfig, LogUniform, ParticleGun, Uniform
from ddcalogen.sources.hepmc3 import read_hepmc3
from ddcalogen.sources.transport import CalorimeterEntries, EntryStatus, transport

__all__ = [
    "STABLE",
    "Box",
    "CalorimeterEntries",
    "Choice",
    "EntryStatus",
    "Fixed",
    "GeneratorEvent",
    "GunConfig",
    "LogUniform",
    "ParticleGun",
    "Uniform",
    "read_edm4hep",
    "read_hepmc3",
    "transport",
]
