# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Which detectors and technologies make up the calorimeters that showers are placed into.

A simulation model of a detector can carry several technologies at once (ILD's hybrid models have silicon and
scintillator layers in the same slot). A generated shower fills the technology that the model was trained for.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection
from dataclasses import dataclass, replace

from ddcalogen._core import LayerStacks, StackGroup
from ddcalogen.errors import ConfigurationError
from ddcalogen.geometry import Geometry

__all__ = ["Calorimeter", "Member", "add_calorimeter", "find_calorimeter", "known_calorimeters", "layer_stacks"]


@dataclass(frozen=True)
class Member:
    """One detector and the values of its segmentation's key field that showers fill; empty: all."""

    detector: str
    technologies: tuple[int, ...] = ()


@dataclass(frozen=True)
class Calorimeter:
    """Groups of detectors; the members of a group follow each other in depth behind one face."""

    name: str
    detectors: str
    """Shell pattern of the detector models this applies to."""
    groups: tuple[tuple[Member, ...], ...]
    readable: str
    optional: tuple[str, ...] = ()
    """Detectors that some models of the family do not have: their groups are then left out."""


_SI = (4, 10)  # slices of the silicon in even and odd layers of ILD's hybrid ECAL
_SCINTILLATOR = (3,)  # slice of the scintillator in ILD's hybrid HCAL

_CALORIMETERS = [
    Calorimeter(
        "ECAL",
        "ILD_*",
        ((Member("EcalBarrel", _SI),), (Member("EcalEndcap", _SI),), (Member("EcalPlug"),)),
        "silicon-tungsten ECAL: barrel, endcaps and plug",
        optional=("EcalPlug",),
    ),
    Calorimeter(
        "HCAL",
        "ILD_*",
        (
            (Member("HcalBarrel", _SCINTILLATOR),),
            (Member("HcalEndcap", _SCINTILLATOR),),
            (Member("HcalRing", _SCINTILLATOR),),
        ),
        "scintillator-steel HCAL: barrel, endcaps and ring",
        optional=("HcalRing",),
    ),
    Calorimeter(
        "ECAL+HCAL",
        "ILD_*",
        (
            (Member("EcalBarrel", _SI), Member("HcalBarrel", _SCINTILLATOR)),
            (Member("EcalEndcap", _SI), Member("HcalEndcap", _SCINTILLATOR)),
        ),
        "silicon-tungsten ECAL followed by the scintillator-steel HCAL, barrel and endcaps",
    ),
    Calorimeter(
        "ECAL",
        "CLD_*",
        ((Member("ECalBarrel"),), (Member("ECalEndcap"),)),
        "silicon-tungsten ECAL: barrel and endcaps",
    ),
]


def add_calorimeter(calorimeter: Calorimeter) -> None:
    """Make a calorimeter of a further detector known; it goes before those known already."""
    _CALORIMETERS.insert(0, calorimeter)


def known_calorimeters(detector: str) -> list[Calorimeter]:
    """Calorimeters known for a detector model, by name such as ILD_l5_o1_v02."""
    return [c for c in _CALORIMETERS if fnmatch.fnmatch(detector, c.detectors)]


def find_calorimeter(detector: str, name: str, present: Collection[str] | None = None) -> Calorimeter:
    """The calorimeter called `name` of a detector model.

    Parameters
    ----------
    present
        Names of the detectors that there are, to leave out optional ones that there are not.

    Raises
    ------
    ConfigurationError
        The detector has no calorimeter of that name here.
    """
    known = known_calorimeters(detector)
    for calorimeter in known:
        if calorimeter.name == name:
            absent = set(calorimeter.optional).difference(calorimeter.optional if present is None else present)
            return replace(calorimeter, groups=tuple(g for g in calorimeter.groups if g[0].detector not in absent))
    raise ConfigurationError(
        f"no calorimeter '{name}' is known for the detector",
        found=detector,
        expected=", ".join(c.name for c in known)
        or "a detector of the families " + ", ".join(sorted({c.detectors for c in _CALORIMETERS})),
        remedy="Choose another detector or another model.",
    )


def layer_stacks(geometry: Geometry, name: str) -> LayerStacks:
    """Stacks of parallel sensitive planes of the calorimeter `name` of a geometry, with their faces.

    Raises
    ------
    ConfigurationError
        The calorimeter is not known for this detector.
    GeometryError
        The geometry lacks one of its detectors or technologies.
    """
    calorimeter = find_calorimeter(geometry.name, name, [detector.name for detector in geometry.detectors])
    faces = {face.detector: face.distance_mm for face in geometry.faces}
    groups = []
    for group in calorimeter.groups:
        first = group[0].detector
        if first not in faces:
            raise ConfigurationError(
                f"the geometry '{geometry.name}' has no face for the detector '{first}'",
                found=", ".join(faces) or "no faces",
                expected=f"a face of '{first}'",
                remedy="Export the geometry again.",
            )
        groups.append(StackGroup([(m.detector, list(m.technologies)) for m in group], faces[first]))
    return LayerStacks(geometry.surfaces, groups)
