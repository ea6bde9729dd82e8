// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "engine/Simulation.h"

#include "core/Error.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <numeric>
#include <thread>

namespace ddcalogen {
namespace {

using Clock = std::chrono::steady_clock;

/// Runs work(job, thread) for all jobs on `threads` threads; the first exception stops the rest and is rethrown.
template <typename Work> void parallel_for(std::size_t jobs, unsigned threads, const Work& work) {
  const auto workers =
      static_cast<unsigned>(std::min<std::size_t>(std::max(1U, threads), std::max<std::size_t>(1, jobs)));
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&](unsigned thread) {
    try {
      for (std::size_t job = next++; job < jobs; job = next++)
        work(job, thread);
    } catch (...) {
      const std::lock_guard lock(failure_mutex);
      if (!failure)
        failure = std::current_exception();
      next = jobs;
    }
  };
  std::vector<std::jthread> pool;
  for (unsigned t = 1; t < workers; ++t)
    pool.emplace_back(run, t);
  run(0);
  pool.clear(); // joins
  if (failure)
    std::rethrow_exception(failure);
}

/// Joins the deposits of batches, made in any order, in the order of the particles.
CellDeposits in_order(std::size_t particles, const std::vector<CellDeposits>& batches,
                      const std::vector<std::pair<std::size_t, std::size_t>>& where) {
  CellDeposits out;
  out.offsets.reserve(particles + 1);
  std::size_t total = 0;
  for (const auto& batch : batches)
    total += batch.size();
  out.cell_id.reserve(total);
  out.detector.reserve(total);
  for (auto* column : {&out.energy_gev, &out.time_ns, &out.spot_x_mm, &out.spot_y_mm, &out.spot_z_mm})
    column->reserve(total);
  constexpr std::size_t none = static_cast<std::size_t>(-1);
  for (std::size_t i = 0; i < particles; ++i) {
    if (where[i].first != none) {
      const auto& batch = batches[where[i].first];
      const auto first = static_cast<std::ptrdiff_t>(batch.offsets[where[i].second]);
      const auto last = static_cast<std::ptrdiff_t>(batch.offsets[where[i].second + 1]);
      const auto copy = [first, last](const auto& from, auto& to) {
        to.insert(to.end(), from.begin() + first, from.begin() + last);
      };
      copy(batch.cell_id, out.cell_id);
      copy(batch.detector, out.detector);
      copy(batch.energy_gev, out.energy_gev);
      copy(batch.time_ns, out.time_ns);
      copy(batch.spot_x_mm, out.spot_x_mm);
      copy(batch.spot_y_mm, out.spot_y_mm);
      copy(batch.spot_z_mm, out.spot_z_mm);
    }
    out.offsets.push_back(out.cell_id.size());
  }
  return out;
}

} // namespace

Simulation::Simulation(std::shared_ptr<const ShowerGenerator> generator, std::shared_ptr<const Placer> placer,
                       SimulationOptions options)
    : m_generator(std::move(generator)), m_placer(std::move(placer)), m_options(options) {
  if (m_options.batch == 0)
    throw Error(ErrorKind::Configuration, "the batch size is zero", "0", "at least 1", "Set a batch size, e.g. 64.");
}

StackEntry Simulation::check(const IncidentParticle& particle) const {
  StackEntry entry = m_placer->stacks().find_entry(particle.position_mm, particle.direction);
  const auto& domain = m_generator->model().domain;
  // What the particle is comes before where it is, so that counts by reason read as a physicist expects.
  const auto by_kind = domain.check(particle.pdg, particle.energy_gev,
                                    entry.decision == GuardDecision::Accepted ? entry.local_direction.z : 1.);
  if (by_kind == GuardDecision::AngleOutside && entry.decision != GuardDecision::Accepted)
    return entry;
  if (entry.decision == GuardDecision::BadKinematics)
    return entry;
  if (by_kind != GuardDecision::Accepted)
    entry.decision = by_kind;
  else if (entry.decision == GuardDecision::Accepted && entry.depth_mm > m_options.max_entry_depth_mm)
    entry.decision = GuardDecision::EntryTooDeep;
  return entry;
}

