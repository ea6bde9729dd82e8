// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// A small detector and small networks for tests.
#pragma once

#include "engine/Simulation.h"

#include <cmath>
#include <functional>
#include <memory>

namespace ddcalogen::toys {

constexpr double kFace = 1000.; // mm
constexpr int kLayers = 6;
constexpr double kPitch = 10.; // mm between layers; first mid-plane 5 mm behind the face
constexpr double kHalf = 100.; // mm half size of each of the two modules
constexpr double kGap = 4.;    // mm between the modules

/// A box calorimeter: two barrel faces at +x and -y, each of two modules side by side in z, cells of 5 mm.
inline DetectorTable barrel_table() {
  DetectorTable table;
  table.name = "ToyBarrel";
  table.readout = "ToyHits";
  table.encoding = "system:5,stave:2,module:2,layer:6,x:32:-16,y:-16";
  const CellIDEncoding encoding(table.encoding);
  table.segmentation.entries.push_back({0, 0, CartesianGridXY{{"x", "y"}, 5., 5., 2.5, 2.5}});
  table.hit_collections.push_back({"ToyCollection", "", 0, 0});
  // rows: global coordinates of local x, y, z; local z along the normal
  table.rotations.push_back({0., 0., 1., 1., 0., 0., 0., 1., 0.});  // normal +x, local x = y, local y = z
  table.rotations.push_back({1., 0., 0., 0., 0., -1., 0., 1., 0.}); // normal -y, local x = x, local y = z
  table.solids.push_back(Solid::box({kHalf, kHalf, 0.25}, {0., 0., 0.}));
  for (unsigned stave = 0; stave < 2; ++stave)
    for (unsigned module = 0; module < 2; ++module)
      for (unsigned layer = 0; layer < kLayers; ++layer) {
        CellID id = encoding.set(0, "system", 9);
        id = encoding.set(id, "stave", stave);
        id = encoding.set(id, "module", module);
        id = encoding.set(id, "layer", layer);
        const double depth = kFace + 5. + kPitch * layer;
        const double z = (module == 0 ? -1. : 1.) * (kHalf + kGap / 2.);
        table.volume_id.push_back(id);
        table.rotation.push_back(stave);
        table.solid.push_back(0);
        table.translation_mm.push_back(stave == 0 ? Vec3{depth, 0., z} : Vec3{0., -depth, z});
      }
  return table;
}

inline std::shared_ptr<const SensitiveSurfaces> surfaces() {
  return std::make_shared<SensitiveSurfaces>(std::vector<DetectorTable>{barrel_table()});
}

inline std::shared_ptr<const LayerStacks> stacks() {
  return std::make_shared<LayerStacks>(surfaces(), std::vector<StackGroup>{{{{"ToyBarrel", {}}}, kFace}});
}

inline Model spot_model() {
  Model model;
  model.name = "toy";
  model.version = "1.0.0";
  model.key = 77;
  model.domain = {{22}, 1., 100., 0., 60.};
  for (int l = 0; l < kLayers; ++l)
    model.layer_depth_mm.push_back(5. + kPitch * l);
  model.noise = {{"z", NoiseDistribution::Normal, true, {3}}, {"w", NoiseDistribution::Uniform, false, {2}}};
  model.kind = OutputKind::Spots;
  model.spots = {4, 8., 2., 1000};
  return model;
}

/// A network made of a function.
class FunctionSession final : public Session {
public:
  using Run = std::function<TensorResult(const std::vector<TensorView>&)>;
  explicit FunctionSession(Run run) : m_run(std::move(run)) {}
  TensorResult run(const std::vector<TensorView>& inputs, const std::vector<std::string>&) const override {
    return m_run(inputs);
  }
  std::string provider() const override { return "test"; }

private:
  Run m_run;
};

struct SpotBuffers {
  std::vector<float> spots;
  std::vector<std::int64_t> counts;
};

inline TensorResult as_result(SpotBuffers&& made, std::int64_t columns = 4) {
  auto owner = std::make_shared<SpotBuffers>(std::move(made));
  TensorResult result;
  result.tensors = {
      {"spots",
       TensorType::Float32,
       {static_cast<std::int64_t>(owner->spots.size()) / columns, columns},
       owner->spots.data()},
      {"counts", TensorType::Int64, {static_cast<std::int64_t>(owner->counts.size())}, owner->counts.data()}};
  result.owner = owner;
  return result;
}

/// Spots from noise: 4 + E spots a shower, x and y from z, layers in turn, 1 MeV each times (1 + w).
inline std::shared_ptr<const Session> spot_session() {
  return std::make_shared<FunctionSession>([](const std::vector<TensorView>& inputs) {
    const auto rows = inputs[0].shape[0];
    const auto capacity = inputs[2].shape[1];
    SpotBuffers made;
    for (std::int64_t b = 0; b < rows; ++b) {
      const auto n = static_cast<std::int64_t>(4.F + inputs[0].floats()[b]);
      made.counts.push_back(n);
      for (std::int64_t i = 0; i < n; ++i) {
        const float* z = inputs[2].floats() + (b * capacity + i) * 3;
        const float w = inputs[3].floats()[2 * b];
        made.spots.insert(made.spots.end(),
                          {10.F * z[0], 10.F * z[1], static_cast<float>(i % kLayers), 1e-3F * (1.F + w)});
      }
    }
    return as_result(std::move(made));
  });
}

inline std::vector<IncidentParticle> photons(std::size_t n, bool second_face = false) {
  std::vector<IncidentParticle> out;
  for (std::size_t i = 0; i < n; ++i) {
    IncidentParticle p;
    p.pdg = 22;
    p.energy_gev = 1. + static_cast<double>((i * 37) % 90);
    const double z = -80. + static_cast<double>((i * 13) % 160);
    const bool down = second_face && i % 2 == 1;
    p.position_mm = down ? Vec3{5., -kFace, z} : Vec3{kFace, 5., z};
    p.direction = down ? Vec3{0., -1., 0.} : Vec3{1., 0., 0.};
    p.time_ns = kFace / 299.792458;
    p.event = i / 3;
    p.particle = static_cast<std::uint32_t>(i % 3);
    out.push_back(p);
  }
  return out;
}

} // namespace ddcalogen::toys
