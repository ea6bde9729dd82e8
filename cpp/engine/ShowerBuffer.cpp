// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "engine/ShowerBuffer.h"

#include <utility>

namespace ddcalogen {

void RunTotals::count(const std::string& fate, double energy_gev) {
  Tally& tally = fates[fate];
  ++tally.number;
  tally.energy_gev += energy_gev;
}

RunTotals& RunTotals::operator+=(const RunTotals& other) {
  for (const auto& [fate, tally] : other.fates) {
    Tally& mine = fates[fate];
    mine.number += tally.number;
    mine.energy_gev += tally.energy_gev;
  }
  account += other.account;
  showers += other.showers;
  hits += other.hits;
  network_calls += other.network_calls;
  noise_seconds += other.noise_seconds;
  network_seconds += other.network_seconds;
  placement_seconds += other.placement_seconds;
  return *this;
}

ShowerBuffer::ShowerBuffer(std::shared_ptr<const Run> run) : m_run(std::move(run)), m_waiting(m_run->models.size()) {}

void ShowerBuffer::add(const IncidentParticle& particle, std::size_t model) {
  m_waiting.at(model).push_back(particle);
  ++m_size;
}

void ShowerBuffer::flush(const Sink& sink) {
  m_size = 0;
  for (std::size_t m = 0; m < m_waiting.size(); ++m) {
    if (m_waiting[m].empty())
      continue;
    const auto& simulation = *m_run->models[m].simulation;
    const std::string& name = simulation.generator().model().name;
    const auto particles = std::exchange(m_waiting[m], {});
    const SimulationResult result = simulation.simulate(particles);
    const std::size_t batch = simulation.options().batch;
    totals.network_calls += (particles.size() + batch - 1) / batch;
    totals.noise_seconds += result.noise_seconds;
    totals.network_seconds += result.network_seconds;
    totals.placement_seconds += result.placement_seconds;
    for (std::size_t i = 0; i < particles.size(); ++i) {
      const auto& particle = particles[i];
      if (result.guard[i] != GuardDecision::Accepted) {
        totals.count(std::string("not simulated: ") + ddcalogen::name(result.guard[i]), particle.energy_gev);
      } else if (result.status[i] != ShowerStatus::Good) {
        totals.count(std::string("shower rejected: ") + ddcalogen::name(result.status[i]), particle.energy_gev);
      } else {
        totals.count("shower by " + name, particle.energy_gev);
        totals.account += result.accounts[i];
        ++totals.showers;
        sink(particle, result.deposits, static_cast<std::size_t>(result.deposits.offsets[i]),
             static_cast<std::size_t>(result.deposits.offsets[i + 1]));
      }
    }
  }
}

std::size_t ShowerBuffer::discard(const std::string& fate) {
  for (auto& waiting : m_waiting) {
    for (const auto& particle : waiting)
      totals.count(fate, particle.energy_gev);
    waiting.clear();
  }
  return std::exchange(m_size, 0);
}

} // namespace ddcalogen
