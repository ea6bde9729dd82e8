# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""ILD with generated showers in the ECAL; only what differs from ddsim's defaults.

ddsim --steeringFile steering/ddsim_ild_fastsim.py \
      --compactFile $K4GEO/ILD/compact/ILD_l5_o1_v02/ILD_l5_o1_v02.xml \
      --inputFiles events.hepmc3 --numberOfEvents 100 --outputFile events.edm4hep.root

With a steering file of your own (of ILDConfig, say), add the import and the call at its end to that one instead.
"""

import ddcalogen.ddsim

SIM.action.mapActions["tpc"] = "TPCSDAction"  # noqa: F821  (ddsim defines SIM)
SIM.enableDetailedShowerMode = True  # noqa: F821
SIM.random.enableEventSeed = True  # noqa: F821
SIM.physics.setupUserPhysics(  # noqa: F821
    ddcalogen.ddsim.setup(models=["ild_ecal_em_layered"], detector="ILD")
)
