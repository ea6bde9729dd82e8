# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""What all sources give, and the particle properties they need."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ddcalogen.edm4hep.records import Event
from ddcalogen.errors import InputError

__all__ = [
    "STABLE",
    "GeneratorEvent",
    "ParticleProperties",
    "charges",
    "find_pdg",
    "lifetimes_ns",
    "particle_properties",
]

GeneratorEvent: TypeAlias = Event
"""An event with its particles (all of them, history included) and without hits."""

STABLE = 1
"""Generator status of particles that the generator leaves to the detector simulation."""

_PLAIN_NAMES = {  # everyday and Geant4 names that the particle tables do not have
    "photon": 22,
    "electron": 11,
    "positron": -11,
    "muon": 13,
    "proton": 2212,
    "neutron": 2112,
    "kaon0L": 130,
    "kaon0S": 310,
    "kaon+": 321,
    "kaon-": -321,
}


@dataclass(frozen=True)
class ParticleProperties:
    """name; mass_gev; charge (e); lifetime_ns (mean, infinite if the particle is stable or the table has none)."""

    name: str
    mass_gev: float
    charge: float
    lifetime_ns: float


@lru_cache(maxsize=4096)
def particle_properties(pdg: int) -> ParticleProperties:
    """Properties of a PDG code; of a code without entry only the charge that the numbering scheme implies.

    Raises
    ------
    InputError
        The code is not valid in the PDG numbering scheme.
    """
    from particle import PDGID, InvalidParticle, Particle, ParticleNotFound

    try:
        entry = Particle.from_pdgid(pdg)
    except (ParticleNotFound, InvalidParticle):
        charge = PDGID(pdg).charge
        if charge is None:
            raise InputError(
                "a particle has no valid PDG code",
                found=str(pdg),
                expected="a code of the PDG Monte Carlo numbering scheme",
            ) from None
        return ParticleProperties(str(pdg), 0.0, float(charge), math.inf)
    charge = PDGID(pdg).charge if entry.charge is None else entry.charge
    return ParticleProperties(
        entry.name,
        (entry.mass or 0.0) / 1000.0,
        float(charge or 0.0),
        math.inf if entry.lifetime is None else float(entry.lifetime),
    )


def charges(pdg: npt.NDArray[np.int32], generator_status: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    """Charges (e) of particles, float32 [N]; zero for codes of generator-internal objects that are not stable.

    Raises
    ------
    InputError
        A stable particle has no valid PDG code.
    """
    codes, inverse = np.unique(pdg, return_inverse=True)
    table = np.zeros(len(codes), np.float32)
    for i, code in enumerate(codes):
        try:
            table[i] = particle_properties(int(code)).charge
        except InputError:
            if np.any(generator_status[pdg == code] == STABLE):
                raise
    return table[inverse]


def lifetimes_ns(pdg: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Mean lifetimes (ns) of particles, float64 [N]; infinite if stable or unknown."""
    codes, inverse = np.unique(pdg, return_inverse=True)
    table = np.full(len(codes), math.inf)
    for i, code in enumerate(codes):
        with suppress(InputError):
            table[i] = particle_properties(int(code)).lifetime_ns
    return table[inverse]


def find_pdg(particle: str | int) -> int:
    """PDG code of a particle given by code or by name ("gamma", "e-", "pi+", "K(L)0", EvtGen's "K_L0", "neutron").

    Raises
    ------
    InputError
        There is no such particle.
    """
    from particle import InvalidParticle, Particle, ParticleNotFound
    from particle.exceptions import MatchingIDNotFound

    text = str(particle).strip()
    try:
        code = int(text)
    except ValueError:
        code = _PLAIN_NAMES.get(text, 0)
        for look_up in (Particle.from_name, Particle.from_evtgen_name):
            if not code:
                try:
                    code = int(look_up(text).pdgid)
                except (ParticleNotFound, MatchingIDNotFound):
                    continue
    if code:
        try:
            Particle.from_pdgid(code)
        except (ParticleNotFound, InvalidParticle):
            code = 0
    if not code:
        raise InputError(
            "unknown particle",
            found=repr(particle),
            expected="a PDG code, or a name such as gamma, e-, e+, mu-, pi+, K(L)0, K_L0, n, p",
        )
    return code
