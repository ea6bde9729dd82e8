# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""Training data for ECAL models: photons into the gap-free ECAL of ILD, by full simulation.

ddsim --steeringFile steering/ddsim_produce_ecal_slab.py --compactFile steering/compact/ild_ecal_slab.xml \
      --numberOfEvents 1000 --random.seed 1 --outputFile photons_1.edm4hep.root
ddcalogen data convert photons_1.edm4hep.root -o photons_1.h5

The photons enter at the origin of the shower frame, with energies of 10 to 100 GeV (--gun.momentumMin, .momentumMax),
angles of 0 to 60 degrees to the normal and all azimuths, all of them flat. Give every job a seed of its own.
"""

from g4units import GeV, deg, mm

SIM.enableGun = True  # noqa: F821  (ddsim defines SIM)
SIM.gun.particle = "gamma"  # noqa: F821
SIM.gun.position = (0.0, 0.0, -1e-6 * mm)  # noqa: F821  (just before the face)
SIM.gun.distribution = "uniform"  # noqa: F821
SIM.gun.thetaMin = 0.0 * deg  # noqa: F821
SIM.gun.thetaMax = 60.0 * deg  # noqa: F821
SIM.gun.momentumMin = 10.0 * GeV  # noqa: F821
SIM.gun.momentumMax = 100.0 * GeV  # noqa: F821
SIM.physics.rangecut = 0.1 * mm  # noqa: F821
SIM.random.enableEventSeed = True  # noqa: F821
