// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
//
// Compiled at run time by ROOT's interpreter where podio and EDM4hep are installed. Same calls as root_writer.h.
#pragma once

#include "event_record.h"
#include "root_errors.h"

#include <edm4hep/CaloHitContributionCollection.h>
#include <edm4hep/EventHeaderCollection.h>
#include <edm4hep/MCParticleCollection.h>
#include <edm4hep/SimCalorimeterHitCollection.h>
#include <edm4hep/SimTrackerHitCollection.h>
#include <podio/Frame.h>
#include <podio/ROOTWriter.h>

#include <memory>
#include <type_traits>
#include <utility>

namespace ddcalogen {

// Members that only some EDM4hep releases have: the overload with int is preferred where it compiles.
template <typename P> auto setHelicity(P& particle, int helicity, int) -> decltype(particle.setHelicity(helicity)) {
  particle.setHelicity(helicity);
}
template <typename P> void setHelicity(P& particle, int helicity, long) {
  particle.setSpin({0.f, 0.f, helicity == 9 ? 0.f : static_cast<float>(helicity)});
}
template <typename C>
auto setStepLength(C& contribution, float length, int) -> decltype(contribution.setStepLength(length)) {
  contribution.setStepLength(length);
}
template <typename C> void setStepLength(C&, float, long) {}

template <typename Vector, typename T> std::decay_t<Vector> vectorOf(const Column<T>& column, std::size_t i) {
  using Component = std::decay_t<decltype(std::declval<std::decay_t<Vector>>().x)>;
  return {static_cast<Component>(column[3 * i]), static_cast<Component>(column[3 * i + 1]),
          static_cast<Component>(column[3 * i + 2])};
}

class EventFileWriter {
public:
  std::string open(const std::string& path, std::uintptr_t declarations, std::size_t size) {
    return guarded([&] {
      collectRootErrors();
      m_declarations = readDeclarations(declarations, size);
      m_writer = std::make_unique<podio::ROOTWriter>(path);
      checkRootErrors();
    });
  }

  std::string event(std::uintptr_t data, std::size_t size) {
    return guarded([&] {
      Cursor cursor(reinterpret_cast<const char*>(data), size);
      podio::Frame frame;
      edm4hep::EventHeaderCollection headers;
      addHeader(headers, HeaderRecord(cursor));
      putParameters(frame, Parameters(cursor));
      edm4hep::MCParticleCollection particles;
      addParticles(particles, ParticlesRecord(cursor));
      for (const auto& declaration : m_declarations) {
        if (declaration.kind == 'C') {
          edm4hep::SimCalorimeterHitCollection hits;
          edm4hep::CaloHitContributionCollection contributions;
          addCalorimeter(hits, contributions, particles, CalorimeterRecord(cursor));
          frame.put(std::move(hits), declaration.name);
          frame.put(std::move(contributions), contributionsOf(declaration.name));
        }
      }
      for (const auto& declaration : m_declarations) {
        if (declaration.kind == 'T') {
          edm4hep::SimTrackerHitCollection hits;
          addTracker(hits, particles, TrackerRecord(cursor));
          frame.put(std::move(hits), declaration.name);
        }
      }
      cursor.finish();
      frame.put(std::move(headers), nameOf('H'));
      frame.put(std::move(particles), nameOf('P'));
      m_writer->writeFrame(frame, "events");
      checkRootErrors();
    });
  }

  std::string parameters(const std::string& category, std::uintptr_t data, std::size_t size) {
    return guarded([&] {
      Cursor cursor(reinterpret_cast<const char*>(data), size);
      podio::Frame frame;
      putParameters(frame, Parameters(cursor));
      cursor.finish();
      m_writer->writeFrame(frame, category);
      checkRootErrors();
    });
  }

  std::string finish() {
    return guarded([&] {
      m_writer->finish();
      checkRootErrors();
    });
  }

  /// EDM4hep schema of the installed library.
  static unsigned int schema() { return edm4hep::MCParticleCollection().getSchemaVersion(); }

private:
  static void addHeader(edm4hep::EventHeaderCollection& headers, const HeaderRecord& record) {
    auto header = headers.create();
    using EventNumber = std::decay_t<decltype(header.getEventNumber())>;
    using RunNumber = std::decay_t<decltype(header.getRunNumber())>;
    header.setEventNumber(static_cast<EventNumber>(record.eventNumber));
    header.setRunNumber(static_cast<RunNumber>(record.runNumber));
    header.setTimeStamp(record.timeStamp);
    header.setWeight(record.weight);
    for (std::size_t i = 0; i < record.weights.size(); ++i) {
      header.addToWeights(record.weights[i]);
    }
  }

