// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "ddg4/CaloGenEntries.h"

#include <DD4hep/Detector.h>
#include <DD4hep/IDDescriptor.h>
#include <DD4hep/Readout.h>
#include <DDG4/Geant4Data.h>
#include <DDG4/Geant4HitCollection.h>

#include <CLHEP/Units/SystemOfUnits.h>

#include <memory>

namespace ddcalogen::ddg4 {

using Hit = dd4hep::sim::Geant4Tracker::Hit;

CaloGenEntries::CaloGenEntries(dd4hep::sim::Geant4Context* context, const std::string& name,
                               dd4hep::DetElement detector, dd4hep::Detector& description)
    : Geant4Sensitive(context, name, detector, description) {
  // The output takes the meaning of the cellIDs from here: not that of the calorimeter, but that of the entries.
  const std::string collection(kEntriesCollection);
  dd4hep::Readout readout(collection);
  readout.setIDDescriptor(dd4hep::IDDescriptor(collection, std::string(kEntriesEncoding)));
  m_sensitive = dd4hep::SensitiveDetector(collection, "tracker");
  m_sensitive.setReadout(readout);
}

void CaloGenEntries::defineCollections() { sequence().defineCollection<Hit>(this, std::string(kEntriesCollection)); }

void CaloGenEntries::add(dd4hep::sim::Geant4HitCollection& entries, const RecordedParticle& entry) {
  const auto& particle = entry.particle;
  const dd4hep::Position position(particle.position_mm.x, particle.position_mm.y, particle.position_mm.z);
  const dd4hep::Direction momentum(entry.momentum_gev.x * CLHEP::GeV, entry.momentum_gev.y * CLHEP::GeV,
                                   entry.momentum_gev.z * CLHEP::GeV);
  auto hit = std::make_unique<Hit>(static_cast<int>(particle.particle), particle.pdg, particle.energy_gev * CLHEP::GeV,
                                   particle.time_ns * CLHEP::ns, 0., position, momentum);
  hit->cellID = static_cast<long long>(entry_cell_id(particle.pdg, particle.particle));
  entries.add(hit.release());
}

} // namespace ddcalogen::ddg4
