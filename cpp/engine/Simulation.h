// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inference/ShowerGenerator.h"
#include "placement/Placer.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ddcalogen {

struct SimulationOptions {
  std::uint64_t seed = 0;
  std::size_t batch = 64; ///< showers per network call
  unsigned threads = 1;   ///< batches in flight at once
  GridMethod grid_method = GridMethod::RandomPoint;
  double max_entry_depth_mm = 40.; ///< later entries are left to full simulation
};

/// What became of each particle; all vectors have one entry per particle, deposits one (maybe empty) shower.
struct SimulationResult {
  std::vector<GuardDecision> guard;
  std::vector<ShowerStatus> status; ///< meaningful where the guard accepted
  std::vector<EnergyAccount> accounts;
  CellDeposits deposits;
  double noise_seconds = 0.;     ///< summed over threads
  double network_seconds = 0.;   ///< summed over threads
  double placement_seconds = 0.; ///< summed over threads
};

/// The whole chain: guard -> request -> batch -> network -> spots -> placement -> cell deposits. Immutable and safe to
/// share between threads. The result for a particle depends on the particle, the seed and the model alone: not on the
/// other particles, the batch size or the number of threads.
class Simulation {
public:
  Simulation(std::shared_ptr<const ShowerGenerator> generator, std::shared_ptr<const Placer> placer,
             SimulationOptions options);

  const SimulationOptions& options() const { return m_options; }
  const ShowerGenerator& generator() const { return *m_generator; }
  const Placer& placer() const { return *m_placer; }

  /// Guard only: would this particle be simulated, and from which entry.
  StackEntry check(const IncidentParticle& particle) const;

  /// Throws Error(Inference) when the network fails as a whole.
  SimulationResult simulate(std::span<const IncidentParticle> particles) const;

  /// Places given showers (from a file, say) instead of generated ones. `spots[i]` belongs to `particles[i]`; only the
  /// entry position is guarded.
  SimulationResult place(std::span<const IncidentParticle> particles, std::span<const SpotView> spots) const;

private:
  std::shared_ptr<const ShowerGenerator> m_generator;
  std::shared_ptr<const Placer> m_placer;
  SimulationOptions m_options;
};

} // namespace ddcalogen
