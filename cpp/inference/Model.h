// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// The numbers of a model card (contract version 1) that the runtime needs.
#pragma once

#include "inference/Noise.h"
#include "shower/Shower.h"

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ddcalogen {

struct NoiseInput {
  std::string name;
  NoiseDistribution distribution = NoiseDistribution::Normal;
  bool per_spot = false;           ///< first dimension is the spot capacity of the batch
  std::vector<std::int64_t> shape; ///< remaining dimensions of one shower
};

struct SpotOutput {
  std::size_t columns = 4;
  double capacity_base = 0.;
  double capacity_per_gev = 0.;
  std::uint64_t capacity_maximum = 0;
  /// Largest number of spots of a shower of this energy.
  std::uint64_t capacity(double energy_gev) const;
};

struct GridOutput {
  std::size_t layers = 0;
  std::size_t nx = 0;
  std::size_t ny = 0;
  std::array<double, 2> cell_mm{};
  std::array<double, 2> lower_edge_mm{};
  bool follows_axis = false; ///< grid of each layer is centred where the shower axis meets that layer
};

enum class OutputKind : std::uint8_t { Spots, Grid };

/// Where the model may be used.
struct Domain {
  std::vector<std::int32_t> pdg;
  double energy_min_gev = 0.;
  double energy_max_gev = 0.;
  double theta_min_deg = 0.; ///< angle to the layer normal
  double theta_max_deg = 0.;

  /// Tests everything but the position. `cos_theta`: cosine of the angle between direction and layer normal.
  GuardDecision check(std::int32_t pdg_code, double energy_gev, double cos_theta) const;
};

struct Model {
  std::string name;
  std::string version;
  std::string hash;      ///< hexadecimal
  std::uint64_t key = 0; ///< first 8 bytes of the hash: part of every noise key
  Domain domain;
  std::vector<double> layer_depth_mm; ///< of each layer's sensitive mid-plane behind the face, perpendicular
  bool takes_pdg = false;
  std::vector<NoiseInput> noise;
  OutputKind kind = OutputKind::Spots;
  SpotOutput spots;
  GridOutput grid;

  std::size_t layers() const { return layer_depth_mm.size(); }
  /// Throws Error(Model) when the numbers contradict each other.
  void validate() const;
};

} // namespace ddcalogen
