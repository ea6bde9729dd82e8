// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "placement/Placer.h"

#include "core/Error.h"
#include "toys.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

using namespace ddcalogen;
using toys::kFace;

namespace {

const std::vector<double> kDepths{5., 15., 25., 35., 45., 55.};

struct Placed {
  EnergyAccount account;
  CellDeposits deposits;
};

IncidentParticle at(const Vec3& position, const Vec3& direction) {
  IncidentParticle p;
  p.pdg = 22;
  p.energy_gev = 10.;
  p.position_mm = position;
  p.direction = normalised(direction);
  p.time_ns = 3.;
  return p;
}

Placed place(const IncidentParticle& particle, const std::vector<float>& spots, std::size_t columns = 4) {
  const Placer placer(toys::stacks());
  const auto entry = placer.stacks().find_entry(particle.position_mm, particle.direction);
  EXPECT_EQ(entry.decision, GuardDecision::Accepted);
  Placed out;
  CellAccumulator cells;
  out.account = placer.place({particle, entry, &kDepths}, SpotView{spots.data(), spots.size() / columns, columns},
                             cells, out.deposits);
  return out;
}

double sum(const std::vector<float>& values) { return std::accumulate(values.begin(), values.end(), 0.); }

} // namespace

TEST(LayerStacks, FramesAreRightHandedAndFollowTheConvention) {
  const auto stacks = toys::stacks();
  ASSERT_EQ(stacks->stacks().size(), 2U);
  for (const auto& stack : stacks->stacks()) {
    EXPECT_NEAR(dot(cross(stack.x_axis, stack.y_axis), stack.normal), 1., 1e-12);
    EXPECT_NEAR(stack.x_axis.z, -1., 1e-12); // barrel: local x = -z
    EXPECT_EQ(stack.planes.size(), 6U);
  }
}

TEST(LayerStacks, EntryAtTheFaceAndLate) {
  const auto stacks = toys::stacks();
  auto entry = stacks->find_entry({kFace, 5., 20.}, {1., 0., 0.});
  EXPECT_EQ(entry.decision, GuardDecision::Accepted);
  EXPECT_EQ(entry.first_plane, 0U);
  EXPECT_NEAR(entry.local_direction.z, 1., 1e-12);
  entry = stacks->find_entry({kFace + 12., 5., 20.}, {1., 0., 0.});
  EXPECT_EQ(entry.first_plane, 1U);
  EXPECT_NEAR(entry.depth_mm, 12., 1e-9);
  EXPECT_EQ(stacks->find_entry({kFace + 56., 5., 20.}, {1., 0., 0.}).decision, GuardDecision::NotAtCalorimeter);
  EXPECT_EQ(stacks->find_entry({0., 0., 0.}, {1., 0., 0.}).decision, GuardDecision::NotAtCalorimeter);
  EXPECT_EQ(stacks->find_entry({kFace, 5., 20.}, {-1., 0., 0.}).decision, GuardDecision::NotAtCalorimeter);
  EXPECT_EQ(stacks->find_entry({kFace, 5., 20.}, {0., 0., 0.}).decision, GuardDecision::BadKinematics);
  EXPECT_EQ(stacks->find_entry({std::nan(""), 5., 20.}, {1., 0., 0.}).decision, GuardDecision::BadKinematics);
}

TEST(LayerStacks, UnknownDetectorOrTechnologyIsAnError) {
  EXPECT_THROW(LayerStacks(toys::surfaces(), {{{{"Nowhere", {}}}, kFace}}), Error);
  EXPECT_THROW(LayerStacks(toys::surfaces(), {{{{"ToyBarrel", {7}}}, kFace}}), Error);
}

TEST(Placer, SpotsLandWhereTheyAre) {
  // local x = -z, local y = phi_hat = y at the +x face
  const auto placed = place(at({kFace, 1., 20.}, {1., 0., 0.}), {2.F, 3.F, 2.F, 0.5F});
  ASSERT_EQ(placed.deposits.size(), 1U);
  EXPECT_EQ(placed.deposits.cell_id[0], toys::surfaces()->locate({kFace + 25., 4., 18.}));
  EXPECT_FLOAT_EQ(placed.deposits.spot_x_mm[0], static_cast<float>(kFace + 25.));
  EXPECT_FLOAT_EQ(placed.deposits.spot_y_mm[0], 4.F);
  EXPECT_FLOAT_EQ(placed.deposits.spot_z_mm[0], 18.F);
  const double flight = std::sqrt(4. + 9. + 625.) / 299.792458;
  EXPECT_FLOAT_EQ(placed.deposits.time_ns[0], static_cast<float>(3. + flight));
}

TEST(Placer, TimeColumnReplacesTheFlightTime) {
  const auto placed = place(at({kFace, 1., 20.}, {1., 0., 0.}), {2.F, 3.F, 2.F, 0.5F, 7.F}, 5);
  EXPECT_FLOAT_EQ(placed.deposits.time_ns[0], 10.F);
}

