# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""The ECAL of ILD as faces and field, for tests of transport."""

from __future__ import annotations

import dataclasses
import math

from ddcalogen.geometry import CalorimeterFace, Geometry, SolenoidField

# The ECAL of ILD_l5_o1_v02 from its drivers in k4geo, independent of the shipped snapshot.
ECAL_FACES = (
    CalorimeterFace(
        detector="EcalBarrel",
        kind="barrel",
        distance_mm=1804.8,
        symmetry=8,
        phi0_rad=0.0,
        r_inner_mm=1804.8,
        r_outer_mm=2028.0,
        z_min_mm=0.0,
        z_max_mm=2350.0,
    ),
    CalorimeterFace(
        detector="EcalEndcap",
        kind="endcap",
        distance_mm=2411.8,
        symmetry=8,
        phi0_rad=0.0,
        r_inner_mm=400.0,
        r_outer_mm=2095.84,
        z_min_mm=2411.8,
        z_max_mm=2635.0,
        hole_symmetry=4,
    ),
    CalorimeterFace(
        detector="EcalPlug",
        kind="endcap",
        distance_mm=2411.8,
        symmetry=4,
        phi0_rad=0.0,
        r_inner_mm=250.0,
        r_outer_mm=390.0,
        z_min_mm=2411.8,
        z_max_mm=2635.0,
        hole_symmetry=0,
        hole_centre_mm=(math.tan(7e-3) * 2523.4, 0.0),
    ),
)
FIELD = SolenoidField(b_inside_tesla=3.5, b_outside_tesla=-1.5, r_mm=3425.04, half_z_mm=3872.0)
BARREL, ENDCAP, PLUG = range(3)


def detector(
    faces: tuple[CalorimeterFace, ...] = ECAL_FACES, *, tesla: float = 3.5, centred_hole: bool = False
) -> Geometry:
    """A geometry of faces and field only."""
    if centred_hole:
        faces = tuple(dataclasses.replace(face, hole_centre_mm=(0.0, 0.0)) for face in faces)
    return Geometry(
        name="test", source="test", detectors=(), faces=faces, field=dataclasses.replace(FIELD, b_inside_tesla=tesla)
    )
