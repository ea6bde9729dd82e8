// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "engine/ShowerBuffer.h"

#include "core/Error.h"
#include "toys.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>
#include <thread>

using namespace ddcalogen;

namespace {

std::shared_ptr<const Simulation> simulation(const std::shared_ptr<const LayerStacks>& stacks, Model model,
                                             std::uint64_t seed = 11, std::size_t batch = 16,
                                             std::shared_ptr<const Session> session = toys::spot_session()) {
  SimulationOptions options;
  options.seed = seed;
  options.batch = batch;
  return std::make_shared<const Simulation>(
      std::make_shared<const ShowerGenerator>(std::move(model), std::move(session)),
      std::make_shared<const Placer>(stacks), options);
}

/// A model for photons and one for electrons in the same detector.
std::shared_ptr<const ddcalogen::Run> two_models(std::shared_ptr<const Session> session = toys::spot_session()) {
  const auto stacks = toys::stacks();
  Model electrons = toys::spot_model();
  electrons.name = "electrons";
  electrons.key = 78;
  electrons.domain.pdg = {11, -11};
  electrons.domain.energy_min_gev = 5.;
  auto run = std::make_shared<ddcalogen::Run>();
  run->models = {{simulation(stacks, toys::spot_model(), 11, 16, session), 1},
                 {simulation(stacks, electrons, 11, 16, session), 1}};
  return run;
}

using Cells = std::map<std::pair<std::uint64_t, std::uint32_t>, std::map<CellID, float>>;

ShowerBuffer::Sink into(Cells& cells) {
  return [&cells](const IncidentParticle& p, const CellDeposits& d, std::size_t first, std::size_t last) {
    auto& mine = cells[{p.event, p.particle}];
    for (std::size_t i = first; i < last; ++i)
      EXPECT_TRUE(mine.emplace(d.cell_id[i], d.energy_gev[i]).second);
  };
}

std::vector<IncidentParticle> particles(std::size_t n) {
  auto made = toys::photons(n, true);
  for (std::size_t i = 0; i < n; ++i) {
    if (i % 3 == 1)
      made[i].pdg = i % 2 == 0 ? 11 : -11;
    made[i].event = 0;
    made[i].particle = static_cast<std::uint32_t>(i);
  }
  return made;
}

} // namespace

TEST(Run, FirstModelThatAcceptsTakesTheParticle) {
  const auto run = two_models();
  auto p = toys::photons(1)[0];
  p.energy_gev = 3.;
  EXPECT_EQ(run->choose(p).decision, GuardDecision::Accepted);
  EXPECT_EQ(run->choose(p).model, 0U);
  p.pdg = 11;
  EXPECT_EQ(run->choose(p).decision, GuardDecision::EnergyTooLow); // not "type not covered", as the first model says
  p.energy_gev = 6.;
  EXPECT_EQ(run->choose(p).decision, GuardDecision::Accepted);
  EXPECT_EQ(run->choose(p).model, 1U);
  p.pdg = 211;
  EXPECT_EQ(run->choose(p).decision, GuardDecision::PdgNotCovered);
}

TEST(Run, IsSharedUnderItsName) {
  const auto run = two_models();
  share_run("a run", run);
  EXPECT_EQ(shared_run("a run"), run);
  EXPECT_EQ(shared_run("a run")->seed(), 11U);
  withdraw_run("a run");
  EXPECT_THROW(shared_run("a run"), Error);
  withdraw_run("a run"); // harmless
}

TEST(Run, RefusesWhatDoesNotBelongTogether) {
  const auto stacks = toys::stacks();
  auto run = std::make_shared<ddcalogen::Run>();
  EXPECT_THROW(share_run("empty", run), Error);
  run->models = {{simulation(stacks, toys::spot_model(), 1), 1}, {simulation(stacks, toys::spot_model(), 2), 1}};
  EXPECT_THROW(share_run("two seeds", run), Error);
  run->models = {{simulation(stacks, toys::spot_model()), 1}, {simulation(toys::stacks(), toys::spot_model()), 1}};
  EXPECT_THROW(share_run("two detectors", run), Error);
}

TEST(Run, RecordedParticleHasThePrecisionOfTheFile) {
  const auto r = as_recorded(-11, 0.1 + 1e-12, {1. / 3., 2., 3.}, {0.1, 0.2, 1. / 3.}, 1. / 7., 5, 9);
  EXPECT_EQ(r.particle.energy_gev, static_cast<double>(0.1F));
  EXPECT_EQ(r.particle.position_mm.x, 1. / 3.);
  EXPECT_EQ(r.particle.time_ns, static_cast<double>(static_cast<float>(1. / 7.)));
  EXPECT_EQ(r.momentum_gev.x, static_cast<double>(0.1F));
  EXPECT_EQ(r.momentum_gev.y, static_cast<double>(0.2F));
  EXPECT_EQ(r.momentum_gev.z, static_cast<double>(static_cast<float>(1. / 3.)));
  EXPECT_NEAR(norm(r.particle.direction), 1., 1e-15);
  // once more through the file: nothing changes
  const auto again =
      as_recorded(-11, r.particle.energy_gev, r.particle.position_mm, r.momentum_gev, r.particle.time_ns, 5, 9);
  EXPECT_EQ(again.particle.direction.x, r.particle.direction.x);
  EXPECT_EQ(again.particle.energy_gev, r.particle.energy_gev);
  EXPECT_EQ(entry_cell_id(-11, 9), 0xFFFFFFF500000009ULL);
  EXPECT_EQ(entry_cell_id(22, 0xFFFFFFFFU), 0x16FFFFFFFFULL);
}

