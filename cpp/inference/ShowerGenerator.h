// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inference/Model.h"
#include "inference/Session.h"

#include <memory>
#include <span>
#include <vector>

namespace ddcalogen {

/// What the network is asked for: one shower in the shower frame.
struct ShowerRequest {
  double energy_gev = 0.;
  Vec3 direction; ///< unit vector in the shower frame, z > 0
  std::int32_t pdg = 0;
  std::uint64_t event = 0;
  std::uint32_t particle = 0;
};

/// The network's answer to a batch. Views point into `tensors`.
struct GeneratedBatch {
  TensorResult tensors;
  std::vector<ShowerStatus> status; ///< one per request
  std::vector<SpotView> spots;      ///< one per request, when the model makes spots
  std::vector<GridView> grids;      ///< one per request, when the model makes a grid
};

/// First thing that is wrong with a shower's spots, or Good.
ShowerStatus check_spots(const SpotView& spots, std::size_t layers);

/// Requests -> batch of tensors -> network -> checked spots or grids. Immutable; safe to share between threads.
///
/// A shower must not depend on the batch it travels in. Vectorised kernels treat the last few elements of an array
/// with other instructions than the rest and matrix products of a single row take another path, so the batch is padded
/// to a multiple of kRowQuantum rows and the spot capacity to a multiple of kSpotQuantum.
class ShowerGenerator {
public:
  static constexpr std::size_t kRowQuantum = 16;
  static constexpr std::uint64_t kSpotQuantum = 64;

  ShowerGenerator(Model model, std::shared_ptr<const Session> session);

  const Model& model() const { return m_model; }
  const Session& session() const { return *m_session; }

  /// Per-thread buffers, reused from call to call.
  struct Workspace {
    std::vector<float> energy;
    std::vector<float> direction;
    std::vector<std::int64_t> pdg;
    std::vector<std::vector<float>> noise;
    double noise_seconds = 0.;
    double network_seconds = 0.;
  };

  /// Throws Error(Inference) when the network fails or its tensors break the contract as a whole; a single bad shower
  /// is only marked in `status`.
  GeneratedBatch generate(std::span<const ShowerRequest> requests, std::uint64_t run_seed, Workspace& work) const;

private:
  void decode_spots(std::span<const ShowerRequest> requests, std::size_t rows, GeneratedBatch& batch) const;
  void decode_grid(std::span<const ShowerRequest> requests, std::size_t rows, GeneratedBatch& batch) const;

  Model m_model;
  std::shared_ptr<const Session> m_session;
  std::vector<std::string> m_outputs;
};

} // namespace ddcalogen
