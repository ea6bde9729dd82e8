// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ddg4/HitCollections.h"

#include <cstdint>
#include <memory>

class G4Navigator;

namespace ddcalogen::ddg4 {

/// Looks cells up again in the slow way: Geant4's navigator finds the volume, DDG4's volume manager and segmentation
/// make the cellID. For tests of a new detector, and to see what this way costs.
class NavigatorCheck {
public:
  NavigatorCheck();
  ~NavigatorCheck();
  NavigatorCheck(const NavigatorCheck&) = delete;
  NavigatorCheck& operator=(const NavigatorCheck&) = delete;

  /// Compares the cells `first` to `last` (not included) with what the navigator finds at their mean spot positions.
  void check(const HitCollections& collections, const CellDeposits& deposits, std::size_t first, std::size_t last);

  std::uint64_t cells = 0;
  std::uint64_t different = 0;
  double seconds = 0.;

private:
  std::unique_ptr<G4Navigator> m_navigator;
};

} // namespace ddcalogen::ddg4
