# SPDX-FileCopyrightText: 2026 the DDCaloGen authors
# SPDX-License-Identifier: Apache-2.0
"""A light reconstruction of photons from calorimeter cells, for studies without a particle-flow program. Needs
scipy."""

from ddcalogen.reco.photons import Photons, find_photons

__all__ = ["Photons", "find_photons"]
