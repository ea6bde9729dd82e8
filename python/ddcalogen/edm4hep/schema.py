# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The part of the EDM4hep data model used here, in the two on-disk layouts that are written.

One table feeds both the C++ declarations that ROOT compiles at run time and the definition stored in the file.

* layout "current": metadata of podio >= 1.3, EDM4hep schema 4. Schemas 4 to 6 agree in these types, and a reader
  accepts every schema up to its own, so schema 4 is readable by every EDM4hep from v00-99-03 on.
* layout "1.2": metadata of podio 0.99.99 to 1.2, EDM4hep schema 2 (v00-99). Readable by every podio from 1.0 on; it
  has no `stepLength`, 32-bit event numbers, and spin in place of helicity.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = [
    "CONTRIBUTIONS_SUFFIX",
    "ENCODING_SUFFIX",
    "EVENT_HEADER",
    "LAYOUTS",
    "MC_PARTICLES",
    "Layout",
    "LayoutName",
    "collection_id",
    "cpp_declarations",
    "edm_definition",
]

LayoutName: TypeAlias = Literal["current", "1.2"]

EVENT_HEADER = "EventHeader"
MC_PARTICLES = "MCParticles"
CONTRIBUTIONS_SUFFIX = "Contributions"
ENCODING_SUFFIX = "__CellIDEncoding"


@dataclass(frozen=True)
class Layout:
    """Versions that name an on-disk layout: EDM4hep schema, and the podio and EDM4hep releases that first had it."""

    name: LayoutName
    schema: int
    podio_version: tuple[int, int, int]
    edm4hep_version: tuple[int, int, int]


LAYOUTS: dict[LayoutName, Layout] = {
    "current": Layout("current", 4, (1, 3, 0), (0, 99, 3)),
    "1.2": Layout("1.2", 2, (1, 2, 0), (0, 99, 1)),
}

# name: members "type name // unit and meaning"; "@2" / "@4" in front restricts a member to that schema
_COMPONENTS: dict[str, list[str]] = {
    "Vector3f": ["float x", "float y", "float z"],
    "Vector3d": ["double x", "double y", "double z"],
    "Vector2i": ["@2 std::int32_t a", "@2 std::int32_t b"],
}
_DATATYPES: dict[str, dict[str, list[str]]] = {
    "EventHeader": {
        "Members": [
            "@2 std::int32_t eventNumber // event number",
            "@2 std::int32_t runNumber // run number",
            "@4 std::uint64_t eventNumber // event number",
            "@4 std::uint32_t runNumber // run number",
            "std::uint64_t timeStamp // time stamp",
            "double weight // event weight",
        ],
        "VectorMembers": ["double weights // further event weights"],
    },
    "MCParticle": {
        "Members": [
            "std::int32_t PDG // PDG code",
            "std::int32_t generatorStatus // status given by the generator",
            "std::int32_t simulatorStatus // status bits of the simulation",
            "float charge // charge in units of e",
            "float time[ns] // creation time",
            "double mass[GeV] // mass",
            "edm4hep::Vector3d vertex[mm] // production vertex",
            "edm4hep::Vector3d endpoint[mm] // endpoint",
            "edm4hep::Vector3d momentum[GeV] // momentum at the production vertex",
            "edm4hep::Vector3d momentumAtEndpoint[GeV] // momentum at the endpoint",
            "@2 edm4hep::Vector3f spin // spin, (0, 0, helicity)",
            "@2 edm4hep::Vector2i colorFlow // colour flow",
            "@4 std::int32_t helicity{9} // helicity, 9 if unset",
        ],
        "OneToManyRelations": [
            "edm4hep::MCParticle parents // parents",
            "edm4hep::MCParticle daughters // daughters",
        ],
    },
    "SimTrackerHit": {
        "Members": [
            "std::uint64_t cellID // sensor",
            "float eDep[GeV] // deposited energy",
            "float time[ns] // time",
            "float pathLength // path length in the sensitive material",
            "std::int32_t quality // quality bits",
            "edm4hep::Vector3d position[mm] // position",
            "edm4hep::Vector3f momentum[GeV] // momentum of the particle there",
        ],
        "OneToOneRelations": ["edm4hep::MCParticle particle // particle that made the hit"],
    },
    "CaloHitContribution": {
        "Members": [
            "std::int32_t PDG // PDG code of the depositing particle",
            "float energy[GeV] // energy of the contribution",
            "float time[ns] // time",
            "edm4hep::Vector3f stepPosition[mm] // position of the deposit",
            "@4 float stepLength[mm] // step length, -1 marks fast simulation",
        ],
        "OneToOneRelations": ["edm4hep::MCParticle particle // recorded particle responsible for it"],
    },
    "SimCalorimeterHit": {
        "Members": [
            "std::uint64_t cellID // cell",
            "float energy[GeV] // energy",
            "edm4hep::Vector3f position[mm] // centre of the cell",
        ],
        "OneToManyRelations": ["edm4hep::CaloHitContribution contributions // what the energy is made of"],
    },
}


