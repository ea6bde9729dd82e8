// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// Plain data that flows through the chain: incident particle -> spots -> cell deposits. Structures of arrays.
#pragma once

#include "core/Vec3.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ddcalogen {

/// A particle that meets a calorimeter, in global coordinates.
struct IncidentParticle {
  std::int32_t pdg = 0;
  double energy_gev = 0.;     ///< kinetic energy, GeV
  Vec3 position_mm;           ///< where it enters the calorimeter, global, mm
  Vec3 direction;             ///< unit vector, global
  double time_ns = 0.;        ///< time of entry, ns
  std::uint64_t event = 0;    ///< event number: part of the noise key
  std::uint32_t particle = 0; ///< identity within the event: part of the noise key, and the link to MC truth
};

/// Why a particle was, or was not, given to a model.
enum class GuardDecision : std::uint8_t {
  Accepted,
  PdgNotCovered,
  EnergyTooLow,
  EnergyTooHigh,
  AngleOutside,     ///< angle to the layer normal outside the model's range
  NotAtCalorimeter, ///< no layer stack of this calorimeter at the entry position
  EntryTooDeep,     ///< enters so late that too few layers are left
  BadKinematics,    ///< NaN, infinite, or zero-length direction
};
inline constexpr std::size_t kGuardDecisions = 8;
const char* name(GuardDecision decision);

/// Why the network's shower was, or was not, used.
enum class ShowerStatus : std::uint8_t {
  Good,
  NotFinite, ///< NaN or infinite value in a spot or grid cell
  NegativeEnergy,
  LayerOutOfRange, ///< layer index not a whole number in 0 .. layers-1
  TooManySpots,    ///< more spots than the model's card declares for this energy
  Empty,           ///< no energy at all
};
inline constexpr std::size_t kShowerStatuses = 6;
const char* name(ShowerStatus status);

/// Energy spots of one shower in the shower frame. `values` points at count*columns floats: x mm, y mm, layer, GeV
/// (, time ns relative to the entry).
struct SpotView {
  const float* values = nullptr;
  std::size_t count = 0;
  std::size_t columns = 4;
};

/// Regular grid of one shower: layers x nx x ny energies in GeV, layer slowest.
struct GridView {
  const float* values = nullptr;
  std::size_t layers = 0;
  std::size_t nx = 0;
  std::size_t ny = 0;
};

/// Where the generated energy went; generated = placed + dead + outside, up to rounding of double sums. A cell of a
/// grid that is split counts as one spot for each piece.
struct EnergyAccount {
  double generated_gev = 0.;
  double placed_gev = 0.;
  double dead_gev = 0.;    ///< fell inside the calorimeter on insensitive material
  double outside_gev = 0.; ///< left the calorimeter
  std::uint64_t spots = 0;
  std::uint64_t spots_dead = 0;
  std::uint64_t spots_outside = 0;

  EnergyAccount& operator+=(const EnergyAccount& other) {
    generated_gev += other.generated_gev;
    placed_gev += other.placed_gev;
    dead_gev += other.dead_gev;
    outside_gev += other.outside_gev;
    spots += other.spots;
    spots_dead += other.spots_dead;
    spots_outside += other.spots_outside;
    return *this;
  }
};

/// Energy per cell and shower. Entry i belongs to shower s with offsets[s] <= i < offsets[s+1].
struct CellDeposits {
  std::vector<std::uint64_t> offsets{0};
  std::vector<std::uint64_t> cell_id;
  std::vector<std::uint32_t> detector; ///< index into SensitiveSurfaces::detectors()
  std::vector<float> energy_gev;
  std::vector<float> time_ns;   ///< energy-weighted mean global time of the cell's spots
  std::vector<float> spot_x_mm; ///< energy-weighted mean global position of the cell's spots
  std::vector<float> spot_y_mm;
  std::vector<float> spot_z_mm;

  std::size_t showers() const { return offsets.size() - 1; }
  std::size_t size() const { return cell_id.size(); }
  void append(const CellDeposits& other);
};

} // namespace ddcalogen
