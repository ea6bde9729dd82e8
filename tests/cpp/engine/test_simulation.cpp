// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "engine/Simulation.h"

#include "core/Error.h"
#include "toys.h"

#include <gtest/gtest.h>

#include <thread>

using namespace ddcalogen;

namespace {

Simulation simulation(std::size_t batch, unsigned threads,
                      std::shared_ptr<const Session> session = toys::spot_session()) {
  SimulationOptions options;
  options.seed = 11;
  options.batch = batch;
  options.threads = threads;
  return {std::make_shared<ShowerGenerator>(toys::spot_model(), std::move(session)),
          std::make_shared<Placer>(toys::stacks()), options};
}

void expect_same(const SimulationResult& a, const SimulationResult& b) {
  EXPECT_EQ(a.deposits.offsets, b.deposits.offsets);
  EXPECT_EQ(a.deposits.cell_id, b.deposits.cell_id);
  EXPECT_EQ(a.deposits.energy_gev, b.deposits.energy_gev); // bit for bit
  EXPECT_EQ(a.deposits.time_ns, b.deposits.time_ns);
  EXPECT_EQ(a.deposits.spot_x_mm, b.deposits.spot_x_mm);
  EXPECT_TRUE(a.guard == b.guard);
}

} // namespace

TEST(Simulation, SameCellsWhateverBatchAndThreads) {
  const auto particles = toys::photons(300, true);
  const auto reference = simulation(256, 1).simulate(particles);
  EXPECT_GT(reference.deposits.size(), 3000U);
  for (const std::size_t batch : {1U, 7U, 64U, 1000U})
    for (const unsigned threads : {1U, 4U})
      expect_same(reference, simulation(batch, threads).simulate(particles));
}

TEST(Simulation, OneParticleAloneIsTheSameAsAmongOthers) {
  const auto particles = toys::photons(50);
  const auto sim = simulation(16, 1);
  const auto all = sim.simulate(particles);
  for (std::size_t i = 0; i < particles.size(); ++i) {
    const auto one = sim.simulate({&particles[i], 1});
    const auto first = static_cast<std::ptrdiff_t>(all.deposits.offsets[i]);
    const auto last = static_cast<std::ptrdiff_t>(all.deposits.offsets[i + 1]);
    EXPECT_EQ(one.deposits.energy_gev,
              std::vector<float>(all.deposits.energy_gev.begin() + first, all.deposits.energy_gev.begin() + last));
  }
}

TEST(Simulation, SharedBetweenThreads) {
  const auto particles = toys::photons(200, true);
  const auto sim = simulation(32, 2);
  const auto reference = sim.simulate(particles);
  std::vector<SimulationResult> results(4);
  {
    std::vector<std::jthread> threads;
    for (auto& result : results)
      threads.emplace_back([&] { result = sim.simulate(particles); });
  }
  for (const auto& result : results)
    expect_same(reference, result);
}

TEST(Simulation, GuardReasonsAreTold) {
  auto particles = toys::photons(7);
  particles[0].pdg = 2112;
  particles[1].energy_gev = 0.1;
  particles[2].energy_gev = 1000.;
  particles[3].direction = normalised({0.1, 1., 0.});
  particles[4].position_mm = {500., 0., 0.};
  particles[5].position_mm.x += 45.;
  particles[6].direction = {0., 0., 0.};
  const auto result = simulation(4, 1).simulate(particles);
  using G = GuardDecision;
  EXPECT_EQ(result.guard, (std::vector<G>{G::PdgNotCovered, G::EnergyTooLow, G::EnergyTooHigh, G::AngleOutside,
                                          G::NotAtCalorimeter, G::EntryTooDeep, G::BadKinematics}));
  EXPECT_EQ(result.deposits.size(), 0U);
  EXPECT_EQ(result.deposits.showers(), 7U);
}

TEST(Simulation, NoParticles) {
  const auto result = simulation(4, 2).simulate({});
  EXPECT_EQ(result.deposits.showers(), 0U);
}

TEST(Simulation, ErrorInAnyThreadReachesTheCaller) {
  const auto failing = std::make_shared<toys::FunctionSession>(
      [](const std::vector<TensorView>&) -> TensorResult { throw Error(ErrorKind::Inference, "the network failed"); });
  EXPECT_THROW(simulation(4, 4, failing).simulate(toys::photons(100)), Error);
  EXPECT_THROW(simulation(0, 1), Error);
}

TEST(Simulation, PlacesGivenShowers) {
  const auto particles = toys::photons(2);
  const std::vector<float> spots{0.F, 0.F, 0.F, 1.F, 1.F, 1.F, 1.F, 2.F};
  const std::vector<SpotView> views{{spots.data(), 1, 4}, {spots.data() + 4, 1, 4}};
  const auto result = simulation(4, 1).place(particles, views);
  EXPECT_EQ(result.deposits.energy_gev, (std::vector<float>{1.F, 2.F}));
  EXPECT_THROW(simulation(4, 1).place(particles, {views.data(), 1}), Error);
}
