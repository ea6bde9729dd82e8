// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// The DDG4 action that puts generative models into the regions of calorimeters. Configured by ddcalogen.ddsim.setup.
#include "core/Error.h"
#include "ddg4/CaloGenEntries.h"
#include "ddg4/ShowerModel.h"

#include <DD4hep/Detector.h>
#include <DDG4/Factories.h>
#include <DDG4/Geant4DetectorConstruction.h>
#include <DDG4/Geant4Kernel.h>
#include <DDG4/Geant4Mapping.h>
#include <DDG4/RunParameters.h>

#include <G4FastSimulationManager.hh>
#include <G4Region.hh>

#include <algorithm>
#include <climits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace ddcalogen::ddg4 {

/// What goes into the metadata of a run.
struct RunMetadata {
  const Run& run;
  const RunTotals& totals;
  bool record;
};

} // namespace ddcalogen::ddg4

namespace dd4hep::sim {

/// The names are those that `ddcalogen simulate` writes.
template <> void RunParameters::ingestParameters(const ddcalogen::ddg4::RunMetadata& source) {
  const auto& totals = source.totals;
  auto& texts = m_strValues;
  texts["DDCaloGenMode"] = {source.record ? "record" : "generate"};
  texts["DDCaloGenVersion"] = {source.run.program_version};
  texts["DDCaloGenCells"] = source.run.cells;
  texts["DDCaloGenSeed"] = {std::to_string(source.run.seed())};
  for (const char* name : {"DDCaloGenModelName", "DDCaloGenModelVersion", "DDCaloGenModelHash", "DDCaloGenProvider"})
    texts[name].clear();
  m_intValues["DDCaloGenModelSchema"].clear();
  for (const auto& planned : source.run.models) {
    const auto& generator = planned.simulation->generator();
    texts["DDCaloGenModelName"].push_back(generator.model().name);
    texts["DDCaloGenModelVersion"].push_back(generator.model().version);
    texts["DDCaloGenModelHash"].push_back(generator.model().hash);
    texts["DDCaloGenProvider"].push_back(generator.session().provider());
    m_intValues["DDCaloGenModelSchema"].push_back(static_cast<int>(planned.card_schema));
  }
  m_intValues["DDCaloGenShowers"] = {static_cast<int>(totals.showers)};
  m_dblValues["DDCaloGenEnergyGenerated_GeV"] = {totals.account.generated_gev};
  m_dblValues["DDCaloGenEnergyPlaced_GeV"] = {totals.account.placed_gev};
  m_dblValues["DDCaloGenEnergyDead_GeV"] = {totals.account.dead_gev};
  m_dblValues["DDCaloGenEnergyOutside_GeV"] = {totals.account.outside_gev};
  auto& names = texts["DDCaloGenFateNames"];
  auto& counts = m_intValues["DDCaloGenFateCounts"];
  auto& energies = m_dblValues["DDCaloGenFateEnergy_GeV"];
  names.clear();
  counts.clear();
  energies.clear();
  for (const auto& [fate, tally] : totals.fates) {
    names.push_back(fate);
    counts.push_back(static_cast<int>(std::min<std::uint64_t>(tally.number, INT_MAX))); // podio knows no more
    energies.push_back(tally.energy_gev);
  }
}

} // namespace dd4hep::sim

namespace ddcalogen::ddg4 {

class CaloGenFastSimulation : public dd4hep::sim::Geant4DetectorConstruction {
public:
  CaloGenFastSimulation(dd4hep::sim::Geant4Context* context, const std::string& name);

  void constructGeo(dd4hep::sim::Geant4DetectorConstructionContext* context) override;
  void constructField(dd4hep::sim::Geant4DetectorConstructionContext* context) override;
  void constructSensitives(dd4hep::sim::Geant4DetectorConstructionContext* context) override;

private:
  template <typename Call> void guarded(Call&& call) const;
  G4Region* region(const std::string& name) const;
  void report(dd4hep::sim::Geant4Context& context, const RunTotals& event);
  void print_summary();

  std::string m_run_name;
  std::string m_mode = "generate";
  int m_batch_cap = 64;
  bool m_check_cells = false;
  std::vector<std::string> m_regions;
  std::vector<std::string> m_detectors;
  std::string m_entries_detector;

