# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""ILD with the particles that the ECAL model covers recorded at the calorimeter, for a second pass on a GPU.

ddsim --steeringFile steering/ddsim_ild_record.py \
      --compactFile $K4GEO/ILD/compact/ILD_l5_o1_v02/ILD_l5_o1_v02.xml \
      --inputFiles events.hepmc3 --numberOfEvents 100 --outputFile record.edm4hep.root
ddcalogen fill record.edm4hep.root -o events.edm4hep.root --provider cuda --batch 512
"""

import ddcalogen.ddsim

SIM.action.mapActions["tpc"] = "TPCSDAction"  # noqa: F821  (ddsim defines SIM)
SIM.enableDetailedShowerMode = True  # noqa: F821
SIM.random.enableEventSeed = True  # noqa: F821
SIM.physics.setupUserPhysics(  # noqa: F821
    ddcalogen.ddsim.setup(models=["ild_ecal_em_layered"], detector="ILD", mode="record")
)
