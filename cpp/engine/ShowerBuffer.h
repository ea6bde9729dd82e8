// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "engine/Run.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ddcalogen {

/// What became of the particles of a run, as `ddcalogen simulate` counts it too.
struct RunTotals {
  struct Tally {
    std::uint64_t number = 0;
    double energy_gev = 0.; ///< kinetic
  };
  std::map<std::string, Tally> fates;
  EnergyAccount account; ///< visible energy of all good showers
  std::uint64_t showers = 0;
  std::uint64_t hits = 0;
  std::uint64_t network_calls = 0;
  double noise_seconds = 0.;
  double network_seconds = 0.;
  double placement_seconds = 0.;

  void count(const std::string& fate, double energy_gev);
  RunTotals& operator+=(const RunTotals& other);
};

/// Particles that wait for their showers. Belongs to one thread.
class ShowerBuffer {
public:
  /// Receives the cells `first` to `last` (not included) of the deposits: the shower of one particle.
  using Sink = std::function<void(const IncidentParticle&, const CellDeposits&, std::size_t first, std::size_t last)>;

  explicit ShowerBuffer(std::shared_ptr<const Run> run);

  bool empty() const { return m_size == 0; }
  std::size_t size() const { return m_size; }
  void add(const IncidentParticle& particle, std::size_t model);
  /// Generates all showers, model by model, and hands each good one to the sink. Throws Error(Inference).
  void flush(const Sink& sink);
  /// Forgets the particles, counting them under `fate`; returns how many there were.
  std::size_t discard(const std::string& fate);

  RunTotals totals; ///< since they were last taken away

private:
  std::shared_ptr<const Run> m_run;
  std::vector<std::vector<IncidentParticle>> m_waiting; ///< by model
  std::size_t m_size = 0;
};

} // namespace ddcalogen