SimulationResult Simulation::simulate(std::span<const IncidentParticle> particles) const {
  const Model& model = m_generator->model();
  SimulationResult result;
  result.guard.resize(particles.size());
  result.status.assign(particles.size(), ShowerStatus::Good);
  result.accounts.resize(particles.size());

  std::vector<StackEntry> entries(particles.size());
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < particles.size(); ++i) {
    entries[i] = check(particles[i]);
    result.guard[i] = entries[i].decision;
    if (entries[i].decision == GuardDecision::Accepted)
      order.push_back(i);
  }
  // Showers of like energy travel together: least padding.
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return particles[a].energy_gev < particles[b].energy_gev; });

  const std::size_t batches = (order.size() + m_options.batch - 1) / m_options.batch;
  std::vector<CellDeposits> deposits(batches);
  std::vector<std::pair<std::size_t, std::size_t>> where(particles.size(), {static_cast<std::size_t>(-1), 0});
  struct Local {
    ShowerGenerator::Workspace work;
    CellAccumulator cells;
    std::vector<ShowerRequest> requests;
    double placement_seconds = 0.;
  };
  std::vector<Local> locals(std::max(1U, m_options.threads));
  const GridGeometry grid{model.grid.cell_mm, model.grid.lower_edge_mm, model.grid.follows_axis};

  parallel_for(batches, m_options.threads, [&](std::size_t b, unsigned thread) {
    Local& local = locals[thread];
    const std::size_t first = b * m_options.batch;
    const std::size_t last = std::min(order.size(), first + m_options.batch);
    local.requests.clear();
    for (std::size_t k = first; k < last; ++k) {
      const auto& particle = particles[order[k]];
      local.requests.push_back(
          {particle.energy_gev, entries[order[k]].local_direction, particle.pdg, particle.event, particle.particle});
    }
    const GeneratedBatch generated = m_generator->generate(local.requests, m_options.seed, local.work);
    const auto start = Clock::now();
    CellDeposits& out = deposits[b];
    for (std::size_t k = first; k < last; ++k) {
      const std::size_t i = order[k];
      const std::size_t row = k - first;
      result.status[i] = generated.status[row];
      if (generated.status[row] != ShowerStatus::Good)
        continue;
      where[i] = {b, out.showers()};
      const ShowerToPlace shower{particles[i], entries[i], &model.layer_depth_mm};
      if (model.kind == OutputKind::Spots) {
        result.accounts[i] = m_placer->place(shower, generated.spots[row], local.cells, out);
      } else {
        const NoiseKey key{m_options.seed, particles[i].event, particles[i].particle, model.key};
        const auto uniform = [&key](float* values, std::size_t count) {
          fill_noise(key, "placement", NoiseDistribution::Uniform, values, count);
        };
        result.accounts[i] =
            m_placer->place(shower, generated.grids[row], grid, m_options.grid_method, uniform, local.cells, out);
      }
    }
    local.placement_seconds += std::chrono::duration<double>(Clock::now() - start).count();
  });

  for (const auto& local : locals) {
    result.noise_seconds += local.work.noise_seconds;
    result.network_seconds += local.work.network_seconds;
    result.placement_seconds += local.placement_seconds;
  }
  result.deposits = in_order(particles.size(), deposits, where);
  return result;
}

SimulationResult Simulation::place(std::span<const IncidentParticle> particles, std::span<const SpotView> spots) const {
  if (particles.size() != spots.size())
    throw Error(ErrorKind::Input, "particles and showers do not pair up",
                std::to_string(particles.size()) + " particles, " + std::to_string(spots.size()) + " showers",
                "as many showers as particles", "Give one shower for each particle.");
  const Model& model = m_generator->model();
  SimulationResult result;
  result.guard.resize(particles.size());
  result.status.assign(particles.size(), ShowerStatus::Good);
  result.accounts.resize(particles.size());
  CellAccumulator cells;
  const auto start = Clock::now();
  for (std::size_t i = 0; i < particles.size(); ++i) {
    const StackEntry entry = m_placer->stacks().find_entry(particles[i].position_mm, particles[i].direction);
    result.guard[i] = entry.decision;
    if (entry.decision == GuardDecision::Accepted)
      result.status[i] = check_spots(spots[i], model.layers());
    if (entry.decision == GuardDecision::Accepted && result.status[i] == ShowerStatus::Good)
      result.accounts[i] =
          m_placer->place({particles[i], entry, &model.layer_depth_mm}, spots[i], cells, result.deposits);
    else
      result.deposits.offsets.push_back(result.deposits.size());
  }
  result.placement_seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

} // namespace ddcalogen
