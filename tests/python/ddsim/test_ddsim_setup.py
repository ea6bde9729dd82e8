# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802  (the stand-ins have DD4hep's names)
"""What `ddcalogen.ddsim.setup` checks and configures, with stand-ins for DDG4; test_ddsim_run.py has the real one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ddcalogen import _core, ddsim
from ddcalogen.errors import ConfigurationError, DDCaloGenError, InputError, ModelError
from ddcalogen.geometry import Geometry
from toys import REPOSITORY

STEERING = sorted((REPOSITORY / "steering").glob("ddsim_ild_*.py"))


class TestOptions:
    def test_what_is_wrong_is_told_when_the_steering_file_is_read(self, toy_model: Callable[..., Path]) -> None:
        with pytest.raises(ModelError, match="there is no model 'nowhere'"):
            ddsim.setup(models=["nowhere"])
        with pytest.raises(ConfigurationError, match="no model"):
            ddsim.setup(models=[])
        with pytest.raises(ConfigurationError, match="mode"):
            ddsim.setup(mode="full")  # type: ignore[arg-type]
        with pytest.raises(InputError, match="seed"):
            ddsim.setup(seed=-1)
        with pytest.raises(InputError, match="cap"):
            ddsim.setup(batch_cap=0)
        exotic = toy_model(card={"domain": {"pdg": [22, 3312], "energy_gev": [1.0, 2.0], "theta_deg": [0.0, 60.0]}})
        with pytest.raises(ConfigurationError, match="Geant4 names") as caught:
            ddsim.setup(models=[exotic])
        assert "3312" in str(caught.value)

    def test_one_model_may_be_given_alone(self) -> None:
        assert len(ddsim.setup("ild_ecal_em_layered").paths) == 1  # type: ignore[arg-type]

    @pytest.mark.skipif(_core.has_ddg4_plugin, reason="this build has the plugin")
    def test_build_without_plugin_says_so(self) -> None:
        with pytest.raises(ConfigurationError, match="has no plugin for ddsim") as caught:
            ddsim.setup()(None)
        assert "CMake" in str(caught.value)

    def test_onnxruntime_of_the_environment_goes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DDCALOGEN_ONNXRUNTIME_LIBRARY", "/somewhere/libonnxruntime.so.1")
        assert ddsim.onnxruntime_library() == "/somewhere/libonnxruntime.so.1"
        monkeypatch.delenv("DDCALOGEN_ONNXRUNTIME_LIBRARY")
        found = ddsim.onnxruntime_library()
        assert found == "" or Path(found).is_file()


class Recorder:
    """Stands in for ddsim's SIM: remembers what is set, and gives what ddsim's objects give."""

    def __init__(self) -> None:
        self.setups: list[Any] = []
        self.action = SimpleNamespace(mapActions={})
        self.random = SimpleNamespace()
        self.physics = SimpleNamespace(setupUserPhysics=self.setups.append)


@pytest.mark.parametrize("path", STEERING, ids=lambda path: path.name)
def test_steering_files_survive_being_executed(path: Path) -> None:
    sim = Recorder()
    # as ddsim does it: globals and locals apart
    exec(compile(path.read_text(), str(path), "exec"), {}, {"SIM": sim})
    (setup,) = sim.setups
    assert setup.mode == ("record" if "record" in path.name else "generate")
    assert setup.detector == "ILD"


def test_there_are_steering_files() -> None:
    assert {"ddsim_ild_fastsim.py", "ddsim_ild_record.py"} <= {path.name for path in STEERING}


# ---- stand-ins for DD4hep and DDG4 ----------------------------------------------------------------------------------


class Item(SimpleNamespace):
    """A C++ map entry."""

    first: str


class Handle:
    """A DD4hep handle with a name."""

    def __init__(self, name: str = "", **members: Any) -> None:
        self._name = name
        self.__dict__.update(members)

    def isValid(self) -> bool:
        return bool(self._name)

    def name(self) -> str:
        return self._name


class Volume:
    def __init__(self, region: str = "") -> None:
        self._region = Handle(region)

    def region(self) -> Handle:
        return self._region

    def setRegion(self, region: Handle) -> None:
        self._region = region


class Description:
    """ILD's calorimeters; barrel and endcap of the ECAL have a region, as in k4geo."""

    def __init__(self, name: str = "ILD_l5_o1_v02", missing: str = "") -> None:
        self._name = name
        self._regions = {n: Handle(n) for n in ("EcalBarrelRegion", "EcalEndcapRegion", "BeampipeRegion")}
        self.volumes = {
            n: Volume(f"{n}Region" if f"{n}Region" in self._regions else "")
            for n in ("EcalBarrel", "EcalEndcap", "EcalPlug", "HcalBarrel")
            if n != missing
        }

    def header(self) -> Handle:
        return Handle(self._name)

    def detectors(self) -> list[Item]:
        return [Item(first=n) for n in self.volumes]

    def detector(self, name: str) -> Any:
        return SimpleNamespace(volume=lambda: self.volumes[name])

    def sensitiveDetector(self, name: str) -> Handle:
        return Handle(name, type=lambda: "calorimeter", readout=lambda: Handle(name))

    def regions(self) -> list[Item]:
        return [Item(first=n) for n in self._regions]

    def region(self, name: str) -> Handle:
        return self._regions[name]

    def add(self, region: Handle) -> None:
        self._regions[region.name()] = region


