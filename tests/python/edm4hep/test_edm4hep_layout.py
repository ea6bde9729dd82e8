# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Files have the structure that podio writes: compared with a real file, and with numbers known from podio."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import uproot
from ddcalogen.edm4hep import LayoutName, Reader, Writer
from ddcalogen.edm4hep.schema import LAYOUTS, collection_id, cpp_declarations, edm_definition

# ROOT's StreamerInfo checksums of the classes that podio's generator makes (seen in files of podio 1.2 and 1.7)
CHECKSUMS: dict[str, dict[str, int]] = {
    "both": {
        "edm4hep::SimCalorimeterHitData": 0x2369157C,
        "edm4hep::SimTrackerHitData": 0x22CD4B18,
        "edm4hep::Vector3f": 0xAE05C4F4,
        "edm4hep::Vector3d": 0x5C29DB99,
        "podio::ObjectID": 0xC1B0BA0F,
        "podio::version::Version": 0x06293E16,
    },
    "1.2": {
        "edm4hep::EventHeaderData": 0xF555C3A7,
        "edm4hep::MCParticleData": 0xE089EDAE,
        "edm4hep::CaloHitContributionData": 0xF115C880,
        "edm4hep::Vector2i": 0x3937EFBA,
        "podio::CollectionIDTable": 0xE9251D6F,
    },
    "current": {
        "edm4hep::EventHeaderData": 0x6B8BF838,
        "edm4hep::MCParticleData": 0x96D65245,
        "edm4hep::CaloHitContributionData": 0x4947A566,
        "podio::root_utils::CollectionWriteInfo": 0x6434FAC3,
    },
}


def test_collection_ids_are_podios() -> None:
    known = {
        "EventHeader": 3616779153,
        "MCParticleCollection": 4183352422,
        "CaloHitContributionCollection": 3470328915,
        "MCParticles": 2714477136,
    }
    assert {name: collection_id(name) for name in known} == known


def streamers(file: Any) -> dict[str, tuple[int, int]]:
    """Class -> (version, checksum) of the EDM4hep and podio classes in a file."""
    found = {}
    for name, versions in file.file.streamers.items():
        if name.startswith(("edm4hep::", "podio::")):
            (version, info), *more = versions.items()
            assert not more, name
            found[name] = (version, info.member("fCheckSum"))
    return found


def test_class_versions_and_checksums_are_those_of_generated_classes(written: Path, layout: LayoutName) -> None:
    expected = {**CHECKSUMS["both"], **CHECKSUMS[layout]}
    with uproot.open(written) as file:
        found = streamers(file)
    assert {name: checksum for name, (_, checksum) in found.items()} == expected
    for name, (version, _) in found.items():
        assert version == (LAYOUTS[layout].schema if name.startswith("edm4hep::") else 1), name


def branches(tree: Any) -> dict[str, tuple[Any, ...]]:
    """Everything that tells one branch from another."""
    found = {}
    for path, branch in tree.iteritems(recursive=True, full_paths=True):
        assert path not in found
        found[path] = (
            branch.name,
            branch.title,
            type(branch).__name__.split("_")[1],
            *(branch.member(name, none_if_missing=True) for name in ("fClassName", "fParentName", "fClonesName")),
            *(branch.member(name, none_if_missing=True) for name in ("fType", "fStreamerType", "fCheckSum", "fID")),
            branch.member("fSplitLevel"),
            branch.member("fBasketSize"),
            [(leaf.member("fName"), leaf.member("fTitle"), leaf.classname) for leaf in branch.member("fLeaves")],
            branch.num_entries,
        )
    return found


def test_same_structure_as_a_file_of_real_ddsim(ddsim_file: Path, tmp_path: Path, root: None) -> None:
    """Same collections, layout 1.2: every tree, branch, type, title, split level, leaf and class equal."""
    path = tmp_path / "copy.edm4hep.root"
    with Reader(ddsim_file) as reader:
        calorimeters = {name: reader.encodings[name] for name in reader.calorimeter_collections}
        trackers = {name: reader.encodings[name] for name in reader.tracker_collections}
        with Writer(
            path,
            calorimeters,
            tracker_collections=trackers,
            layout="1.2",
            backend="root",
            run_parameters=reader.run_parameters,
        ) as writer:
            for event in reader:
                writer.write(event)
    with uproot.open(ddsim_file) as real, uproot.open(path) as ours:
        assert set(ours.keys()) == set(real.keys())
        compared = 0
        for key in real.keys():  # noqa: SIM118  (an uproot directory, not a dict)
            assert ours[key].title == real[key].title
            expected = branches(real[key])
            found = branches(ours[key])
            # order among the branches of metadata is that of a hash map in podio
            assert found == expected
            if key.startswith("events"):
                assert list(found) == list(expected)
            compared += len(found)
        assert compared > 600
        assert streamers(ours) == streamers(real)
        for name in ("m_collectionIDs", "m_names"):
            tables = [file["podio_metadata/events___idTable"][name].array(library="np")[0] for file in (real, ours)]
            assert sorted(tables[0]) == sorted(tables[1])
        assert ours.file.compression == real.file.compression


def members(definition: dict[str, Any], kind: str) -> list[str]:
    """Type and name without unit, default and comment."""
    return [re.sub(r"\[.*?\]|\{.*?\}", "", line.split("//")[0]).strip() for line in definition.get(kind, [])]


def test_definition_agrees_with_the_one_in_a_real_file(ddsim_file: Path) -> None:
    with uproot.open(ddsim_file) as file:
        branch = file["podio_metadata/EDMDefinitions/EDMDefinitions._1"]
        real = json.loads(branch.array(library="np")[0][0])
    ours = json.loads(edm_definition(2))
    assert ours["schema_version"] == real["schema_version"] == 2
    for section in ("components", "datatypes"):
        assert ours[section]
        for name, definition in ours[section].items():
            for kind in ("Members", "VectorMembers", "OneToOneRelations", "OneToManyRelations"):
                assert members(definition, kind) == members(real[section][name], kind), name


def test_definition_in_the_file_is_valid_and_complete(written: Path, layout: LayoutName) -> None:
    with uproot.open(written) as file:
        metadata = file["podio_metadata"]
        stored = json.loads(metadata["EDMDefinitions/EDMDefinitions._1"].array(library="np")[0][0])
        assert list(metadata["EDMDefinitions/EDMDefinitions._0"].array(library="np")[0]) == ["edm4hep"]
    assert stored["schema_version"] == LAYOUTS[layout].schema
    with Reader(written) as reader:
        assert set(reader.collections.values()) <= set(stored["datatypes"])


@pytest.mark.parametrize(("schema", "has", "lacks"), [(2, "spin", "stepLength"), (4, "stepLength", "colorFlow")])
def test_declarations_follow_the_schema(schema: int, has: str, lacks: str) -> None:
    code = cpp_declarations(schema)
    assert has in code
    assert lacks not in code
    assert f"ClassDefNV(MCParticleData, {schema})" in code
