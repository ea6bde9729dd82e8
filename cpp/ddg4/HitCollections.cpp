// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "ddg4/HitCollections.h"

#include "core/Error.h"

#include <DDG4/Geant4Data.h>
#include <DDG4/Geant4HitCollection.h>

#include <CLHEP/Units/SystemOfUnits.h>
#include <G4HCofThisEvent.hh>
#include <G4SDManager.hh>
#include <G4VSensitiveDetector.hh>

#include <algorithm>
#include <memory>
#include <typeinfo>

namespace ddcalogen::ddg4 {
namespace {

using Hit = dd4hep::sim::Geant4Calorimeter::Hit;
constexpr double kFastSimulationLength = -1.;

} // namespace

HitCollections::HitCollections(const SensitiveSurfaces& surfaces, const std::vector<std::string>& detectors)
    : m_surfaces(surfaces), m_collections(surfaces.detectors().size()) {
  auto* manager = G4SDManager::GetSDMpointer();
  for (const auto& name : detectors) {
    const auto index = surfaces.detector_index(name);
    auto* sensitive = manager->FindSensitiveDetector(name, false);
    if (sensitive == nullptr)
      throw Error(ErrorKind::Configuration, "detector '" + name + "' is not sensitive in this simulation",
                  "no Geant4 sensitive detector of that name", "a calorimeter with a sensitive action",
                  "Do not exclude the detector, or leave out the model.");
    std::vector<std::string> known;
    for (int i = 0; i < sensitive->GetNumberOfCollections(); ++i)
      known.emplace_back(sensitive->GetCollectionName(i));
    for (const auto& collection : surfaces.detectors()[index].hit_collections) {
      if (std::find(known.begin(), known.end(), collection.name) == known.end()) {
        std::string found;
        for (const auto& k : known)
          found += (found.empty() ? "" : ", ") + k;
        throw Error(ErrorKind::Configuration,
                    "the sensitive action of detector '" + name + "' does not fill the collection '" + collection.name +
                        "' of its readout",
                    found.empty() ? "no collections" : found, collection.name,
                    "Use an action for calorimeter hits, such as Geant4ScintillatorCalorimeterAction "
                    "(SIM.action.calo, SIM.action.mapActions).");
      }
      m_collections[index].push_back({collection.name, manager->GetCollectionID(name + "/" + collection.name)});
    }
  }
}

void HitCollections::begin(G4HCofThisEvent* event) {
  for (auto& detector : m_collections)
    for (auto& collection : detector) {
      auto* all = event != nullptr && collection.id >= 0 ? event->GetHC(collection.id) : nullptr;
      collection.hits = dynamic_cast<dd4hep::sim::Geant4HitCollection*>(all);
      if (collection.hits == nullptr || collection.hits->type().type() != typeid(Hit))
        throw Error(ErrorKind::Configuration,
                    "the sensitive action that fills the collection '" + collection.name +
                        "' does not support fast simulation",
                    collection.hits == nullptr ? "no DDG4 hit collection" : collection.hits->type().type().name(),
                    "dd4hep::sim::Geant4Calorimeter::Hit",
                    "Use an action for calorimeter hits, such as Geant4ScintillatorCalorimeterAction "
                    "(SIM.action.calo, SIM.action.mapActions).");
    }
}

void HitCollections::add(const IncidentParticle& particle, const CellDeposits& deposits, std::size_t first,
                         std::size_t last) {
  double momentum[3] = {particle.direction.x, particle.direction.y, particle.direction.z};
  for (double& p : momentum)
    p *= particle.energy_gev * CLHEP::GeV;
  for (std::size_t i = first; i < last; ++i) {
    const auto cell = deposits.cell_id[i];
    auto& hits = of(deposits.detector[i], cell);
    const auto key = static_cast<dd4hep::VolumeID>(cell);
    auto* hit = hits.findByKey<Hit>(key);
    if (hit == nullptr) {
      Vec3 centre;
      m_surfaces.cell_centre(cell, centre);
      auto made = std::make_unique<Hit>(dd4hep::Position(centre.x, centre.y, centre.z));
      made->cellID = static_cast<long long>(cell);
      hit = made.get();
      hits.add(key, made.release());
    }
    const double deposit = static_cast<double>(deposits.energy_gev[i]) * CLHEP::GeV;
    double position[3] = {static_cast<double>(deposits.spot_x_mm[i]), static_cast<double>(deposits.spot_y_mm[i]),
                          static_cast<double>(deposits.spot_z_mm[i])};
    hit->truth.emplace_back(static_cast<int>(particle.particle), particle.pdg, deposit,
                            static_cast<double>(deposits.time_ns[i]) * CLHEP::ns, kFastSimulationLength, position,
                            momentum);
    hit->energyDeposit += deposit;
  }
}

} // namespace ddcalogen::ddg4
