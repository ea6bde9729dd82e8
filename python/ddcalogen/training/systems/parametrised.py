# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Parametrised electromagnetic shower of the ILD ECAL, fitted in closed stages; see `parametrised_shower`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ddcalogen.card import Domain
from ddcalogen.errors import ConfigurationError
from ddcalogen.training.fit_parametrised import fit_longitudinal, fit_moments, fit_radial, fit_spots
from ddcalogen.training.parametrised_shower import ParametrisedShower
from ddcalogen.training.representations import Batch
from ddcalogen.training.stacks import Stack
from ddcalogen.training.system import Stage, Step, System, SystemConfig

__all__ = ["SYSTEM", "Parametrised", "ParametrisedConfig"]


class ParametrisedConfig(SystemConfig):
    """Configuration of the fit."""

    longitudinal_steps: int = Field(default=2500, ge=1)
    longitudinal_batch: int = Field(default=512, ge=2)
    longitudinal_copies: int = Field(default=6, ge=2)
    radial_points: int = Field(default=500_000, ge=1000)
    radial_steps: int = Field(default=400, ge=1)
    spot_mev: tuple[float, float] = Field(default=(0.40, 0.25), description="mean spot energy of core and tail, MeV")
    spot_steps: int = Field(default=400, ge=1)
    spot_batch: int = Field(default=48, ge=2)
    moments_seed: int = Field(default=1, ge=0)


class Parametrised(System[ParametrisedConfig]):
    """Five fits, each one step of the loop: every one needs all training showers at once."""

    Config: ClassVar[type[SystemConfig]] = ParametrisedConfig
    title: ClassVar[str] = "parametrised shower"
    description: ClassVar[str] = (
        "Parametrised electromagnetic shower in the ILD silicon-tungsten ECAL after Grindhammer and Peters "
        "(hep-ex/0001020), fitted to Geant4 photon showers in the gap-free ECAL layer stack: fluctuating correlated "
        "gamma profile behind a drawn conversion depth, two-component radial profile, spots of about one shower "
        "particle each. Photons are fitted. Electrons and positrons are NOT fitted (no such showers in the training "
        "data): they start without conversion depth, so that their maximum lies one radiation length before that of "
        "photons, as the PDG review's t_max = ln y + 0.5 (photons), ln y - 0.5 (electrons). Field: 3.5 T along -x of "
        "the shower frame, as in a barrel stave; its widening of showers in y (about 15 % against x) is part of the "
        "model and is not right where the field points elsewhere (endcaps). Outside its domain, and for other "
        "particles, it must not be used."
    )

    def __init__(self, config: ParametrisedConfig, stack: Stack, domain: Domain) -> None:
        super().__init__(config, stack, domain)
        if stack.name != "ECAL":
            raise ConfigurationError("the parametrised shower is one of the ECAL", found=stack.name, expected="ECAL")
        self.shower = ParametrisedShower()
        with torch.no_grad():
            self.shower.log_spot_mev[:2] = torch.tensor([math.log(mev) for mev in config.spot_mev])

    @property
    def domain(self) -> Domain:
        """Electrons and positrons, too."""
        return Domain(pdg=(22, 11, -11), energy_gev=self.shower.energy_gev, theta_deg=(0.0, 60.0))

    def representation(self, stage: str) -> None:
        """No batches."""
        del stage

    def stages(self) -> tuple[Stage, ...]:
        """Along the axis, beside the axis, spots, moments, spots with the final radii."""
        names = ("longitudinal", "radial", "spots", "moments", "spots_again")
        return tuple(Stage(name, 1, validate=name == "spots_again", average=False) for name in names)

    def training_step(self, batch: Batch, step: Step) -> Mapping[str, float | Tensor]:
        """Do a whole fit."""
        del batch
        c, train, model = self.config, step.training_showers(), self.shower
        if step.stage == "longitudinal":
            scores = fit_longitudinal(
                model,
                train,
                steps=c.longitudinal_steps,
                batch=c.longitudinal_batch,
                copies=c.longitudinal_copies,
                report=step.report,
            )
            return {"energy_score": scores[-1]}
        if step.stage == "radial":
            value = fit_radial(model, train, points=c.radial_points, steps=c.radial_steps, report=step.report)
            return {"negative_log_likelihood": value}
        if step.stage == "moments":
            fit_moments(model, train, seed=c.moments_seed, report=step.report)
            return {}
        loss = fit_spots(model, train, steps=c.spot_steps, batch=c.spot_batch, seed=c.moments_seed, report=step.report)
        return {"loss": loss}

    def sampler(self) -> ParametrisedShower:
        """The shower itself."""
        return self.shower


SYSTEM = Parametrised