  static void addParticles(edm4hep::MCParticleCollection& particles, const ParticlesRecord& record) {
    for (std::size_t i = 0; i < record.size; ++i) {
      auto particle = particles.create();
      particle.setPDG(record.pdg[i]);
      particle.setGeneratorStatus(record.generatorStatus[i]);
      particle.setSimulatorStatus(record.simulatorStatus[i]);
      particle.setCharge(record.charge[i]);
      particle.setTime(record.time[i]);
      particle.setMass(record.mass[i]);
      particle.setVertex(vectorOf<decltype(particle.getVertex())>(record.vertex, i));
      particle.setEndpoint(vectorOf<decltype(particle.getEndpoint())>(record.endpoint, i));
      particle.setMomentum(vectorOf<decltype(particle.getMomentum())>(record.momentum, i));
      particle.setMomentumAtEndpoint(
          vectorOf<decltype(particle.getMomentumAtEndpoint())>(record.momentumAtEndpoint, i));
      setHelicity(particle, record.helicity[i], 0);
    }
    for (std::size_t i = 0; i < record.size; ++i) {
      auto particle = particles[i];
      for (auto k = record.parents.offsets[i]; k < record.parents.offsets[i + 1]; ++k) {
        particle.addToParents(particles[record.parents.indices[k]]);
      }
      for (auto k = record.daughters.offsets[i]; k < record.daughters.offsets[i + 1]; ++k) {
        particle.addToDaughters(particles[record.daughters.indices[k]]);
      }
    }
  }

  static void addCalorimeter(edm4hep::SimCalorimeterHitCollection& hits,
                             edm4hep::CaloHitContributionCollection& contributions,
                             const edm4hep::MCParticleCollection& particles, const CalorimeterRecord& record) {
    for (std::size_t i = 0; i < record.size; ++i) {
      auto hit = hits.create();
      hit.setCellID(record.cellID[i]);
      hit.setEnergy(record.energy[i]);
      hit.setPosition(vectorOf<decltype(hit.getPosition())>(record.position, i));
      for (auto k = record.offsets[i]; k < record.offsets[i + 1]; ++k) {
        auto contribution = contributions.create();
        contribution.setPDG(record.pdg[k]);
        contribution.setEnergy(record.contributionEnergy[k]);
        contribution.setTime(record.time[k]);
        contribution.setStepPosition(vectorOf<decltype(contribution.getStepPosition())>(record.stepPosition, k));
        setStepLength(contribution, record.stepLength[k], 0);
        if (record.particle[k] >= 0) {
          contribution.setParticle(particles[record.particle[k]]);
        }
        hit.addToContributions(contribution);
      }
    }
  }

  static void addTracker(edm4hep::SimTrackerHitCollection& hits, const edm4hep::MCParticleCollection& particles,
                         const TrackerRecord& record) {
    for (std::size_t i = 0; i < record.size; ++i) {
      auto hit = hits.create();
      hit.setCellID(record.cellID[i]);
      hit.setEDep(record.energy[i]);
      hit.setTime(record.time[i]);
      hit.setPathLength(record.pathLength[i]);
      hit.setQuality(record.quality[i]);
      hit.setPosition(vectorOf<decltype(hit.getPosition())>(record.position, i));
      hit.setMomentum(vectorOf<decltype(hit.getMomentum())>(record.momentum, i));
      if (record.particle[i] >= 0) {
        hit.setParticle(particles[record.particle[i]]);
      }
    }
  }

  static void putParameters(podio::Frame& frame, const Parameters& parameters) {
    for (const auto& [key, values] : parameters.integers) {
      frame.putParameter(key, values);
    }
    for (const auto& [key, values] : parameters.doubles) {
      frame.putParameter(key, values);
    }
    for (const auto& [key, values] : parameters.strings) {
      frame.putParameter(key, values);
    }
  }

  const std::string& nameOf(char kind) const {
    for (const auto& declaration : m_declarations) {
      if (declaration.kind == kind) {
        return declaration.name;
      }
    }
    throw std::runtime_error("a collection was not declared");
  }
  const std::string& contributionsOf(const std::string& hits) const {
    for (const auto& declaration : m_declarations) {
      if (declaration.kind == 'c' && declaration.hits == hits) {
        return declaration.name;
      }
    }
    throw std::runtime_error("contributions were not declared");
  }

  std::vector<Declaration> m_declarations;
  std::unique_ptr<podio::ROOTWriter> m_writer;
};

} // namespace ddcalogen
