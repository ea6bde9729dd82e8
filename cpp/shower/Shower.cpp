// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "shower/Shower.h"

#include <array>

namespace ddcalogen {

const char* name(GuardDecision decision) {
  static constexpr std::array<const char*, kGuardDecisions> names{
      "accepted",      "particle type not covered", "energy below range", "energy above range",
      "angle outside", "not at this calorimeter",   "entry too deep",     "bad kinematics"};
  return names[static_cast<std::size_t>(decision)];
}

const char* name(ShowerStatus status) {
  static constexpr std::array<const char*, kShowerStatuses> names{
      "good", "not finite", "negative energy", "layer out of range", "more spots than declared", "no energy"};
  return names[static_cast<std::size_t>(status)];
}

namespace {
template <typename T> void extend(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}
} // namespace

void CellDeposits::append(const CellDeposits& other) {
  const std::uint64_t base = offsets.back();
  for (std::size_t i = 1; i < other.offsets.size(); ++i)
    offsets.push_back(base + other.offsets[i]);
  extend(cell_id, other.cell_id);
  extend(detector, other.detector);
  extend(energy_gev, other.energy_gev);
  extend(time_ns, other.time_ns);
  extend(spot_x_mm, other.spot_x_mm);
  extend(spot_y_mm, other.spot_y_mm);
  extend(spot_z_mm, other.spot_z_mm);
}

} // namespace ddcalogen