  WorkerSettings m_settings;
  std::mutex m_mutex; ///< guards all below
  std::vector<std::unique_ptr<Worker>> m_workers;
  std::vector<std::unique_ptr<ShowerModel>> m_models;
  RunTotals m_totals;
};

CaloGenFastSimulation::CaloGenFastSimulation(dd4hep::sim::Geant4Context* context, const std::string& name)
    : Geant4DetectorConstruction(context, name) {
  declareProperty("Run", m_run_name);
  declareProperty("Mode", m_mode);
  declareProperty("BatchCap", m_batch_cap);
  declareProperty("CheckCells", m_check_cells);
  declareProperty("Regions", m_regions);
  declareProperty("Detectors", m_detectors);
  declareProperty("EntriesDetector", m_entries_detector);
}

/// DDG4 shows the text of its own exceptions.
template <typename Call> void CaloGenFastSimulation::guarded(Call&& call) const {
  try {
    call();
  } catch (const Error& error) {
    except("%s", error.what());
  }
}

void CaloGenFastSimulation::constructGeo(dd4hep::sim::Geant4DetectorConstructionContext*) {
  guarded([this] {
    if (m_mode != "generate" && m_mode != "record")
      throw Error(ErrorKind::Configuration, "unknown mode of fast simulation", m_mode, "generate or record");
    if (m_batch_cap < 1)
      throw Error(ErrorKind::Configuration, "the batch cap is too small", std::to_string(m_batch_cap), "at least 1");
    m_settings.run = shared_run(m_run_name);
    m_settings.record = m_mode == "record";
    m_settings.batch_cap = static_cast<std::size_t>(m_batch_cap);
    m_settings.check_cells = m_check_cells;
    m_settings.regions = {m_regions.begin(), m_regions.end()};
    m_settings.detectors = m_detectors;
    m_settings.entries_detector = m_entries_detector;
  });
  context()->kernel().register_terminate([this] { print_summary(); });
}

/// Comes before the sensitive detectors of this thread are made, which is when they learn of their collections.
void CaloGenFastSimulation::constructField(dd4hep::sim::Geant4DetectorConstructionContext*) {
  if (!m_settings.record)
    return;
  auto& kernel = context()->kernel();
  auto& description = kernel.detectorDescription();
  auto* sequence = kernel.sensitiveAction(m_entries_detector);
  auto* entries =
      new CaloGenEntries(context(), "CaloGenEntries", description.detector(m_entries_detector), description);
  sequence->adopt(entries); // counts references
  entries->release();
}

void CaloGenFastSimulation::constructSensitives(dd4hep::sim::Geant4DetectorConstructionContext*) {
  guarded([this] {
    const std::lock_guard lock(m_mutex);
    // context() is that of the thread which is being set up
    auto worker = std::make_unique<Worker>(
        m_settings, *context(),
        [this](dd4hep::sim::Geant4Context& where, const RunTotals& event) { report(where, event); });
    for (const auto& name : m_regions) {
      G4Region* g4region = region(name);
      auto* manager = g4region->GetFastSimulationManager();
      if (manager == nullptr)
        manager = new G4FastSimulationManager(g4region, true); // owned by the region
      m_models.push_back(std::make_unique<ShowerModel>(this->name() + "/" + name, *worker));
      manager->AddFastSimulationModel(m_models.back().get());
    }
    m_workers.push_back(std::move(worker));
  });
}

G4Region* CaloGenFastSimulation::region(const std::string& name) const {
  auto& description = context()->kernel().detectorDescription();
  const auto& made = dd4hep::sim::Geant4Mapping::instance().data().g4Regions;
  for (const auto& [region, g4region] : made)
    if (name == region.name())
      return g4region;
  std::string known;
  for (const auto& [region_name, handle] : description.regions())
    known += (known.empty() ? "" : ", ") + region_name;
  throw Error(ErrorKind::Configuration, "the detector has no region '" + name + "' with volumes in it",
              known.empty() ? "no regions" : known, name,
              "Let ddcalogen.ddsim.setup attach the regions, before the Geant4 geometry is made.");
}

void CaloGenFastSimulation::report(dd4hep::sim::Geant4Context& context, const RunTotals& event) {
  const std::lock_guard lock(m_mutex);
  m_totals += event;
  auto& run = context.run();
  auto* parameters = run.extension<dd4hep::sim::RunParameters>(false);
  if (parameters == nullptr) {
    parameters = new dd4hep::sim::RunParameters();
    run.addExtension<dd4hep::sim::RunParameters>(parameters); // which owns it
  }
  // Again at every event, because the output reads them before any end-of-run action of ours would be called.
  parameters->ingestParameters(RunMetadata{*m_settings.run, m_totals, m_settings.record});
}

void CaloGenFastSimulation::print_summary() {
  const std::lock_guard lock(m_mutex);
  const auto& t = m_totals;
  info("+++ %s in %s, seed %llu", m_settings.record ? "Calorimeter entries recorded" : "Showers generated",
       m_settings.run->geometry_name.c_str(), static_cast<unsigned long long>(m_settings.run->seed()));
  for (const auto& planned : m_settings.run->models) {
    const auto& model = planned.simulation->generator().model();
    info("+++   model %s %s, hash %.16s, %s", model.name.c_str(), model.version.c_str(), model.hash.c_str(),
         planned.simulation->generator().session().provider().c_str());
  }
  for (const auto& [fate, tally] : t.fates)
    info("+++   %8llu particles %12.3f GeV  %s", static_cast<unsigned long long>(tally.number), tally.energy_gev,
         fate.c_str());
  if (t.showers == 0)
    return;
  info("+++   visible energy: generated %.6f GeV = in cells %.6f + dead material %.6f + outside %.6f",
       t.account.generated_gev, t.account.placed_gev, t.account.dead_gev, t.account.outside_gev);
  const double per_shower_ms = 1e3 / static_cast<double>(t.showers);
  info("+++   %llu showers, %llu cells, %llu network calls; per shower: noise %.2f ms, network %.2f ms, placement "
       "%.3f ms",
       static_cast<unsigned long long>(t.showers), static_cast<unsigned long long>(t.hits),
       static_cast<unsigned long long>(t.network_calls), per_shower_ms * t.noise_seconds,
       per_shower_ms * t.network_seconds, per_shower_ms * t.placement_seconds);
  for (const auto& worker : m_workers)
    if (const auto* check = worker->navigator_check())
      info("+++   %llu cells looked up again with Geant4's navigator: %llu differ; %.2f us each",
           static_cast<unsigned long long>(check->cells), static_cast<unsigned long long>(check->different),
           1e6 * check->seconds / static_cast<double>(check->cells));
}

} // namespace ddcalogen::ddg4

using ddcalogen::ddg4::CaloGenFastSimulation;
DECLARE_GEANT4ACTION_NS(ddcalogen::ddg4, CaloGenFastSimulation)
