// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "geometry/SensitiveSurfaces.h"
#include "shower/Shower.h"

#include <string>
#include <vector>

class G4HCofThisEvent;

namespace dd4hep::sim {
class Geant4HitCollection;
}

namespace ddcalogen::ddg4 {

/// The hit collections of one thread that showers are written into: those of all detectors of the surfaces that are
/// simulated.
///
/// Cells are put into the collections directly, as the sensitive actions of DDG4 would do it: one hit per cell, found
/// by its cellID, one contribution per shower with step length -1 (DDG4's mark of fast simulation). Handing over each
/// spot as a Geant4FastSimSpot would give the same hits, but needs a volume path for each, which only a navigator walk
/// gives.
class HitCollections {
public:
  /// Finds the collections among the sensitive detectors of this thread.
  /// Throws Error(Configuration) when a detector has no sensitive action with the collections of its readout.
  HitCollections(const SensitiveSurfaces& surfaces, const std::vector<std::string>& detectors);

  /// Looks up the collections of a new event. Throws Error(Configuration) when they hold no DDG4 calorimeter hits.
  void begin(G4HCofThisEvent* event);

  /// Adds the cells `first` to `last` (not included) as contributions of the particle.
  void add(const IncidentParticle& particle, const CellDeposits& deposits, std::size_t first, std::size_t last);

  /// The collection of this event that a cell of the detector belongs to.
  dd4hep::sim::Geant4HitCollection& of(std::uint32_t detector, CellID cell) const {
    return *m_collections[detector].at(static_cast<std::size_t>(m_surfaces.collection_of(cell))).hits;
  }

private:
  struct Collection {
    std::string name;
    int id = -1; ///< of Geant4
    dd4hep::sim::Geant4HitCollection* hits = nullptr;
  };
  const SensitiveSurfaces& m_surfaces;
  std::vector<std::vector<Collection>> m_collections; ///< by detector, as in its readout; empty: not simulated
};

} // namespace ddcalogen::ddg4
