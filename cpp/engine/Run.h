// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// A run of several models in one detector, and the place where one part of a program leaves it for another.
#pragma once

#include "engine/Simulation.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace ddcalogen {

struct RunModel {
  std::shared_ptr<const Simulation> simulation;
  std::int64_t card_schema = 0;
};

/// Models that share one detector and one seed, in the order in which they are asked. Immutable once it is shared.
struct Run {
  std::string program_version;
  std::string geometry_name;
  std::vector<std::string> cells; ///< "detector:hash" of each detector that showers fill
  std::vector<RunModel> models;

  const SensitiveSurfaces& surfaces() const { return models.front().simulation->placer().stacks().surfaces(); }
  std::uint64_t seed() const { return models.front().simulation->options().seed; }

  struct Choice {
    GuardDecision decision = GuardDecision::PdgNotCovered; ///< why no model takes the particle, unless accepted
    std::size_t model = 0;                                 ///< meaningful when accepted
  };
  /// The first model that accepts the particle; else the reason that says most: any other than its type.
  Choice choose(const IncidentParticle& particle) const;
};

/// Leaves a run under a name, for a plugin that knows nothing of cards and geometry descriptions.
/// Throws Error(Configuration) when the run has no model, or models of different detectors or seeds.
void share_run(const std::string& name, std::shared_ptr<const Run> run);
/// Takes the name back; whoever has the run already keeps it.
void withdraw_run(const std::string& name);
/// Throws Error(Configuration) when nothing was left under that name.
std::shared_ptr<const Run> shared_run(const std::string& name);

/// A particle as a file of calorimeter entries keeps it: kinetic energy, time and momentum in single precision.
/// Generating from this instead of the particle itself gives the same shower when the file is filled later.
struct RecordedParticle {
  IncidentParticle particle;
  Vec3 momentum_gev;
};
RecordedParticle as_recorded(std::int32_t pdg, double kinetic_energy_gev, const Vec3& position_mm,
                             const Vec3& momentum_gev, double time_ns, std::uint64_t event, std::uint32_t particle);

inline constexpr std::string_view kEntriesCollection = "CaloGenEntries";
inline constexpr std::string_view kEntriesEncoding = "particle:0:32,pdg:32:-32";
/// CellID of a calorimeter entry, in that encoding.
std::uint64_t entry_cell_id(std::int32_t pdg, std::uint32_t particle);

} // namespace ddcalogen
