# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Generative shower models in ddsim: one call in the steering file.

    import ddcalogen.ddsim
    SIM.physics.setupUserPhysics(ddcalogen.ddsim.setup(models=["ild_ecal_em_layered"], detector="ILD"))

All work is done when ddsim calls what `setup` returns: the geometry is loaded then, and Geant4's is not made yet.
Steering files are executed in a scope of their own; importing this module in one is all that is needed. docs/ddsim.md
tells the rest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ddcalogen import __version__, _core
from ddcalogen.calorimeters import find_calorimeter
from ddcalogen.card import ModelCard, read_card
from ddcalogen.engine import Generator, GridMethod, Provider
from ddcalogen.entries import cells_hashes
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError
from ddcalogen.models import DEFAULT_MODEL, find_model

if TYPE_CHECKING:
    from ddcalogen.geometry import Geometry

__all__ = ["Mode", "Setup", "onnxruntime_library", "setup"]

Mode = Literal["generate", "record"]

_GEANT4_NAMES = {
    22: "gamma", 11: "e-", -11: "e+", 13: "mu-", -13: "mu+", 211: "pi+", -211: "pi-", 111: "pi0", 130: "kaon0L",
    310: "kaon0S", 321: "kaon+", -321: "kaon-", 2212: "proton", -2212: "anti_proton", 2112: "neutron",
    -2112: "anti_neutron", 3122: "lambda", -3122: "anti_lambda",
}  # fmt: skip
_ACTION = "CaloGenFastSimulation"


def setup(
    models: Sequence[str | os.PathLike[str]] = (DEFAULT_MODEL,),
    *,
    detector: str | None = None,
    mode: Mode = "generate",
    seed: int | None = None,
    provider: Provider = "cpu",
    batch_cap: int = 64,
    grid_method: GridMethod = "random",
    max_entry_depth_mm: float = 40.0,
    regions: Mapping[str, str] | None = None,
    library: str = "",
    check_cells: bool = False,
) -> Setup:
    """Make the function that ddsim's `SIM.physics.setupUserPhysics` wants.

    Parameters
    ----------
    models
        ONNX files, or names of shipped models. Of several, the first that accepts a particle takes it. What no model
        accepts (particle type, energy, angle, position) is left to Geant4 and counted by reason.
    detector
        Beginning of the name of the detector model, such as "ILD", "ILD_l5", "CLD": makes sure that the one meant is
        loaded. Left out, every detector with known calorimeters will do.
    mode
        "generate": showers are generated, all of an event at once, and written as hits. "record": particles are
        stopped at the calorimeter and written as calorimeter entries, for `ddcalogen fill`.
    seed
        Seed of the showers, 0 .. 2**64-1. Default: that of ddsim (`SIM.random.seed`).
    provider
        "cpu" or "cuda". A provider that is not there is an error.
    batch_cap
        Showers per network call; more are not kept waiting.
    grid_method, max_entry_depth_mm
        As for `ddcalogen.engine.Generator`.
    regions
        Detector name -> name of the Geant4 region to use for it. Default: the region that the detector has, or a new
        one attached to it.
    library
        onnxruntime shared library. Default: see `onnxruntime_library`.
    check_cells
        Look every cell up again with Geant4's navigator, and tell at the end how many differ and what it cost. Slow.

    Raises
    ------
    ModelError, CardError
        A model cannot be found or read.
    ConfigurationError, InputError
        An option is out of range.
    """
    if isinstance(models, str | os.PathLike):
        models = [models]
    if not models:
        raise ConfigurationError("no model was given", expected="at least one", remedy="Name one: models=['...'].")
    if mode not in ("generate", "record"):
        raise ConfigurationError("unknown mode of fast simulation", found=repr(mode), expected="generate or record")
    if seed is not None and not 0 <= seed < 2**64:
        raise InputError("the seed is out of range", found=str(seed), expected="0 .. 2**64-1")
    if batch_cap < 1:
        raise InputError("the batch cap is too small", found=str(batch_cap), expected="at least 1")
    paths = tuple(find_model(model) for model in models)
    cards = tuple(read_card(path) for path in paths)
    unknown = sorted({p for card in cards for p in card.domain.pdg} - set(_GEANT4_NAMES))
    if unknown:
        raise ConfigurationError(
            "a model covers particles that are not known here by their Geant4 names",
            found=", ".join(map(str, unknown)),
            expected=", ".join(map(str, sorted(_GEANT4_NAMES))),
        )
    return Setup(
        paths=paths,
        cards=cards,
        detector=detector,
        mode=mode,
        seed=seed,
        provider=provider,
        batch_cap=batch_cap,
        grid_method=grid_method,
        max_entry_depth_mm=max_entry_depth_mm,
        regions=dict(regions or {}),
        library=library,
        check_cells=check_cells,
    )


