// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "ddg4/ShowerModel.h"

#include "core/Error.h"
#include "ddg4/CaloGenEntries.h"

#include <DDG4/EventParameters.h>
#include <DDG4/Geant4EventAction.h>
#include <DDG4/Geant4HitCollection.h>
#include <DDG4/Geant4MonteCarloTruth.h>

#include <CLHEP/Units/SystemOfUnits.h>
#include <G4Event.hh>
#include <G4EventManager.hh>
#include <G4HCofThisEvent.hh>
#include <G4LogicalVolume.hh>
#include <G4ParticleDefinition.hh>
#include <G4Region.hh>
#include <G4SDManager.hh>
#include <G4Track.hh>

#include <algorithm>
#include <utility>

namespace ddcalogen::ddg4 {
namespace {

constexpr const char* kBornInside = "not simulated: made inside a calorimeter";
constexpr const char* kAborted = "lost: event aborted";

/// Number of the event as ddsim's output writes it.
std::uint64_t output_event_number(dd4hep::sim::Geant4Context& context, int geant4_number) {
  const auto* parameters = context.event().extension<dd4hep::sim::EventParameters>(false);
  int number = parameters != nullptr ? parameters->eventNumber() : geant4_number;
  for (const char* output : {"EDM4hepOutput", "LcioOutput"})
    if (auto* action = context.eventAction().get(output); action != nullptr && action->hasProperty("EventNumberOffset"))
      number += std::max(0, action->property("EventNumberOffset").value<int>());
  return static_cast<std::uint64_t>(static_cast<std::int64_t>(number));
}

Vec3 vec(const G4ThreeVector& v, double unit) { return {v.x() / unit, v.y() / unit, v.z() / unit}; }

} // namespace

Worker::Worker(const WorkerSettings& settings, dd4hep::sim::Geant4Context& context, Report report)
    : m_settings(settings), m_context(context), m_report(std::move(report)), m_buffer(settings.run) {
  const auto& models = settings.run->models;
  m_lowest_gev = models.front().simulation->generator().model().domain.energy_min_gev;
  for (const auto& model : models) {
    const auto& domain = model.simulation->generator().model().domain;
    m_pdg.insert(domain.pdg.begin(), domain.pdg.end());
    m_lowest_gev = std::min(m_lowest_gev, domain.energy_min_gev);
  }
  if (!settings.record) {
    m_collections.emplace(settings.run->surfaces(), settings.detectors);
    return;
  }
  const std::string name = settings.entries_detector + "/" + std::string(kEntriesCollection);
  m_entries_id = G4SDManager::GetSDMpointer()->GetCollectionID(name);
  if (m_entries_id < 0)
    throw Error(ErrorKind::Configuration, "there is no collection for the calorimeter entries",
                "none of the name " + name,
                "the sensitive action CaloGenEntries on detector '" + settings.entries_detector + "'",
                "Let ddcalogen.ddsim.setup configure the run.");
}

void Worker::begin_event(int id) {
  // Only a break in the event loop leaves something behind.
  m_buffer.discard(kAborted);
  m_event = id;
  m_track = -1;
  m_event_number = output_event_number(m_context, id);
  auto* hits = G4EventManager::GetEventManager()->GetConstCurrentEvent()->GetHCofThisEvent();
  if (m_collections)
    m_collections->begin(hits);
  else
    m_entries = hits != nullptr ? dynamic_cast<dd4hep::sim::Geant4HitCollection*>(hits->GetHC(m_entries_id)) : nullptr;
}

bool Worker::trigger(const G4Track& track) {
  const double energy = track.GetKineticEnergy() / CLHEP::GeV;
  if (track.GetTrackID() != m_track) {
    const int event = G4EventManager::GetEventManager()->GetConstCurrentEvent()->GetEventID();
    if (event != m_event)
      begin_event(event);
    close_track();
    m_track = track.GetTrackID();
    // A shower in full simulation stays in full simulation: only particles from outside are taken.
    const auto* born = track.GetLogicalVolumeAtVertex();
    const auto* region = born != nullptr ? born->GetRegion() : nullptr;
    m_decided = region != nullptr && m_settings.regions.count(region->GetName()) != 0;
    if (m_decided) {
      ++m_born_inside.number;
      m_born_inside.energy_gev += energy;
    } else if (energy < m_lowest_gev) {
      m_decided = true;
      refuse(GuardDecision::EnergyTooLow, energy);
    }
  }
  if (m_decided)
    return false;

  m_particle = as_recorded(track.GetParticleDefinition()->GetPDGEncoding(), energy, vec(track.GetPosition(), CLHEP::mm),
                           vec(track.GetMomentum(), CLHEP::GeV), track.GetGlobalTime() / CLHEP::ns, m_event_number,
                           static_cast<std::uint32_t>(m_track));
  const auto choice = m_settings.run->choose(m_particle.particle);
  if (choice.decision == GuardDecision::Accepted) {
    m_model = choice.model;
    return true;
  }
  if (choice.decision == GuardDecision::NotAtCalorimeter) { // may come to a face in the next step
    m_asked = true;
    m_asked_gev = energy;
    return false;
  }
  m_decided = true;
  m_asked = false;
  refuse(choice.decision, energy);
  return false;
}

void Worker::take(const G4Track& track) {
  m_decided = true;
  m_asked = false;
  // Now or never: at the flush this track is gone, and the truth of another one is being written.
  if (auto* truth = m_context.event().extension<dd4hep::sim::Geant4MonteCarloTruth>(false))
    truth->mark(&track);
  if (m_settings.record) {
    if (m_entries == nullptr)
      throw Error(ErrorKind::Configuration, "the event has no collection for calorimeter entries", "none",
                  std::string(kEntriesCollection), "Let ddcalogen.ddsim.setup configure the run.");
    CaloGenEntries::add(*m_entries, m_particle);
    m_buffer.totals.count("recorded for " + m_settings.run->models[m_model].simulation->generator().model().name,
                          m_particle.particle.energy_gev);
    return;
  }
  m_buffer.add(m_particle.particle, m_model);
  if (m_buffer.size() >= m_settings.batch_cap)
    generate();
}

void Worker::generate() {
  m_buffer.flush(
      [this](const IncidentParticle& particle, const CellDeposits& deposits, std::size_t first, std::size_t last) {
        m_collections->add(particle, deposits, first, last);
        if (m_settings.check_cells) {
          if (!m_check)
            m_check.emplace(); // not before Geant4's geometry is closed
          m_check->check(*m_collections, deposits, first, last);
        }
        m_buffer.totals.hits += last - first;
      });
}

void Worker::close_track() {
  if (m_asked)
    refuse(GuardDecision::NotAtCalorimeter, m_asked_gev);
  m_asked = false;
  m_track = -1;
}

void Worker::refuse(GuardDecision decision, double energy_gev) {
  auto& tally = m_refused[static_cast<std::size_t>(decision)];
  ++tally.number;
  tally.energy_gev += energy_gev;
}

void Worker::flush() {
  if (!m_buffer.empty())
    generate();
  close_track();
  auto& totals = m_buffer.totals;
  const auto book = [&totals](const std::string& fate, RunTotals::Tally& tally) {
    if (tally.number == 0)
      return;
    auto& mine = totals.fates[fate];
    mine.number += tally.number;
    mine.energy_gev += tally.energy_gev;
    tally = {};
  };
  for (std::size_t i = 0; i < m_refused.size(); ++i)
    if (m_refused[i].number != 0)
      book(std::string("not simulated: ") + name(static_cast<GuardDecision>(i)), m_refused[i]);
  book(kBornInside, m_born_inside);
  if (totals.fates.empty())
    return;
  m_report(m_context, totals);
  totals = {};
}

G4bool ShowerModel::IsApplicable(const G4ParticleDefinition& particle) {
  return m_worker.covers(particle.GetPDGEncoding());
}

G4bool ShowerModel::ModelTrigger(const G4FastTrack& track) { return m_worker.trigger(*track.GetPrimaryTrack()); }

void ShowerModel::DoIt(const G4FastTrack& track, G4FastStep& step) {
  const auto& primary = *track.GetPrimaryTrack();
  m_worker.take(primary);
  step.KillPrimaryTrack();
  step.ProposePrimaryTrackPathLength(0.);
  step.ProposeTotalEnergyDeposited(primary.GetKineticEnergy());
}

} // namespace ddcalogen::ddg4