TEST(ShowerBuffer, SameCellsHoweverOftenItIsFlushed) {
  const auto run = two_models();
  const auto all = particles(60);
  Cells at_once;
  ShowerBuffer reference(run);
  for (const auto& p : all)
    if (const auto choice = run->choose(p); choice.decision == GuardDecision::Accepted)
      reference.add(p, choice.model);
  EXPECT_GT(reference.size(), 50U);
  reference.flush(into(at_once));
  EXPECT_TRUE(reference.empty());
  EXPECT_EQ(at_once.size(), reference.totals.showers);

  for (const std::size_t cap : {1U, 7U}) {
    Cells cells;
    ShowerBuffer buffer(run);
    for (const auto& p : all) {
      if (const auto choice = run->choose(p); choice.decision == GuardDecision::Accepted)
        buffer.add(p, choice.model);
      if (buffer.size() >= cap)
        buffer.flush(into(cells));
    }
    buffer.flush(into(cells));
    buffer.flush(into(cells)); // nothing left: nothing happens
    EXPECT_EQ(cells, at_once);
    EXPECT_EQ(buffer.totals.showers, reference.totals.showers);
    EXPECT_NEAR(buffer.totals.account.placed_gev, reference.totals.account.placed_gev, 1e-12);
  }
}

TEST(ShowerBuffer, CountsByModelAndAccountsForTheEnergy) {
  const auto run = two_models();
  ShowerBuffer buffer(run);
  std::uint64_t photons = 0;
  std::uint64_t electrons = 0;
  for (const auto& p : particles(40))
    if (const auto choice = run->choose(p); choice.decision == GuardDecision::Accepted) {
      buffer.add(p, choice.model);
      ++(choice.model == 0 ? photons : electrons);
    }
  double placed = 0.;
  buffer.flush([&placed](const IncidentParticle&, const CellDeposits& d, std::size_t first, std::size_t last) {
    for (std::size_t i = first; i < last; ++i)
      placed += static_cast<double>(d.energy_gev[i]);
  });
  const auto& totals = buffer.totals;
  EXPECT_EQ(totals.fates.at("shower by toy").number, photons);
  EXPECT_EQ(totals.fates.at("shower by electrons").number, electrons);
  const auto& a = totals.account;
  EXPECT_NEAR(a.generated_gev, a.placed_gev + a.dead_gev + a.outside_gev, 1e-12);
  EXPECT_NEAR(placed, a.placed_gev, 1e-6 * placed);
  RunTotals sum;
  sum += totals;
  sum += totals;
  EXPECT_EQ(sum.fates.at("shower by toy").number, 2 * photons);
  EXPECT_EQ(sum.showers, 2 * totals.showers);
}

TEST(ShowerBuffer, BadShowersAreCountedAndLeaveNoCells) {
  const auto bad = std::make_shared<toys::FunctionSession>([](const std::vector<TensorView>& inputs) {
    toys::SpotBuffers made;
    for (std::int64_t b = 0; b < inputs[0].shape[0]; ++b) {
      made.counts.push_back(1);
      made.spots.insert(made.spots.end(), {0.F, 0.F, 0.F, std::numeric_limits<float>::quiet_NaN()});
    }
    return toys::as_result(std::move(made));
  });
  const auto run = two_models(bad);
  ShowerBuffer buffer(run);
  buffer.add(toys::photons(1)[0], 0);
  buffer.flush([](const IncidentParticle&, const CellDeposits&, std::size_t, std::size_t) { FAIL(); });
  EXPECT_EQ(buffer.totals.fates.at("shower rejected: not finite").number, 1U);
  EXPECT_EQ(buffer.totals.showers, 0U);
}

TEST(ShowerBuffer, DiscardedParticlesAreCounted) {
  ShowerBuffer buffer(two_models());
  buffer.add(toys::photons(1)[0], 0);
  EXPECT_EQ(buffer.discard("lost"), 1U);
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.totals.fates.at("lost").number, 1U);
  EXPECT_EQ(buffer.discard("lost"), 0U);
}

TEST(ShowerBuffer, OnePerThreadOverOneRun) {
  const auto run = two_models();
  const auto all = particles(120);
  Cells alone;
  ShowerBuffer reference(run);
  for (const auto& p : all)
    if (const auto choice = run->choose(p); choice.decision == GuardDecision::Accepted)
      reference.add(p, choice.model);
  reference.flush(into(alone));

  std::vector<Cells> cells(4);
  {
    std::vector<std::jthread> threads;
    for (std::size_t t = 0; t < cells.size(); ++t)
      threads.emplace_back([&, t] {
        ShowerBuffer buffer(run);
        for (std::size_t i = t; i < all.size(); i += cells.size())
          if (const auto choice = run->choose(all[i]); choice.decision == GuardDecision::Accepted)
            buffer.add(all[i], choice.model);
        buffer.flush(into(cells[t]));
      });
  }
  Cells together;
  for (const auto& part : cells)
    together.insert(part.begin(), part.end());
  EXPECT_EQ(together, alone);
}