def onnxruntime_library() -> str:
    """Shared library that the plugin opens, unless told otherwise.

    That of the environment variable DDCALOGEN_ONNXRUNTIME_LIBRARY; else the one inside the onnxruntime package of this
    Python, if it has one; else (empty) the one found when the plugin was built, or what the loader finds.
    """
    if "DDCALOGEN_ONNXRUNTIME_LIBRARY" in os.environ:
        return os.environ["DDCALOGEN_ONNXRUNTIME_LIBRARY"]
    from importlib.util import find_spec

    spec = find_spec("onnxruntime")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(folder).glob("capi/libonnxruntime.so*"), reverse=True):
            return str(path)
    return ""


@dataclass(frozen=True, eq=False)
class Setup:
    """What `setup` returns: call it with ddsim's kernel. Keeps the models alive for the run."""

    paths: tuple[Path, ...]
    cards: tuple[ModelCard, ...]
    detector: str | None
    mode: Mode
    seed: int | None
    provider: Provider
    batch_cap: int
    grid_method: GridMethod
    max_entry_depth_mm: float
    regions: dict[str, str]
    library: str
    check_cells: bool
    generators: list[Generator] = field(default_factory=list, repr=False)
    """Made by the call; empty before."""

    def __call__(self, kernel: Any) -> None:
        """Configure DDG4.

        Raises
        ------
        ConfigurationError
            This build has no plugin; the detector is another one or has no such calorimeter, region or readout.
        GeometryError
            The detector uses segmentations or solids that are not supported.
        """
        if not _core.has_ddg4_plugin:
            raise ConfigurationError(
                "this installation of ddcalogen has no plugin for ddsim",
                found=f"ddcalogen {__version__} at {Path(__file__).parent}",
                expected="one that was built with CMake where DD4hep with DDG4 was found",
                remedy="Build it in your Key4hep environment (see docs/ddsim.md), and put its python folder first in "
                "PYTHONPATH and its lib folder in LD_LIBRARY_PATH.",
            )
        import DDG4

        description = kernel.detectorDescription()
        name = str(description.header().name())
        self._check_detector(name)
        detectors, entrances = self._detectors(name, [str(item.first) for item in description.detectors()])
        self._check_readouts(description, detectors)
        geometry = _export(description, detectors)
        self.generators[:] = [self._generator(path, geometry, _seed(DDG4, self.seed)) for path in self.paths]
        run = f"{_ACTION}-{id(self):x}"
        _core.share_run(
            run,
            program_version=__version__,
            geometry_name=geometry.name,
            cells=cells_hashes(geometry, detectors),
            models=[(g.compiled, g.card.schema_version) for g in self.generators],
        )
        regions = [self._attach_region(description, entrance) for entrance in entrances]

        action = self._action(DDG4, kernel)
        action.Run = run
        action.Mode = self.mode
        action.BatchCap = self.batch_cap
        action.CheckCells = self.check_cells
        action.Regions = regions
        action.Detectors = detectors
        action.EntriesDetector = entrances[0]
        kernel.detectorConstruction().adopt(action)

        physics = DDG4.PhysicsList(kernel, "Geant4FastPhysics/DDCaloGenPhysics")
        physics.EnabledParticles = [_GEANT4_NAMES[p] for p in sorted({p for c in self.cards for p in c.domain.pdg})]
        kernel.physicsList().adopt(physics)

    def _check_detector(self, name: str) -> None:
        if self.detector is not None and not name.startswith(self.detector):
            raise ConfigurationError(
                "the loaded detector is not the one that the steering file is for",
                found=name,
                expected=f"a detector whose name begins with '{self.detector}'",
                remedy="Load another compact file, or correct detector=... in ddcalogen.ddsim.setup.",
            )

    def _detectors(self, name: str, present: list[str]) -> tuple[list[str], list[str]]:
        """All detectors that the showers fill, and those at whose face particles are taken; in order, each once."""
        groups = [g for card in self.cards for g in find_calorimeter(name, card.calorimeter.name, present).groups]
        filled = dict.fromkeys(member.detector for group in groups for member in group)
        return list(filled), list(dict.fromkeys(group[0].detector for group in groups))

    @staticmethod
    def _check_readouts(description: Any, detectors: list[str]) -> None:
        known = {str(item.first): description.sensitiveDetector(str(item.first)) for item in description.detectors()}
        calorimeters = [n for n, s in known.items() if s.isValid() and str(s.type()) == "calorimeter"]
        for detector in detectors:
            sensitive = known.get(detector)
            if sensitive is None or not sensitive.isValid() or not sensitive.readout().isValid():
                raise ConfigurationError(
                    f"the detector has no calorimeter '{detector}' with a readout",
                    found=", ".join(sorted(calorimeters)) or "no calorimeters",
                    expected=detector,
                    remedy="Leave out the model that needs it, or load a detector that has it.",
                )

    def _generator(self, path: Path, geometry: Geometry, seed: int) -> Generator:
        return Generator(
            path,
            geometry,
            seed=seed,
            batch=self.batch_cap,
            provider=self.provider,
            runtime="c++" if self.mode == "generate" else "none",
            library=self.library or onnxruntime_library(),
            grid_method=self.grid_method,
            max_entry_depth_mm=self.max_entry_depth_mm,
        )

    def _attach_region(self, description: Any, detector: str) -> str:
        """Name of the region of a detector; one is made where there is none, without touching the XML."""
        import dd4hep

        volume = description.detector(detector).volume()
        present = volume.region()
        known = [str(item.first) for item in description.regions()]
        wanted = self.regions.get(detector)
        if wanted is None:
            if present.isValid():
                return str(present.name())
            wanted = f"{detector}Region"
            if wanted not in known:
                description.add(dd4hep.Region(wanted))
        elif wanted not in known:
            raise ConfigurationError(
                f"there is no region '{wanted}' for detector '{detector}'",
                found=", ".join(sorted(known)) or "no regions",
                expected="one of the detector's regions",
                remedy="Leave out regions=...: a region is attached where there is none.",
            )
        if not present.isValid() or str(present.name()) != wanted:
            volume.setRegion(description.region(wanted))
        return wanted

    @staticmethod
    def _action(DDG4: Any, kernel: Any) -> Any:
        try:
            return DDG4.DetectorConstruction(kernel, f"{_ACTION}/DDCaloGen")
        except Exception as error:  # what cppyy makes of DDG4's exception
            raise ConfigurationError(
                "DD4hep does not find the plugin libDDCaloGen",
                found=str(error).strip().splitlines()[-1],
                expected="libDDCaloGen.so and libDDCaloGen.components in a folder of LD_LIBRARY_PATH",
                remedy="Source bin/thisDDCaloGen.sh of the installation.",
            ) from error


def _export(description: Any, detectors: list[str]) -> Geometry:
    from ddcalogen.geometry import export_description

    return export_description(description, detectors=detectors, origin="ddsim")


def _seed(DDG4: Any, seed: int | None) -> int:
    """The given seed, or that of ddsim's random engine."""
    if seed is not None:
        return seed
    random = DDG4.Geant4Random.instance(False)
    answer = DDG4.Interface.getProperty(random, "Seed") if random else None
    if answer is None or answer.status <= 0:
        raise DDCaloGenError("ddsim's random seed cannot be read", remedy="Give one: setup(..., seed=...).")
    return int(str(answer.data)) % 2**64
