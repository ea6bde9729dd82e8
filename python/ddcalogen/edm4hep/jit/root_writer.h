// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
//
// Compiled at run time by ROOT's interpreter, after the structs of schema.cpp_declarations(). Writes podio's TTree
// layout without podio. DDCALOGEN_SCHEMA is 2 or 4, DDCALOGEN_PODIO_1_2 is defined for the metadata of podio <= 1.2.
#pragma once

#include "event_record.h"
#include "root_errors.h"

#include <TClass.h>
#include <TCollectionProxyInfo.h>
#include <TFile.h>
#include <TTree.h>

#include <memory>
#include <tuple>
#include <utility>

namespace podio {
// version -1: podio's own classes carry no ROOT class version
struct ObjectID {
  int index{-2};
  std::uint32_t collectionID{0};
  ClassDefNV(ObjectID, -1)
};
namespace version {
struct Version {
  std::uint16_t major{0};
  std::uint16_t minor{0};
  std::uint16_t patch{0};
  ClassDefNV(Version, -1)
};
} // namespace version
#ifdef DDCALOGEN_PODIO_1_2
struct CollectionIDTable {
  std::vector<std::uint32_t> m_collectionIDs{};
  std::vector<std::string> m_names{};
  ClassDefNV(CollectionIDTable, -1)
};
#else
namespace root_utils {
struct CollectionWriteInfo {
  std::uint32_t collectionID{0};
  std::string dataType{};
  bool isSubset{false};
  unsigned int schemaVersion{0};
  std::string name{};
  std::string storageType{};
  ClassDefNV(CollectionWriteInfo, -1)
};
} // namespace root_utils
#endif
} // namespace podio