def _members(lines: Iterable[str], schema: int) -> list[str]:
    found = []
    for line in lines:
        restriction, _, rest = line.partition(" ") if line.startswith("@") else ("", "", line)
        if restriction in ("", f"@{schema}"):
            found.append(rest)
    return found


def cpp_declarations(schema: int) -> str:
    """C++ declarations of the EDM4hep data structs for a schema (2 or 4).

    `ClassDefNV` gives each class the schema as its ROOT class version, as podio's generated dictionaries do; it adds no
    data member, so layout and ROOT checksums equal those of the generated classes.
    """

    def struct(name: str, members: list[str]) -> str:
        body = []
        for member in members:
            type_name, field_name = member.split("//")[0].rsplit(None, 1)
            if not field_name.endswith("}"):
                field_name = re.sub(r"\[\w+\]$", "", field_name) + "{}"
            body.append(f"  {type_name} {field_name};")
        return "\n".join((f"struct {name} {{", *body, f"  ClassDefNV({name}, {schema})", "};"))

    parts = [struct(name, _members(lines, schema)) for name, lines in _COMPONENTS.items() if _members(lines, schema)]
    for name, entry in _DATATYPES.items():
        members = _members(entry["Members"], schema)
        for owner in ("VectorMembers", "OneToManyRelations"):
            for line in entry.get(owner, []):
                relation = line.split("//")[0].split()[1]
                members += [f"unsigned int {relation}_begin", f"unsigned int {relation}_end"]
        parts.append(struct(f"{name}Data", members))
    return "namespace edm4hep {\n" + "\n".join(parts) + "\n} // namespace edm4hep\n"


def edm_definition(schema: int) -> str:
    """JSON definition of these types in podio's form, as stored in the file's metadata."""
    definition: dict[str, Any] = {
        "options": {"getSyntax": True, "exposePODMembers": False, "includeSubfolder": "edm4hep/"},
        "schema_version": schema,
        "components": {
            f"edm4hep::{name}": {"Members": _members(lines, schema)}
            for name, lines in _COMPONENTS.items()
            if _members(lines, schema)
        },
        "datatypes": {
            f"edm4hep::{name}": {
                "Description": f"EDM4hep {name}",
                "Author": "EDM4hep authors",
                **{
                    kind: _members(entry.get(kind, []), schema)
                    for kind in ("Members", "VectorMembers", "OneToOneRelations", "OneToManyRelations")
                },
            }
            for name, entry in _DATATYPES.items()
        },
        "interfaces": {},
        "links": {},
    }
    return json.dumps(definition)


def collection_id(name: str) -> int:
    """podio's identifier of a collection: MurmurHash3_x86_32 of its name, seed 0 (A. Appleby, public domain)."""

    def rotated(value: int, bits: int) -> int:
        value &= 0xFFFFFFFF
        return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF

    def scrambled(block: int) -> int:
        return rotated(block * 0xCC9E2D51, 15) * 0x1B873593 & 0xFFFFFFFF

    data = name.encode()
    whole = len(data) & ~3
    state = 0
    for start in range(0, whole, 4):
        state ^= scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = rotated(state, 13) * 5 + 0xE6546B64 & 0xFFFFFFFF
    if len(data) > whole:
        state ^= scrambled(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ state >> shift) * factor & 0xFFFFFFFF
    return state ^ state >> 16