TEST(Placer, LateEntryShiftsLayersAndMovesAlongTheAxis) {
  // 12 mm deep, 45 degrees: layer 0 of the model goes to plane 1 at depth 15, 3 mm behind the entry instead of 5.
  const auto placed = place(at({kFace + 12., 1., 20.}, {1., 1., 0.}), {0.F, 5.F, 0.F, 1.F});
  ASSERT_EQ(placed.deposits.size(), 1U);
  EXPECT_FLOAT_EQ(placed.deposits.spot_x_mm[0], static_cast<float>(kFace + 15.));
  EXPECT_FLOAT_EQ(placed.deposits.spot_y_mm[0], 1.F + 3.F);
  // the last layers of the model have no plane left: they leak
  const auto leak = place(at({kFace + 12., 1., 20.}, {1., 0., 0.}), {0.F, 0.F, 5.F, 1.F});
  EXPECT_EQ(leak.deposits.size(), 0U);
  EXPECT_DOUBLE_EQ(leak.account.outside_gev, 1.);
}

TEST(Placer, GapIsDeadAndFarIsOutside) {
  const auto gap = place(at({kFace, 1., 10.}, {1., 0., 0.}), {10.F, 0.F, 0.F, 1.F}); // z = 0, between the modules
  EXPECT_DOUBLE_EQ(gap.account.dead_gev, 1.);
  const auto far = place(at({kFace, 1., 10.}, {1., 0., 0.}), {-400.F, 0.F, 0.F, 1.F});
  EXPECT_DOUBLE_EQ(far.account.outside_gev, 1.);
}

TEST(Placer, AccountingClosesAndEveryCellExists) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal(0.F, 90.F);
  std::uniform_int_distribution<int> layer(0, 5);
  std::exponential_distribution<float> energy(1000.F);
  std::vector<float> spots;
  for (int i = 0; i < 20000; ++i)
    spots.insert(spots.end(), {normal(rng), normal(rng), static_cast<float>(layer(rng)), energy(rng)});
  const auto placed = place(at({kFace, 1., 10.}, {1., 0.3, 0.2}), spots);
  const auto& a = placed.account;
  EXPECT_GT(a.dead_gev, 0.);
  EXPECT_GT(a.outside_gev, 0.);
  EXPECT_NEAR(a.generated_gev, a.placed_gev + a.dead_gev + a.outside_gev, 1e-12 * a.generated_gev);
  EXPECT_NEAR(sum(placed.deposits.energy_gev), a.placed_gev, 1e-6 * a.placed_gev);
  EXPECT_EQ(a.spots, 20000U);
  const auto surfaces = toys::surfaces();
  std::vector<CellID> seen = placed.deposits.cell_id;
  for (const auto cell : seen)
    EXPECT_TRUE(surfaces->exists(cell));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end()) << "one entry per cell";
}

namespace {

Placed place_grid(GridMethod method, const std::vector<float>& grid, std::size_t n, double cell, const Vec3& position) {
  const Placer placer(toys::stacks());
  const auto particle = at(position, {1., 0., 0.});
  const auto entry = placer.stacks().find_entry(particle.position_mm, particle.direction);
  Placed out;
  CellAccumulator cells;
  const double edge = -0.5 * cell * static_cast<double>(n);
  const auto uniform = [](float* values, std::size_t count) {
    fill_noise({1, 2, 3, 4}, "placement", NoiseDistribution::Uniform, values, count);
  };
  out.account = placer.place({particle, entry, &kDepths}, GridView{grid.data(), 6, n, n},
                             GridGeometry{{cell, cell}, {edge, edge}, false}, method, uniform, cells, out.deposits);
  return out;
}

} // namespace

TEST(Placer, OverlapSharesByArea) {
  // One grid cell of 5 mm in layer 0, its corner 2 mm / 1 mm inside a real cell: shares 3x4, 2x4, 3x1, 2x1 of 25.
  std::vector<float> grid(6 * 1, 0.F);
  grid[0] = 1.F;
  // grid cell covers local x, y in [-2.5, 2.5]; entry y = 4.5 -> y in [2, 7]; entry z = 26.5 -> z in [24, 29]
  const auto placed = place_grid(GridMethod::Overlap, grid, 1, 5., {kFace, 4.5, 26.5});
  ASSERT_EQ(placed.deposits.size(), 4U);
  EXPECT_NEAR(sum(placed.deposits.energy_gev), 1., 1e-6);
  const auto surfaces = toys::surfaces();
  const auto share = [&](double y, double z) {
    const auto cell = surfaces->locate({kFace + 5., y, z});
    for (std::size_t i = 0; i < placed.deposits.size(); ++i)
      if (placed.deposits.cell_id[i] == cell)
        return static_cast<double>(placed.deposits.energy_gev[i]);
    return -1.;
  };
  // modules start at z = 2: cell borders in z at 2, 7, ..., 22, 27; in y at multiples of 5
  EXPECT_NEAR(share(3., 25.), 3. * 3. / 25., 1e-6);
  EXPECT_NEAR(share(6., 25.), 2. * 3. / 25., 1e-6);
  EXPECT_NEAR(share(3., 28.), 3. * 2. / 25., 1e-6);
  EXPECT_NEAR(share(6., 28.), 2. * 2. / 25., 1e-6);
}

