// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "ddg4/NavigatorCheck.h"

#include <DDG4/Geant4HitCollection.h>
#include <DDG4/Geant4SensDetAction.h>

#include <CLHEP/Units/SystemOfUnits.h>
#include <G4LogicalVolume.hh>
#include <G4Navigator.hh>
#include <G4ThreeVector.hh>
#include <G4TouchableHandle.hh>
#include <G4TouchableHistory.hh>
#include <G4TransportationManager.hh>
#include <G4VPhysicalVolume.hh>

#include <chrono>

namespace ddcalogen::ddg4 {

NavigatorCheck::NavigatorCheck() : m_navigator(std::make_unique<G4Navigator>()) {
  // One of its own: that of the tracking must not be moved.
  m_navigator->SetWorldVolume(
      G4TransportationManager::GetTransportationManager()->GetNavigatorForTracking()->GetWorldVolume());
}

NavigatorCheck::~NavigatorCheck() = default;

void NavigatorCheck::check(const HitCollections& collections, const CellDeposits& deposits, std::size_t first,
                           std::size_t last) {
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = first; i < last; ++i) {
    const G4ThreeVector point(static_cast<double>(deposits.spot_x_mm[i]) * CLHEP::mm,
                              static_cast<double>(deposits.spot_y_mm[i]) * CLHEP::mm,
                              static_cast<double>(deposits.spot_z_mm[i]) * CLHEP::mm);
    const auto* volume = m_navigator->LocateGlobalPointAndSetup(point);
    CellID found = 0;
    if (volume != nullptr && volume->GetLogicalVolume()->GetSensitiveDetector() != nullptr) {
      const G4TouchableHandle touchable(m_navigator->CreateTouchableHistory());
      auto* sensitive = collections.of(deposits.detector[i], deposits.cell_id[i]).sensitive();
      found = static_cast<CellID>(sensitive->cellID(touchable(), point));
    }
    ++cells;
    if (found != deposits.cell_id[i])
      ++different;
  }
  seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

} // namespace ddcalogen::ddg4
