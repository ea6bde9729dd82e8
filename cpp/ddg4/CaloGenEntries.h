// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/Run.h"

#include <DDG4/Geant4SensDetAction.h>

namespace ddcalogen::ddg4 {

/// Owns the collection of calorimeter entries of record mode. Rides on the sensitive detector of a calorimeter,
/// because Geant4 lets only sensitive detectors have collections; makes no hits of its own.
class CaloGenEntries : public dd4hep::sim::Geant4Sensitive {
public:
  CaloGenEntries(dd4hep::sim::Geant4Context* context, const std::string& name, dd4hep::DetElement detector,
                 dd4hep::Detector& description);

  void defineCollections() override;
  bool process(const G4Step*, G4TouchableHistory*) override { return true; }
  bool processFastSim(const dd4hep::sim::Geant4FastSimSpot*, G4TouchableHistory*) override { return true; }

  static void add(dd4hep::sim::Geant4HitCollection& entries, const RecordedParticle& entry);
};

} // namespace ddcalogen::ddg4
