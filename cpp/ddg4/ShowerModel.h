// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ddg4/HitCollections.h"
#include "ddg4/NavigatorCheck.h"
#include "engine/ShowerBuffer.h"

#include <DDG4/Geant4Context.h>

#include <G4VFastSimulationModel.hh>

#include <array>
#include <functional>
#include <optional>
#include <set>
#include <string>

class G4Track;

namespace ddcalogen::ddg4 {

struct WorkerSettings {
  std::shared_ptr<const Run> run;
  bool record = false;
  bool check_cells = false;           ///< look every cell up again with Geant4's navigator
  std::size_t batch_cap = 64;         ///< showers are generated early when as many wait
  std::set<std::string> regions;      ///< names of the Geant4 regions of the calorimeters
  std::string entries_detector;       ///< detector whose sensitive detector carries the entries (record mode)
  std::vector<std::string> detectors; ///< detectors that showers are written into
};

/// Everything that one thread of the simulation needs: guards particles, stops them, and either generates their
/// showers at the end of the event or records them.
class Worker {
public:
  /// Receives what became of the particles of an event.
  using Report = std::function<void(dd4hep::sim::Geant4Context&, const RunTotals&)>;

  Worker(const WorkerSettings& settings, dd4hep::sim::Geant4Context& context, Report report);

  bool covers(int pdg) const { return m_pdg.count(pdg) != 0; }
  /// Whether this particle, where it is now, is stopped here. A particle that is refused is not asked again.
  bool trigger(const G4Track& track);
  /// Takes over the particle that was accepted last.
  void take(const G4Track& track);
  const NavigatorCheck* navigator_check() const { return m_check ? &*m_check : nullptr; }
  /// Generates what waits; the end of the event when Geant4 has no more tracks.
  void flush();

private:
  void begin_event(int id);
  void generate();
  void close_track();
  void refuse(GuardDecision decision, double energy_gev);

  const WorkerSettings& m_settings;
  dd4hep::sim::Geant4Context& m_context;
  Report m_report;
  ShowerBuffer m_buffer;
  std::optional<HitCollections> m_collections; ///< of the calorimeters, in generate mode
  std::optional<NavigatorCheck> m_check;
  dd4hep::sim::Geant4HitCollection* m_entries = nullptr;
  int m_entries_id = -1;
  std::set<int> m_pdg;
  double m_lowest_gev = 0.; ///< no model takes less

  int m_event = -1;                 ///< Geant4's number
  std::uint64_t m_event_number = 0; ///< as the output has it: part of the noise key
  int m_track = -1;
  bool m_decided = false; ///< the track was refused, or has been taken
  bool m_asked = false;   ///< the track was at no face yet
  double m_asked_gev = 0.;
  RecordedParticle m_particle;
  std::size_t m_model = 0;
  // Refusals are counted for every track of a full shower: no strings here.
  std::array<RunTotals::Tally, kGuardDecisions> m_refused{};
  RunTotals::Tally m_born_inside;
};

/// Geant4's view of a worker: one for each region, all of one thread share the worker.
class ShowerModel final : public G4VFastSimulationModel {
public:
  ShowerModel(const std::string& name, Worker& worker) : G4VFastSimulationModel(name), m_worker(worker) {}

  G4bool IsApplicable(const G4ParticleDefinition& particle) override;
  G4bool ModelTrigger(const G4FastTrack& track) override;
  void DoIt(const G4FastTrack& track, G4FastStep& step) override;
  void Flush() override { m_worker.flush(); }

private:
  Worker& m_worker;
};

} // namespace ddcalogen::ddg4