class Kernel:
    def __init__(self, description: Description) -> None:
        self._description = description
        self.actions: list[Any] = []
        self.physics: list[Any] = []

    def detectorDescription(self) -> Description:
        return self._description

    def detectorConstruction(self) -> Any:
        return SimpleNamespace(adopt=self.actions.append)

    def physicsList(self) -> Any:
        return SimpleNamespace(adopt=self.physics.append)


@pytest.fixture
def ddg4(monkeypatch: pytest.MonkeyPatch, ild: Geometry) -> ModuleType:
    """Stand-ins for DDG4 and dd4hep; the shipped geometry for the loaded one."""
    module: Any = ModuleType("DDG4")
    module.DetectorConstruction = lambda kernel, name: SimpleNamespace(name=name)
    module.PhysicsList = lambda kernel, name: SimpleNamespace(name=name)
    module.Geant4Random = SimpleNamespace(instance=lambda alert: object())
    module.Interface = SimpleNamespace(getProperty=lambda action, name: SimpleNamespace(status=1, data="4711"))
    dd4hep: Any = ModuleType("dd4hep")
    dd4hep.Region = Handle
    monkeypatch.setitem(sys.modules, "DDG4", module)
    monkeypatch.setitem(sys.modules, "dd4hep", dd4hep)
    monkeypatch.setattr(_core, "has_ddg4_plugin", True)
    monkeypatch.setattr(ddsim, "_export", lambda description, detectors: ild)
    return module  # type: ignore[no-any-return]


def configured(description: Description | None = None, **options: Any) -> tuple[Any, Any, Description, ddsim.Setup]:
    description = description or Description()
    kernel = Kernel(description)
    setup = ddsim.setup(**{"mode": "record", **options})
    setup(kernel)
    return kernel.actions[0], kernel.physics[0], description, setup


@pytest.mark.usefixtures("ddg4")
class TestConfiguration:
    def test_action_physics_and_regions(self) -> None:
        action, physics, description, setup = configured(detector="ILD", batch_cap=7, seed=5)
        assert (action.Mode, action.BatchCap) == ("record", 7)
        assert action.Detectors == ["EcalBarrel", "EcalEndcap", "EcalPlug"]
        assert action.EntriesDetector == "EcalBarrel"
        # two regions are k4geo's own, the third is made and attached
        assert action.Regions == ["EcalBarrelRegion", "EcalEndcapRegion", "EcalPlugRegion"]
        assert description.volumes["EcalPlug"].region().name() == "EcalPlugRegion"
        assert description.volumes["HcalBarrel"].region().name() == ""
        assert physics.EnabledParticles == ["e+", "e-", "gamma"]
        assert [g.seed for g in setup.generators] == [5]
        _core.withdraw_run(action.Run)

    def test_seed_is_that_of_ddsim(self) -> None:
        assert configured()[3].generators[0].seed == 4711

    def test_chosen_regions(self) -> None:
        action, _, description, _ = configured(regions={"EcalBarrel": "BeampipeRegion"})
        assert action.Regions[0] == "BeampipeRegion"
        assert description.volumes["EcalBarrel"].region().name() == "BeampipeRegion"
        with pytest.raises(ConfigurationError, match="no region 'Elsewhere'") as caught:
            configured(regions={"EcalBarrel": "Elsewhere"})
        assert "EcalEndcapRegion" in str(caught.value)

    def test_other_detector(self) -> None:
        with pytest.raises(ConfigurationError, match="not the one") as caught:
            configured(detector="CLD")
        assert "ILD_l5_o1_v02" in str(caught.value)
        with pytest.raises(ConfigurationError, match="no calorimeter 'ECAL' is known"):
            configured(Description(name="Unheard_v1"))

    def test_detector_without_the_calorimeter(self) -> None:
        with pytest.raises(ConfigurationError, match="no calorimeter 'EcalEndcap'") as caught:
            configured(Description(missing="EcalEndcap"))
        assert "EcalBarrel" in str(caught.value)

    def test_detector_without_an_optional_part(self) -> None:
        assert configured(Description(missing="EcalPlug"))[0].Detectors == ["EcalBarrel", "EcalEndcap"]

    def test_plugin_that_cannot_be_loaded(self, ddg4: Any) -> None:
        def missing(kernel: Any, name: str) -> Any:
            raise RuntimeError("Failed to create Geant4DetectorConstruction\nno factory")

        ddg4.DetectorConstruction = missing
        with pytest.raises(ConfigurationError, match="libDDCaloGen") as caught:
            configured()
        assert "no factory" in str(caught.value)

    def test_seed_that_cannot_be_read(self, ddg4: Any) -> None:
        ddg4.Geant4Random = SimpleNamespace(instance=lambda alert: None)
        with pytest.raises(DDCaloGenError, match="seed"):
            configured()