TEST(Placer, GridMethodsCloseTheAccount) {
  const std::size_t n = 30;
  std::mt19937 rng(5);
  std::exponential_distribution<float> energy(1000.F);
  std::vector<float> grid(6 * n * n);
  for (auto& value : grid)
    value = energy(rng);
  for (const auto method : {GridMethod::Overlap, GridMethod::RandomPoint, GridMethod::Nearest}) {
    const auto placed = place_grid(method, grid, n, 5.088, {kFace, 91., 40.}); // over a gap and over the edge
    const auto& a = placed.account;
    EXPECT_NEAR(a.generated_gev, sum(grid), 1e-4 * a.generated_gev);
    EXPECT_NEAR(a.generated_gev, a.placed_gev + a.dead_gev + a.outside_gev, 1e-12 * a.generated_gev);
    EXPECT_NEAR(sum(placed.deposits.energy_gev), a.placed_gev, 1e-6 * a.placed_gev);
    EXPECT_GT(a.dead_gev, 0.);
    EXPECT_GT(a.outside_gev, 0.);
    EXPECT_GT(a.spots, a.spots_dead + a.spots_outside);
    EXPECT_GE(a.spots, placed.deposits.cell_id.size() + a.spots_dead + a.spots_outside);
    if (method == GridMethod::Overlap)
      EXPECT_GT(a.spots, grid.size());
    else
      EXPECT_EQ(a.spots, grid.size());
  }
}

namespace {

/// The toy barrel with an endcap at z = 260 mm, which leaves an empty gap of 58 mm behind the barrel's edge.
std::shared_ptr<const LayerStacks> barrel_and_endcap() {
  auto barrel = toys::barrel_table();
  DetectorTable endcap = barrel;
  endcap.name = "ToyEndcap";
  endcap.volume_id.clear();
  endcap.rotation.clear();
  endcap.solid.clear();
  endcap.translation_mm.clear();
  endcap.rotations = {{1., 0., 0., 0., 1., 0., 0., 0., 1.}};
  const CellIDEncoding encoding(endcap.encoding);
  for (unsigned layer = 0; layer < toys::kLayers; ++layer) {
    endcap.volume_id.push_back(encoding.set(encoding.set(0, "system", 10), "layer", layer));
    endcap.rotation.push_back(0);
    endcap.solid.push_back(0);
    endcap.translation_mm.push_back({kFace + 30., 0., 265. + 10. * layer});
  }
  const auto surfaces = std::make_shared<SensitiveSurfaces>(std::vector<DetectorTable>{barrel, endcap});
  return std::make_shared<LayerStacks>(
      surfaces, std::vector<StackGroup>{{{{"ToyBarrel", {}}}, kFace}, {{{"ToyEndcap", {}}}, 260.}});
}

} // namespace

TEST(Placer, ShowerLeavingTheBarrelGoesOnInTheEndcap) {
  const auto stacks = barrel_and_endcap();
  const Placer placer(stacks);
  // 45 degrees towards +z, entering 12 mm before the barrel's edge at z = 202
  const auto particle = at({kFace, 1., 190.}, {1., 0., 1.});
  const auto entry = stacks->find_entry(particle.position_mm, particle.direction);
  ASSERT_EQ(entry.decision, GuardDecision::Accepted);
  // on the axis in layer 4, depth 45: z = 235, 33 mm behind the edge, in the gap -> 33 mm behind the endcap's face
  const std::vector<float> spots{-45.F, 0.F, 4.F, 1.F};
  CellAccumulator cells;
  CellDeposits out;
  const auto account = placer.place({particle, entry, &kDepths}, SpotView{spots.data(), 1, 4}, cells, out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(stacks->surfaces().detectors()[out.detector[0]].name, "ToyEndcap");
  EXPECT_DOUBLE_EQ(account.placed_gev, 1.);
  // face 260 + 33 = 293; nearest plane is at 295; the line reaches z = 293 at x = kFace + 103
  EXPECT_NEAR(out.spot_z_mm[0], 295., 1e-3);
  EXPECT_NEAR(out.spot_x_mm[0], kFace + 103., 1e-3);
  EXPECT_EQ(out.cell_id[0], stacks->surfaces().locate({kFace + 103., 1., 295.}));
}