namespace ddcalogen {

/// A vector with the address handed to TTree; the vector is refilled for every entry.
template <typename T> struct Buffer {
  std::vector<T> values;
  std::vector<T>* address = &values;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

/// Interpreted classes have no compiled collection proxy, without which TTree refuses their vectors: make one.
template <typename T> void makeBranch(TTree& tree, const std::string& name, Buffer<T>& buffer) {
  TClass* type = TClass::GetClass(typeid(std::vector<T>));
  if (type == nullptr) {
    throw std::runtime_error("ROOT knows no class for branch " + name);
  }
  static bool registered = false;
  if (!registered) {
    const std::unique_ptr<ROOT::Detail::TCollectionProxyInfo> info(
        ROOT::Detail::TCollectionProxyInfo::Generate(ROOT::Detail::TCollectionProxyInfo::Pushback<std::vector<T>>()));
    type->SetCollectionProxy(*info);
    registered = true;
  }
  if (tree.Branch(name.c_str(), type->GetName(), &buffer.address) == nullptr) {
    throw std::runtime_error("cannot create branch " + name + ": " + rootErrors());
  }
}

class ParameterBranches {
public:
  void create(TTree& tree) {
    makeBranch(tree, "GPIntKeys", m_intKeys);
    makeBranch(tree, "GPIntValues", m_intValues);
    makeBranch(tree, "GPFloatKeys", m_floatKeys);
    makeBranch(tree, "GPFloatValues", m_floatValues);
    makeBranch(tree, "GPDoubleKeys", m_doubleKeys);
    makeBranch(tree, "GPDoubleValues", m_doubleValues);
    makeBranch(tree, "GPStringKeys", m_stringKeys);
    makeBranch(tree, "GPStringValues", m_stringValues);
  }
  void set(Parameters&& parameters) {
    move(parameters.integers, m_intKeys, m_intValues);
    move(parameters.doubles, m_doubleKeys, m_doubleValues);
    move(parameters.strings, m_stringKeys, m_stringValues);
  }

private:
  template <typename T>
  static void move(std::map<std::string, std::vector<T>>& from, Buffer<std::string>& keys,
                   Buffer<std::vector<T>>& values) {
    keys.values.clear();
    values.values.clear();
    for (auto& [key, list] : from) {
      keys.values.push_back(key);
      values.values.push_back(std::move(list));
    }
  }
  Buffer<std::string> m_intKeys, m_floatKeys, m_doubleKeys, m_stringKeys;
  Buffer<std::vector<int>> m_intValues;
  Buffer<std::vector<float>> m_floatValues;
  Buffer<std::vector<double>> m_doubleValues;
  Buffer<std::vector<std::string>> m_stringValues;
};

/// A collection of one type: its data and its relations, under one name.
class Collection {
public:
  Collection(std::string name, std::uint32_t id, std::string type)
      : m_name(std::move(name)), m_id(id), m_type(std::move(type)) {}
  virtual ~Collection() = default;
  virtual void create(TTree& tree) = 0;
  const std::string& name() const { return m_name; }
  std::uint32_t id() const { return m_id; }
  const std::string& type() const { return m_type; }

protected:
  std::string relation(const char* member) const { return "_" + m_name + "_" + member; }

private:
  std::string m_name;
  std::uint32_t m_id;
  std::string m_type;
};

inline edm4hep::Vector3d vector3d(const Column<double>& column, std::size_t i) {
  edm4hep::Vector3d v;
  v.x = column[3 * i];
  v.y = column[3 * i + 1];
  v.z = column[3 * i + 2];
  return v;
}

inline edm4hep::Vector3f vector3f(const Column<float>& column, std::size_t i) {
  edm4hep::Vector3f v;
  v.x = column[3 * i];
  v.y = column[3 * i + 1];
  v.z = column[3 * i + 2];
  return v;
}

inline podio::ObjectID objectID(std::int64_t index, std::uint32_t collection) {
  podio::ObjectID id; // "none" unless set, as podio writes it
  if (index >= 0) {
    id.index = static_cast<int>(index);
    id.collectionID = collection;
  }
  return id;
}

class HeaderCollection : public Collection {
public:
  using Collection::Collection;
  void create(TTree& tree) override {
    makeBranch(tree, name(), m_data);
    makeBranch(tree, relation("weights"), m_weights);
  }
  void fill(const HeaderRecord& record) {
    m_data.values.assign(1, {});
    auto& header = m_data.values.front();
    header.eventNumber = static_cast<decltype(header.eventNumber)>(record.eventNumber);
    header.runNumber = static_cast<decltype(header.runNumber)>(record.runNumber);
    header.timeStamp = record.timeStamp;
    header.weight = record.weight;
    header.weights_end = static_cast<unsigned int>(record.weights.size());
    m_weights.values.resize(record.weights.size());
    for (std::size_t i = 0; i < record.weights.size(); ++i) {
      m_weights.values[i] = record.weights[i];
    }
  }

private:
  Buffer<edm4hep::EventHeaderData> m_data;
  Buffer<double> m_weights;
};

class ParticleCollection : public Collection {
public:
  using Collection::Collection;
  void create(TTree& tree) override {
    makeBranch(tree, name(), m_data);
    makeBranch(tree, relation("parents"), m_parents);
    makeBranch(tree, relation("daughters"), m_daughters);
  }
  void fill(const ParticlesRecord& record) {
    m_data.values.assign(record.size, {});
    for (std::size_t i = 0; i < record.size; ++i) {
      auto& particle = m_data.values[i];
      particle.PDG = record.pdg[i];
      particle.generatorStatus = record.generatorStatus[i];
      particle.simulatorStatus = record.simulatorStatus[i];
      particle.charge = record.charge[i];
      particle.time = record.time[i];
      particle.mass = record.mass[i];
      particle.vertex = vector3d(record.vertex, i);
      particle.endpoint = vector3d(record.endpoint, i);
      particle.momentum = vector3d(record.momentum, i);
      particle.momentumAtEndpoint = vector3d(record.momentumAtEndpoint, i);
#if DDCALOGEN_SCHEMA < 4
      particle.spin.z = record.helicity[i] == 9 ? 0.f : static_cast<float>(record.helicity[i]);
#else
      particle.helicity = record.helicity[i];
#endif
      particle.parents_begin = static_cast<unsigned int>(record.parents.offsets[i]);
      particle.parents_end = static_cast<unsigned int>(record.parents.offsets[i + 1]);
      particle.daughters_begin = static_cast<unsigned int>(record.daughters.offsets[i]);
      particle.daughters_end = static_cast<unsigned int>(record.daughters.offsets[i + 1]);
    }
    relate(record.parents, m_parents);
    relate(record.daughters, m_daughters);
  }

private:
  void relate(const RaggedRecord& record, Buffer<podio::ObjectID>& buffer) {
    buffer.values.resize(record.indices.size());
    for (std::size_t i = 0; i < record.indices.size(); ++i) {
      buffer.values[i] = objectID(record.indices[i], id());
    }
  }
  Buffer<edm4hep::MCParticleData> m_data;
  Buffer<podio::ObjectID> m_parents, m_daughters;
};

class ContributionCollection : public Collection {
public:
  using Collection::Collection;
  void create(TTree& tree) override {
    makeBranch(tree, name(), m_data);
    makeBranch(tree, relation("particle"), m_particles);
  }
  void fill(const CalorimeterRecord& record, std::uint32_t particles) {
    m_data.values.assign(record.contributions, {});
    m_particles.values.resize(record.contributions);
    for (std::size_t i = 0; i < record.contributions; ++i) {
      auto& contribution = m_data.values[i];
      contribution.PDG = record.pdg[i];
      contribution.energy = record.contributionEnergy[i];
      contribution.time = record.time[i];
      contribution.stepPosition = vector3f(record.stepPosition, i);
#if DDCALOGEN_SCHEMA >= 4
      contribution.stepLength = record.stepLength[i];
#endif
      m_particles.values[i] = objectID(record.particle[i], particles);
    }
  }

private:
  Buffer<edm4hep::CaloHitContributionData> m_data;
  Buffer<podio::ObjectID> m_particles;
};

class CalorimeterCollection : public Collection {
public:
  using Collection::Collection;
  void create(TTree& tree) override {
    makeBranch(tree, name(), m_data);
    makeBranch(tree, relation("contributions"), m_contributions);
  }
  void fill(const CalorimeterRecord& record, std::uint32_t contributions) {
    m_data.values.assign(record.size, {});
    for (std::size_t i = 0; i < record.size; ++i) {
      auto& hit = m_data.values[i];
      hit.cellID = record.cellID[i];
      hit.energy = record.energy[i];
      hit.position = vector3f(record.position, i);
      hit.contributions_begin = static_cast<unsigned int>(record.offsets[i]);
      hit.contributions_end = static_cast<unsigned int>(record.offsets[i + 1]);
    }
    m_contributions.values.resize(record.contributions);
    for (std::size_t i = 0; i < record.contributions; ++i) {
      m_contributions.values[i] = objectID(static_cast<std::int64_t>(i), contributions);
    }
  }

private:
  Buffer<edm4hep::SimCalorimeterHitData> m_data;
  Buffer<podio::ObjectID> m_contributions;
};

class TrackerCollection : public Collection {
public:
  using Collection::Collection;
  void create(TTree& tree) override {
    makeBranch(tree, name(), m_data);
    makeBranch(tree, relation("particle"), m_particles);
  }
  void fill(const TrackerRecord& record, std::uint32_t particles) {
    m_data.values.assign(record.size, {});
    m_particles.values.resize(record.size);
    for (std::size_t i = 0; i < record.size; ++i) {
      auto& hit = m_data.values[i];
      hit.cellID = record.cellID[i];
      hit.eDep = record.energy[i];
      hit.time = record.time[i];
      hit.pathLength = record.pathLength[i];
      hit.quality = record.quality[i];
      hit.position = vector3d(record.position, i);
      hit.momentum = vector3f(record.momentum, i);
      m_particles.values[i] = objectID(record.particle[i], particles);
    }
  }

private:
  Buffer<edm4hep::SimTrackerHitData> m_data;
  Buffer<podio::ObjectID> m_particles;
};

class EventFileWriter {
public:
  std::string open(const std::string& path, std::uintptr_t declarations, std::size_t size) {
    return guarded([&] {
      collectRootErrors();
      m_file.reset(TFile::Open(path.c_str(), "RECREATE"));
      if (!m_file || m_file->IsZombie()) {
        throw std::runtime_error("cannot create the file: " + rootErrors());
      }
      m_events = newTree("events", "events data tree");
      for (const Declaration& declaration : readDeclarations(declarations, size)) {
        declare(declaration).create(*m_events);
      }
      m_parameters.create(*m_events);
    });
  }

  std::string event(std::uintptr_t data, std::size_t size) {
    return guarded([&] {
      Cursor cursor(reinterpret_cast<const char*>(data), size);
      m_header->fill(HeaderRecord(cursor));
      m_parameters.set(Parameters(cursor));
      m_particles->fill(ParticlesRecord(cursor));
      for (auto* hits : m_calorimeters) {
        const CalorimeterRecord record(cursor);
        ContributionCollection& contributions = *m_contributions.at(hits->name());
        hits->fill(record, contributions.id());
        contributions.fill(record, m_particles->id());
      }
      for (auto* hits : m_trackers) {
        hits->fill(TrackerRecord(cursor), m_particles->id());
      }
      cursor.finish();
      fill(*m_events);
    });
  }

  /// A frame that has parameters only, the single one of its category.
  std::string parameters(const std::string& category, std::uintptr_t data, std::size_t size) {
    return guarded([&] {
      Cursor cursor(reinterpret_cast<const char*>(data), size);
      TTree& tree = *newTree(category, category + " data tree");
      ParameterBranches branches;
      branches.create(tree);
      branches.set(Parameters(cursor));
      cursor.finish();
      fill(tree);
      tree.ResetBranchAddresses();
      m_categories.push_back(category);
    });
  }

  std::string finish(int major, int minor, int patch, int edmMajor, int edmMinor, int edmPatch,
                     const std::string& definition) {
    return guarded([&] {
      TTree& tree = *newTree("podio_metadata", "metadata tree for podio I/O functionality");
#ifdef DDCALOGEN_PODIO_1_2
      using Info = std::tuple<std::uint32_t, std::string, bool, unsigned int>;
      std::vector<std::unique_ptr<podio::CollectionIDTable>> tables;
#else
      using Info = podio::root_utils::CollectionWriteInfo;
#endif
      std::vector<std::unique_ptr<Buffer<Info>>> infos;
      m_categories.insert(m_categories.begin(), "events");
      for (const auto& category : m_categories) {
        infos.push_back(std::make_unique<Buffer<Info>>());
#ifdef DDCALOGEN_PODIO_1_2
        tables.push_back(std::make_unique<podio::CollectionIDTable>());
#endif
        if (category == "events") {
          for (const auto& collection : m_collections) {
            const std::string type = "edm4hep::" + collection->type();
            Info info;
#ifdef DDCALOGEN_PODIO_1_2
            info = Info(collection->id(), type + "Collection", false, DDCALOGEN_SCHEMA);
            tables.back()->m_collectionIDs.push_back(collection->id());
            tables.back()->m_names.push_back(collection->name());
#else
            info.collectionID = collection->id();
            info.dataType = type + "Collection";
            info.schemaVersion = DDCALOGEN_SCHEMA;
            info.name = collection->name();
            info.storageType = "std::vector<" + type + "Data>";
#endif
            infos.back()->values.push_back(info);
          }
        }
#ifdef DDCALOGEN_PODIO_1_2
        tree.Branch((category + "___idTable").c_str(), "podio::CollectionIDTable", tables.back().get());
#endif
        makeBranch(tree, category + "___CollectionTypeInfo", *infos.back());
      }
      const auto version = [](int a, int b, int c) {
        podio::version::Version v;
        v.major = static_cast<std::uint16_t>(a);
        v.minor = static_cast<std::uint16_t>(b);
        v.patch = static_cast<std::uint16_t>(c);
        return v;
      };
      auto podioVersion = version(major, minor, patch);
      auto edmVersion = version(edmMajor, edmMinor, edmPatch);
      Buffer<std::tuple<std::string, std::string>> definitions;
      definitions.values.emplace_back("edm4hep", definition);
      tree.Branch("PodioBuildVersion", "podio::version::Version", &podioVersion);
      makeBranch(tree, "EDMDefinitions", definitions);
      tree.Branch("edm4hep___Version", "podio::version::Version", &edmVersion);
      fill(tree);
      tree.ResetBranchAddresses();
      m_file->Write();
      m_file->Close();
      checkRootErrors();
    });
  }

private:
  /// The tree belongs to the file.
  TTree* newTree(const std::string& name, const std::string& title) {
    auto tree = std::make_unique<TTree>(name.c_str(), title.c_str());
    tree->SetDirectory(m_file.get());
    return tree.release();
  }
  template <typename T> T* add(const Declaration& declaration, const std::string& type) {
    auto owned = std::make_unique<T>(declaration.name, declaration.id, type);
    T* collection = owned.get();
    m_collections.push_back(std::move(owned));
    return collection;
  }
  Collection& declare(const Declaration& declaration) {
    switch (declaration.kind) {
    case 'H':
      return *(m_header = add<HeaderCollection>(declaration, "EventHeader"));
    case 'P':
      return *(m_particles = add<ParticleCollection>(declaration, "MCParticle"));
    case 'C':
      return *m_calorimeters.emplace_back(add<CalorimeterCollection>(declaration, "SimCalorimeterHit"));
    case 'c':
      return *(m_contributions[declaration.hits] = add<ContributionCollection>(declaration, "CaloHitContribution"));
    case 'T':
      return *m_trackers.emplace_back(add<TrackerCollection>(declaration, "SimTrackerHit"));
    default:
      throw std::runtime_error("unknown kind of collection");
    }
  }
  void fill(TTree& tree) {
    if (tree.Fill() < 0) {
      throw std::runtime_error("writing failed: " + rootErrors());
    }
    checkRootErrors();
  }

  std::vector<std::unique_ptr<Collection>> m_collections;
  HeaderCollection* m_header = nullptr;
  ParticleCollection* m_particles = nullptr;
  std::vector<CalorimeterCollection*> m_calorimeters;
  std::map<std::string, ContributionCollection*> m_contributions; // by the name of their hits
  std::vector<TrackerCollection*> m_trackers;
  ParameterBranches m_parameters;
  std::vector<std::string> m_categories;
  TTree* m_events = nullptr;
  std::unique_ptr<TFile> m_file; // last: destroyed first, while the buffers that its trees point to still exist
};

} // namespace ddcalogen
