// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
//
// Compiled at run time by ROOT's interpreter. Reads the flat records that writer.py packs (see pack_event there):
// little-endian, columns one after another without padding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace ddcalogen {

/// A column of n values that need not be aligned in memory.
template <typename T> class Column {
public:
  Column() = default;
  Column(const char* data, std::size_t size) : m_data(data), m_size(size) {}
  std::size_t size() const { return m_size; }
  T operator[](std::size_t index) const {
    T value;
    std::memcpy(&value, m_data + index * sizeof(T), sizeof(T));
    return value;
  }

private:
  const char* m_data = nullptr;
  std::size_t m_size = 0;
};

class Cursor {
public:
  Cursor(const char* data, std::size_t size) : m_data(data), m_left(size) {}

  template <typename T> Column<T> column(std::size_t count) {
    if (count > m_left / sizeof(T)) {
      throw std::runtime_error("event record ends too early");
    }
    const Column<T> result(m_data, count);
    m_data += count * sizeof(T);
    m_left -= count * sizeof(T);
    return result;
  }
  template <typename T> T value() { return column<T>(1)[0]; }
  std::size_t count() { return static_cast<std::size_t>(value<std::uint64_t>()); }
  std::string text() {
    const std::size_t size = count();
    const char* begin = m_data;
    column<char>(size);
    return std::string(begin, size);
  }
  void finish() const {
    if (m_left != 0) {
      throw std::runtime_error("event record is too long");
    }
  }

private:
  const char* m_data;
  std::size_t m_left;
};

/// Generic parameters of a frame.
struct Parameters {
  std::map<std::string, std::vector<int>> integers;
  std::map<std::string, std::vector<double>> doubles;
  std::map<std::string, std::vector<std::string>> strings;

  explicit Parameters(Cursor& cursor) {
    read(cursor, integers, [](Cursor& c) { return static_cast<int>(c.value<std::int32_t>()); });
    read(cursor, doubles, [](Cursor& c) { return c.value<double>(); });
    read(cursor, strings, [](Cursor& c) { return c.text(); });
  }

private:
  template <typename Map, typename Read> static void read(Cursor& cursor, Map& map, Read&& readValue) {
    for (std::size_t keys = cursor.count(); keys != 0; --keys) {
      auto& values = map[cursor.text()];
      for (std::size_t left = cursor.count(); left != 0; --left) {
        values.push_back(readValue(cursor));
      }
    }
  }
};

/// A collection as the writer is told of it at the start: 'H' event header, 'P' particles, 'C' calorimeter hits,
/// 'c' the contributions to the hits named `hits`, 'T' tracker hits.
struct Declaration {
  char kind;
  std::uint32_t id;
  std::string name;
  std::string hits;

  explicit Declaration(Cursor& c)
      : kind(c.value<char>()), id(c.value<std::uint32_t>()), name(c.text()), hits(c.text()) {}
};

/// The declarations in the order in which podio sorts branches; event records list calorimeters and trackers so.
inline std::vector<Declaration> readDeclarations(std::uintptr_t data, std::size_t size) {
  Cursor cursor(reinterpret_cast<const char*>(data), size);
  std::vector<Declaration> declarations;
  for (std::size_t left = cursor.count(); left != 0; --left) {
    declarations.emplace_back(cursor);
  }
  cursor.finish();
  return declarations;
}

struct HeaderRecord {
  std::uint64_t eventNumber;
  std::int64_t runNumber;
  std::uint64_t timeStamp;
  double weight;
  Column<double> weights;

  explicit HeaderRecord(Cursor& c)
      : eventNumber(c.value<std::uint64_t>()), runNumber(c.value<std::int64_t>()), timeStamp(c.value<std::uint64_t>()),
        weight(c.value<double>()), weights(c.column<double>(c.count())) {}
};

/// Lists of indices: list i is indices[offsets[i] .. offsets[i + 1]).
struct RaggedRecord {
  Column<std::int64_t> offsets;
  Column<std::int32_t> indices;

  RaggedRecord(Cursor& c, std::size_t size)
      : offsets(c.column<std::int64_t>(size + 1)), indices(c.column<std::int32_t>(c.count())) {}
};

struct ParticlesRecord {
  std::size_t size;
  Column<std::int32_t> pdg, generatorStatus, simulatorStatus;
  Column<float> charge, time;
  Column<double> mass, vertex, endpoint, momentum, momentumAtEndpoint;
  Column<std::int32_t> helicity;
  RaggedRecord parents, daughters;

  explicit ParticlesRecord(Cursor& c)
      : size(c.count()), pdg(c.column<std::int32_t>(size)), generatorStatus(c.column<std::int32_t>(size)),
        simulatorStatus(c.column<std::int32_t>(size)), charge(c.column<float>(size)), time(c.column<float>(size)),
        mass(c.column<double>(size)), vertex(c.column<double>(3 * size)), endpoint(c.column<double>(3 * size)),
        momentum(c.column<double>(3 * size)), momentumAtEndpoint(c.column<double>(3 * size)),
        helicity(c.column<std::int32_t>(size)), parents(c, size), daughters(c, size) {}
};

struct CalorimeterRecord {
  std::size_t size;
  Column<std::uint64_t> cellID;
  Column<float> energy, position;
  Column<std::int64_t> offsets;
  std::size_t contributions;
  Column<std::int32_t> particle, pdg;
  Column<float> contributionEnergy, time, stepPosition, stepLength;

  explicit CalorimeterRecord(Cursor& c)
      : size(c.count()), cellID(c.column<std::uint64_t>(size)), energy(c.column<float>(size)),
        position(c.column<float>(3 * size)), offsets(c.column<std::int64_t>(size + 1)), contributions(c.count()),
        particle(c.column<std::int32_t>(contributions)), pdg(c.column<std::int32_t>(contributions)),
        contributionEnergy(c.column<float>(contributions)), time(c.column<float>(contributions)),
        stepPosition(c.column<float>(3 * contributions)), stepLength(c.column<float>(contributions)) {}
};

struct TrackerRecord {
  std::size_t size;
  Column<std::uint64_t> cellID;
  Column<float> energy, time, pathLength;
  Column<std::int32_t> quality;
  Column<double> position;
  Column<float> momentum;
  Column<std::int32_t> particle;

  explicit TrackerRecord(Cursor& c)
      : size(c.count()), cellID(c.column<std::uint64_t>(size)), energy(c.column<float>(size)),
        time(c.column<float>(size)), pathLength(c.column<float>(size)), quality(c.column<std::int32_t>(size)),
        position(c.column<double>(3 * size)), momentum(c.column<float>(3 * size)),
        particle(c.column<std::int32_t>(size)) {}
};

/// Runs a call of a writer; returns an empty text, or what went wrong.
template <typename Call> std::string guarded(Call&& call) {
  try {
    call();
    return {};
  } catch (const std::exception& error) {
    return *error.what() != '\0' ? error.what() : "unknown error";
  }
}

} // namespace ddcalogen
