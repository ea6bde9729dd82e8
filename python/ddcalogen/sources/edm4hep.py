# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generator events out of the MCParticles of EDM4hep files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from ddcalogen.edm4hep import Reader
from ddcalogen.sources.events import GeneratorEvent

__all__ = ["read_edm4hep"]


def read_edm4hep(path: str | os.PathLike[str], *, particles: str = "MCParticles") -> Iterator[GeneratorEvent]:
    """Events of an EDM4hep file one by one, with all particles of its MCParticle collection and without its hits.

    Of a simulated file, only the particles with generator status 1 are transported; those made by the simulation have
    status 0 and stay in the record. Calorimeter entries that a simulation recorded are kept: they replace the
    transport.

    Parameters
    ----------
    particles
        Name of the MCParticle collection.

    Raises
    ------
    InputError
        The file is missing, damaged, no EDM4hep file, has no such collection, or holds numbers that are not finite.
    """
    from ddcalogen.entries import ENTRIES_COLLECTION  # brings the compiled core, which other sources do without

    with Reader(path, collections=(), particles=particles) as reader:
        recorded = [ENTRIES_COLLECTION] if ENTRIES_COLLECTION in reader.tracker_collections else []
    with Reader(path, collections=recorded, particles=particles) as reader:
        for event in reader:
            yield replace(event, parameters={})
