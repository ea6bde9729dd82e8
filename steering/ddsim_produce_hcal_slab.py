# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training data for hadron shower models: pions into the gap-free ECAL and HCAL of ILD, by full simulation.

ddsim --steeringFile steering/ddsim_produce_hcal_slab.py --compactFile steering/compact/ild_ecal_hcal_slab.xml \
      --numberOfEvents 1000 --random.seed 1 --outputFile pions_1.edm4hep.root
ddcalogen data convert pions_1.edm4hep.root --calorimeter ecal --calorimeter hcal -o pions_1.h5

The pions enter at the origin of the shower frame, with energies of 10 to 100 GeV (--gun.momentumMin, .momentumMax),
flat, perpendicular. Give every job a seed of its own. For a HCAL model alone: --compactFile
steering/compact/ild_hcal_slab.xml.
"""

from g4units import GeV, deg, mm

SIM.enableGun = True  # noqa: F821  (ddsim defines SIM)
SIM.gun.particle = "pi+"  # noqa: F821
SIM.gun.position = (0.0, 0.0, -1e-6 * mm)  # noqa: F821  (just before the face)
SIM.gun.distribution = "uniform"  # noqa: F821
SIM.gun.thetaMin = 0.0 * deg  # noqa: F821
SIM.gun.thetaMax = 0.0 * deg  # noqa: F821
SIM.gun.momentumMin = 10.0 * GeV  # noqa: F821
SIM.gun.momentumMax = 100.0 * GeV  # noqa: F821
SIM.physics.rangecut = 0.1 * mm  # noqa: F821
SIM.random.enableEventSeed = True  # noqa: F821
