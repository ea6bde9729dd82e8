# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""One shower of a model in the detector, written to EDM4hep: the shortest proof that a model runs through the chain."""

from __future__ import annotations

from pathlib import Path

from particle import Particle
from pydantic import BaseModel, ConfigDict

from ddcalogen.engine import Generator
from ddcalogen.errors import InferenceError
from ddcalogen.files import make_folder
from ddcalogen.simulate import Simulator, output_writer
from ddcalogen.sources import GunConfig, ParticleGun

__all__ = ["PlacedShower", "place_one"]

_ENERGY_GEV = 50.0
_START_MM = (1800.0, 100.0, 300.0)
"""Just in front of the ECAL barrel of ILD; along x it meets the layers at right angles."""


class PlacedShower(BaseModel):
    """What became of the shower; energies in GeV, visible: generated = placed + dead + outside up to rounding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    particle: str
    energy_gev: float
    cells: int
    generated_gev: float
    placed_gev: float
    dead_gev: float
    outside_gev: float
    collections_gev: dict[str, float]


def place_one(generator: Generator, path: Path) -> PlacedShower:
    """Shoot one particle of 50 GeV (or the nearest energy the model is for) into the barrel and write the event.

    Parameters
    ----------
    generator
        Model and detector.
    path
        EDM4hep file to write; its folder is made.

    Raises
    ------
    InferenceError
        The model made no shower of it.
    OutputError
        The file cannot be written.
    """
    domain = generator.card.domain
    energy = min(max(_ENERGY_GEV, domain.energy_gev[0]), domain.energy_gev[1])
    particle = Particle.from_pdgid(domain.pdg[0]).name
    gun = ParticleGun(
        GunConfig.parse(particle=particle, energy_gev=energy, theta_deg=90.0, phi_deg=0.0, position_mm=_START_MM),
        seed=generator.seed,
    )
    simulator = Simulator([generator])
    make_folder(path.parent)
    with output_writer(simulator, path) as writer:
        summary = simulator.write(gun.events(1), writer)
    if summary.showers != 1:
        raise InferenceError(
            "the model made no shower of a particle it is for",
            found=f"{particle} of {energy:g} GeV at normal incidence: {dict(summary.fates)}",
            expected="one shower",
        )
    account = summary.account
    return PlacedShower(
        particle=particle,
        energy_gev=energy,
        cells=summary.hits,
        generated_gev=account.generated_gev,
        placed_gev=account.placed_gev,
        dead_gev=account.dead_gev,
        outside_gev=account.outside_gev,
        collections_gev=dict(summary.collection_gev),
    )
