# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Exact calorimeter geometry: positions to cellIDs and back as DD4hep does, from shipped or exported snapshots."""

from __future__ import annotations

from ddcalogen._core import CellIDEncoding, SensitiveSurfaces
from ddcalogen.geometry.bench import LocateBenchmark, bench_locate
from ddcalogen.geometry.dd4hep_export import export_dd4hep, export_description
from ddcalogen.geometry.description import CalorimeterFace, DetectorDescription, Geometry, SolenoidField
from ddcalogen.geometry.snapshot import SCHEMA_VERSION, available_snapshots, load_snapshot, save_snapshot

__all__ = [
    "SCHEMA_VERSION",
    "CalorimeterFace",
    "CellIDEncoding",
    "DetectorDescription",
    "Geometry",
    "LocateBenchmark",
    "SensitiveSurfaces",
    "SolenoidField",
    "available_snapshots",
    "bench_locate",
    "export_dd4hep",
    "export_description",
    "load_snapshot",
    "save_snapshot",
]
