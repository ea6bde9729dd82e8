# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Make geant4_ecal_photons.json: numbers of Geant4 photon showers in the ILD ECAL stack, for tests without the showers.

usage: make_geant4_reference.py OUT.json SHOWERS.h5...   (all showers of the files)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ddcalogen.training.data import ShowerFile, Showers, file_sha256
from ddcalogen.training.systems.parametrised import ILD_ECAL_LAYER_DEPTH_MM, LAYERS
from ddcalogen.validation.observables import make_cells, measure

GROUPS = {  # energy GeV, theta degrees
    "1-5 GeV, 0-30 deg": ((1.0, 5.0), (0.0, 30.0)),
    "5-10 GeV, 0-30 deg": ((5.0, 10.0), (0.0, 30.0)),
    "10-40 GeV, 0-15 deg": ((10.0, 40.0), (0.0, 15.0)),
    "40-70 GeV, 0-15 deg": ((40.0, 70.0), (0.0, 15.0)),
    "70-130 GeV, 0-15 deg": ((70.0, 130.0), (0.0, 15.0)),
    "10-100 GeV, 30-45 deg": ((10.0, 100.0), (30.0, 45.0)),
    "10-100 GeV, 50-60 deg": ((10.0, 100.0), (50.0, 60.0)),
}


def main(out: str, paths: list[str]) -> None:
    showers = Showers.join([ShowerFile(p).read(0, len(ShowerFile(p))) for p in paths])
    depth = np.array(ILD_ECAL_LAYER_DEPTH_MM)
    cells = make_cells(
        showers,
        depth,
        cell_mm=5 * showers.pitch_mm,
        rotation_rad=showers.grid_rotation_rad,
        rng=np.random.default_rng(0),
    )
    observables = measure(showers, cells, cell_mm=5 * showers.pitch_mm).scalars
    theta = np.degrees(np.arccos(np.clip(showers.direction[:, 2], 0, 1)))
    profile = showers.layer_energy_gev(LAYERS) * 1e3 / showers.energy_gev[:, None]
    groups = {}
    for name, ((e0, e1), (t0, t1)) in GROUPS.items():
        chosen = (showers.energy_gev >= e0) & (showers.energy_gev < e1) & (theta >= t0) & (theta < t1)
        some = np.random.default_rng(0).permutation(np.flatnonzero(chosen))[:150]  # incident particles for the tests
        groups[name] = {
            "energy_gev": [round(float(e), 3) for e in showers.energy_gev[some]],
            "theta_deg": [round(float(t), 2) for t in theta[some]],
            "showers": int(chosen.sum()),
            "layer_mev_per_gev": [round(float(v), 4) for v in profile[chosen].mean(0)],
            "layer_mev_per_gev_error": [round(float(v), 5) for v in profile[chosen].std(0) / np.sqrt(chosen.sum())],
            "observables": {
                k: [float(f"{v[chosen].mean():.5g}"), float(f"{v[chosen].std():.5g}")] for k, v in observables.items()
            },
        }
    content = {
        "source": "Geant4 11.4.0 through DD4hep ddsim, planar gap-free ILD ECAL layer stack, photons",
        "files": {Path(p).name: file_sha256(p) for p in paths},
        "observables": "mean and standard deviation over showers, see ddcalogen.validation.observables",
        "groups": groups,
    }
    Path(out).write_text(json.dumps(content, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
