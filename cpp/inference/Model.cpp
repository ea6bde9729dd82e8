// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/Model.h"

#include "core/Error.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ddcalogen {

std::uint64_t SpotOutput::capacity(double energy_gev) const {
  const double wanted = std::ceil(capacity_base + capacity_per_gev * energy_gev);
  return std::min(capacity_maximum, static_cast<std::uint64_t>(std::max(0., wanted)));
}

GuardDecision Domain::check(std::int32_t pdg_code, double energy_gev, double cos_theta) const {
  if (!std::isfinite(energy_gev) || !std::isfinite(cos_theta))
    return GuardDecision::BadKinematics;
  if (std::find(pdg.begin(), pdg.end(), pdg_code) == pdg.end())
    return GuardDecision::PdgNotCovered;
  if (energy_gev < energy_min_gev)
    return GuardDecision::EnergyTooLow;
  if (energy_gev > energy_max_gev)
    return GuardDecision::EnergyTooHigh;
  const double theta_deg = std::acos(std::clamp(cos_theta, -1., 1.)) * 180. / std::numbers::pi;
  // A direction rounded to float32 must not fall out of a closed range.
  constexpr double tolerance_deg = 1e-3;
  if (theta_deg < theta_min_deg - tolerance_deg || theta_deg > theta_max_deg + tolerance_deg)
    return GuardDecision::AngleOutside;
  return GuardDecision::Accepted;
}

void Model::validate() const {
  const auto fail = [this](std::string problem, std::string found, std::string expected) {
    throw Error(ErrorKind::Model, "model '" + name + "': " + std::move(problem), std::move(found), std::move(expected),
                "Export the model again.");
  };
  if (layer_depth_mm.empty() || !std::is_sorted(layer_depth_mm.begin(), layer_depth_mm.end()))
    fail("layer depths are not a rising list", std::to_string(layer_depth_mm.size()) + " depths", "one per layer");
  if (domain.pdg.empty())
    fail("the domain names no particle", "an empty list", "at least one PDG code");
  if (!(domain.energy_min_gev >= 0.) || !(domain.energy_max_gev > domain.energy_min_gev))
    fail("the energy range is empty",
         std::to_string(domain.energy_min_gev) + " .. " + std::to_string(domain.energy_max_gev) + " GeV",
         "0 <= low < high");
  if (kind == OutputKind::Spots) {
    if (spots.columns != 4 && spots.columns != 5)
      fail("spot output has a wrong number of columns", std::to_string(spots.columns), "4 or 5");
    if (spots.capacity_maximum == 0)
      fail("the spot capacity is zero", "0", "a positive maximum");
  } else {
    if (grid.layers != layers() || grid.nx == 0 || grid.ny == 0)
      fail("the grid does not fit the layers", std::to_string(grid.layers) + " grid layers",
           std::to_string(layers()) + " layers and a positive number of cells");
    if (!(grid.cell_mm[0] > 0.) || !(grid.cell_mm[1] > 0.))
      fail("the grid cell has no size", "a cell size <= 0", "positive sizes in mm");
  }
}

} // namespace ddcalogen
