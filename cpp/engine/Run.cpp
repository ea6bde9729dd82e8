// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "engine/Run.h"

#include "core/Error.h"

#include <map>
#include <mutex>

namespace ddcalogen {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, std::shared_ptr<const Run>> runs;
};

Registry& registry() {
  static Registry instance;
  return instance;
}

/// The nearest number of single precision. Volatile, because GCC 12 at -O3 takes double -> float -> double for nothing
/// when it vectorises neighbouring values, and the momentum came out unrounded.
double single(double x) {
  const volatile float rounded = static_cast<float>(x);
  return static_cast<double>(rounded);
}

} // namespace

Run::Choice Run::choose(const IncidentParticle& particle) const {
  Choice best;
  for (std::size_t i = 0; i < models.size(); ++i) {
    const auto decision = models[i].simulation->check(particle).decision;
    if (decision == GuardDecision::Accepted)
      return {decision, i};
    if (best.decision == GuardDecision::PdgNotCovered)
      best.decision = decision;
  }
  return best;
}

void share_run(const std::string& name, std::shared_ptr<const Run> run) {
  if (run->models.empty())
    throw Error(ErrorKind::Configuration, "the run has no model", "none", "at least one", "Name a model.");
  for (const auto& model : run->models)
    if (&model.simulation->placer().stacks().surfaces() != &run->surfaces() ||
        model.simulation->options().seed != run->seed())
      throw Error(ErrorKind::Configuration, "the models of a run must share one detector and one seed",
                  "model '" + model.simulation->generator().model().name + "' with another one",
                  "the same for all models", "Make all models with the same geometry object.");
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.runs[name] = std::move(run);
}

void withdraw_run(const std::string& name) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  r.runs.erase(name);
}

std::shared_ptr<const Run> shared_run(const std::string& name) {
  Registry& r = registry();
  const std::lock_guard lock(r.mutex);
  const auto found = r.runs.find(name);
  if (found == r.runs.end())
    throw Error(ErrorKind::Configuration, "there is no run '" + name + "'",
                std::to_string(r.runs.size()) + " runs of other names", "a run left by ddcalogen.ddsim.setup",
                "Use the Python package and the plugin of the same installation: they must share one core library.");
  return found->second;
}

RecordedParticle as_recorded(std::int32_t pdg, double kinetic_energy_gev, const Vec3& position_mm,
                             const Vec3& momentum_gev, double time_ns, std::uint64_t event, std::uint32_t particle) {
  RecordedParticle result;
  result.momentum_gev = {single(momentum_gev.x), single(momentum_gev.y), single(momentum_gev.z)};
  result.particle.pdg = pdg;
  result.particle.energy_gev = single(kinetic_energy_gev);
  result.particle.position_mm = position_mm;
  result.particle.direction = normalised(result.momentum_gev);
  result.particle.time_ns = single(time_ns);
  result.particle.event = event;
  result.particle.particle = particle;
  return result;
}

std::uint64_t entry_cell_id(std::int32_t pdg, std::uint32_t particle) {
  return std::uint64_t{static_cast<std::uint32_t>(pdg)} << 32U | particle;
}

} // namespace ddcalogen
