# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Reconstruction steering: the options file runs, the XML says the same, and the names are those of real files.

Gaudi and Marlin are not there: small stand-ins take what the options file configures.
"""

from __future__ import annotations

import runpy
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from ddcalogen.geometry import Geometry

STEERING = Path(__file__).parents[3] / "steering"
Algorithm = tuple[str, str, dict[str, list[str]]]


class Configurable:
    def __init__(self, name: str = "", **attributes: Any) -> None:
        self.name = name
        self.__dict__.update(attributes)


class Helper:
    """Like k4MarlinWrapper's: takes input files and collections to keep."""

    def __init__(self, algorithms: list[Any], service: Any) -> None:
        self.service = service

    def add_reader(self, files: list[str]) -> None:
        self.service.Input = files

    def add_edm4hep_writer(self, name: str, commands: list[str]) -> None:
        self.service.Output = name

    def finalize_converters(self) -> None:
        pass


def algorithms(arguments: list[str]) -> list[Algorithm]:
    """Run the options file; the Marlin processors it makes, in order: name, type, parameters."""
    import argparse

    modules = {
        "Configurables": dict.fromkeys(("EventDataSvc", "GeoSvc", "MarlinProcessorWrapper"), Configurable),
        "Gaudi": {},
        "Gaudi.Configuration": {"INFO": 3},
        "k4FWCore": {"ApplicationMgr": Configurable, "IOSvc": Configurable},
        "k4FWCore.parseArgs": {"parser": argparse.ArgumentParser()},
        "k4MarlinWrapper": {},
        "k4MarlinWrapper.io_helpers": {"IOHandlerHelper": Helper},
    }
    before = {name: sys.modules.get(name) for name in modules}
    argv, sys.argv = sys.argv, ["k4run", *arguments]
    try:
        for name, content in modules.items():
            module = types.ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
        scope = runpy.run_path(str(STEERING / "k4run_ild_calorimeters.py"))
    finally:
        sys.argv = argv
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
    return [(a.name, a.ProcessorType, a.Parameters) for a in scope["algorithms"]]


@pytest.fixture(scope="module")
def chain() -> list[Algorithm]:
    return algorithms(
        ["--inputFiles", "a.root", "--outputFile", "b.root", "--pandoraSettings", "${PandoraSettingsFile}"]
    )


def inputs(parameters: dict[str, list[str]]) -> list[str]:
    wanted = ("InputCollections", "inputHitCollections", "inputHitCollection", "inputRelationCollections")
    found = [c for key in wanted for c in parameters.get(key, [])]
    return found + [c for key, v in parameters.items() if key.endswith("CaloHitCollections") for c in v]


def outputs(parameters: dict[str, list[str]]) -> list[str]:
    wanted = ("OutputCollection", "outputHitCollections", "outputHitCollection", "outputRelationCollections")
    return [c for key in wanted for c in parameters.get(key, [])]


def test_every_collection_is_in_a_real_file_or_made_before(
    chain: list[Algorithm], real_collections: set[str], ild: Geometry
) -> None:
    known = set(real_collections)
    used: set[str] = set()
    for name, _, parameters in chain:
        used |= set(inputs(parameters))
        assert set(inputs(parameters)) <= known, name
        assert not set(outputs(parameters)) & known, name
        known |= set(outputs(parameters))
    # nothing that the models write is left behind
    filled = {c.name for d in ild.surfaces.detectors for c in d.hit_collections if d.name.startswith("Ecal")}
    silicon = {name for name in filled if "Sc" not in name}
    assert silicon <= used


def test_parameters_are_lists_of_texts(chain: list[Algorithm]) -> None:
    names = [name for name, _, _ in chain]
    assert len(set(names)) == len(names)
    for name, kind, parameters in chain:
        assert kind, name
        for key, value in parameters.items():
            assert isinstance(value, list), (name, key)
            assert all(isinstance(v, str) for v in value), (name, key)


def test_pandora_is_left_out_without_its_settings() -> None:
    short = algorithms(["--inputFiles", "a.root", "--outputFile", "b.root"])
    assert not [name for name, kind, _ in short if "Pandora" in kind]
    assert len(short) == 16


def test_layers_are_those_of_the_encoding(chain: list[Algorithm], ild: Geometry) -> None:
    fields = {f for d in ild.surfaces.detectors for f in d.encoding.decode(0)}
    for _, _, parameters in chain:
        for key, value in parameters.items():
            if key.startswith("CellID"):
                assert set(value) <= fields


def test_marlin_file_says_the_same(chain: list[Algorithm]) -> None:
    root = ET.parse(STEERING / "marlin_ild_calorimeters.xml").getroot()
    executed = [str(p.get("name")) for p in root.findall("execute/processor")]
    assert executed == ["InitDD4hep", *[name for name, _, _ in chain], "MyLCIOOutputProcessor"]
    found = {p.get("name"): p for p in root.findall("processor")}
    assert set(executed) == set(found)
    for name, kind, parameters in chain:
        assert found[name].get("type") == kind
        written = {str(p.get("name")): (p.text or "").split() for p in found[name].findall("parameter")}
        assert written == parameters, name


@pytest.fixture(scope="module")
def real_collections() -> set[str]:
    """Calorimeter collections of a file written by ddsim v01-37 with ILD_l5_o1_v02."""
    return set(REAL_COLLECTIONS.split())


REAL_COLLECTIONS = """
BeamCalCollection ECalBarrelScHitsEven ECalBarrelScHitsOdd ECalBarrelSiHitsEven ECalBarrelSiHitsOdd
EcalEndcapRingCollection ECalEndcapScHitsEven ECalEndcapScHitsOdd ECalEndcapSiHitsEven ECalEndcapSiHitsOdd
HcalBarrelRegCollection HCalBarrelRPCHits HCalECRingRPCHits HcalEndcapRingCollection HCalEndcapRPCHits
HcalEndcapsCollection LHCalCollection LumiCalCollection YokeBarrelCollection YokeEndcapsCollection
"""
