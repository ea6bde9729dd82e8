// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/ShowerGenerator.h"

#include "core/Error.h"
#include "toys.h"

#include <gtest/gtest.h>

#include <limits>

using namespace ddcalogen;

namespace {

std::vector<ShowerRequest> requests(std::size_t n) {
  std::vector<ShowerRequest> out;
  for (std::size_t i = 0; i < n; ++i)
    out.push_back({5. + static_cast<double>(i), {0., 0., 1.}, 22, i, 0});
  return out;
}

/// Runs a network whose answer for row 0 is `mutate`d.
ShowerStatus first_status(const std::function<void(toys::SpotBuffers&)>& mutate) {
  const auto inner = toys::spot_session();
  const auto session = std::make_shared<toys::FunctionSession>([&](const std::vector<TensorView>& inputs) {
    const auto good = inner->run(inputs, {});
    toys::SpotBuffers made;
    made.spots.assign(good.tensors[0].floats(), good.tensors[0].floats() + good.tensors[0].elements());
    made.counts.assign(good.tensors[1].integers(), good.tensors[1].integers() + good.tensors[1].elements());
    mutate(made);
    return toys::as_result(std::move(made));
  });
  const ShowerGenerator generator(toys::spot_model(), session);
  ShowerGenerator::Workspace work;
  const auto batch = generator.generate(requests(3), 1, work);
  EXPECT_EQ(batch.status[1], ShowerStatus::Good);
  EXPECT_EQ(batch.status[2], ShowerStatus::Good);
  return batch.status[0];
}

} // namespace

TEST(ShowerGenerator, OneBadShowerIsMarkedAndTheOthersStay) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(first_status([](auto&) {}), ShowerStatus::Good);
  EXPECT_EQ(first_status([&](auto& m) { m.spots[3] = nan; }), ShowerStatus::NotFinite);
  EXPECT_EQ(first_status([&](auto& m) { m.spots[0] = inf; }), ShowerStatus::NotFinite);
  EXPECT_EQ(first_status([&](auto& m) { m.spots[2] = nan; }), ShowerStatus::NotFinite);
  EXPECT_EQ(first_status([](auto& m) { m.spots[3] = -1e-6F; }), ShowerStatus::NegativeEnergy);
  EXPECT_EQ(first_status([](auto& m) { m.spots[2] = 6.F; }), ShowerStatus::LayerOutOfRange);
  EXPECT_EQ(first_status([](auto& m) { m.spots[2] = -1.F; }), ShowerStatus::LayerOutOfRange);
  EXPECT_EQ(first_status([](auto& m) { m.spots[2] = 1.5F; }), ShowerStatus::LayerOutOfRange);
  EXPECT_EQ(first_status([](auto& m) { m.spots[2] = 3e9F; }), ShowerStatus::LayerOutOfRange);
  EXPECT_EQ(first_status([](auto& m) {
              for (std::size_t i = 0; i < 9; ++i)
                m.spots[4 * i + 3] = 0.F;
            }),
            ShowerStatus::Empty);
  EXPECT_EQ(first_status([](auto& m) { // row 0 takes many spots more than declared for 5 GeV
              m.counts[0] += 40;
              m.spots.insert(m.spots.begin(), 4 * 40, 1.F);
            }),
            ShowerStatus::TooManySpots);
}

TEST(ShowerGenerator, BrokenTensorsAreErrors) {
  const auto run = [](TensorResult result) {
    const ShowerGenerator generator(toys::spot_model(), std::make_shared<toys::FunctionSession>(
                                                            [&](const std::vector<TensorView>&) { return result; }));
    ShowerGenerator::Workspace work;
    generator.generate(requests(2), 1, work);
  };
  EXPECT_THROW(run({}), Error); // no outputs at all
  EXPECT_THROW(run(toys::as_result({std::vector<float>(20), std::vector<std::int64_t>(16)}, 5)), Error); // 5 columns
  EXPECT_THROW(run(toys::as_result({std::vector<float>(8), std::vector<std::int64_t>(2, 1)})), Error);   // rows lost
  EXPECT_THROW(run(toys::as_result({std::vector<float>(8), std::vector<std::int64_t>(16, 1)})),
               Error); // too many counted
  EXPECT_THROW(run(toys::as_result({std::vector<float>(80), std::vector<std::int64_t>(16, 1)})),
               Error); // too few counted
  EXPECT_THROW(run(toys::as_result({std::vector<float>(64), std::vector<std::int64_t>(16, -1)})), Error);
  try {
    run({});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Inference);
    EXPECT_FALSE(error.remedy().empty());
  }
}

TEST(ShowerGenerator, AShowerDoesNotDependOnItsBatch) {
  const ShowerGenerator generator(toys::spot_model(), toys::spot_session());
  ShowerGenerator::Workspace work;
  const auto all = requests(40);
  const auto batch = generator.generate(all, 9, work);
  for (std::size_t i = 0; i < all.size(); ++i) {
    ShowerGenerator::Workspace fresh;
    const auto alone = generator.generate({&all[i], 1}, 9, fresh);
    ASSERT_EQ(alone.spots[0].count, batch.spots[i].count);
    EXPECT_TRUE(
        std::equal(alone.spots[0].values, alone.spots[0].values + 4 * alone.spots[0].count, batch.spots[i].values));
  }
}

TEST(Model, ContradictionsAreErrors) {
  const auto broken = [](const std::function<void(Model&)>& breaks) {
    Model model = toys::spot_model();
    breaks(model);
    EXPECT_THROW(model.validate(), Error);
  };
  broken([](Model& m) { m.layer_depth_mm.clear(); });
  broken([](Model& m) { m.layer_depth_mm = {2., 1.}; });
  broken([](Model& m) { m.domain.pdg.clear(); });
  broken([](Model& m) { m.domain.energy_max_gev = 0.5; });
  broken([](Model& m) { m.spots.columns = 3; });
  broken([](Model& m) { m.spots.capacity_maximum = 0; });
  broken([](Model& m) { m.kind = OutputKind::Grid; });
}

TEST(Domain, EveryBorder) {
  const Domain domain{{22, 11}, 1., 100., 0., 60.};
  const double in = std::cos(59.9 * M_PI / 180.);
  EXPECT_EQ(domain.check(22, 1., in), GuardDecision::Accepted);
  EXPECT_EQ(domain.check(11, 100., 1.), GuardDecision::Accepted);
  EXPECT_EQ(domain.check(211, 10., in), GuardDecision::PdgNotCovered);
  EXPECT_EQ(domain.check(22, 0.999, in), GuardDecision::EnergyTooLow);
  EXPECT_EQ(domain.check(22, 100.1, in), GuardDecision::EnergyTooHigh);
  EXPECT_EQ(domain.check(22, 10., std::cos(60.1 * M_PI / 180.)), GuardDecision::AngleOutside);
  EXPECT_EQ(domain.check(22, std::nan(""), in), GuardDecision::BadKinematics);
}
