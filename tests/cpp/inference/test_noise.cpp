// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/Noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

using namespace ddcalogen;

// Known answers published with Random123 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  using Block = std::array<std::uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  const std::uint32_t f = 0xffffffff;
  EXPECT_EQ(philox4x32({f, f, f, f}, {f, f}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

namespace {
std::vector<float> draw(const NoiseKey& key, NoiseDistribution d, std::size_t n, const char* name = "z") {
  std::vector<float> values(n);
  fill_noise(key, name, d, values.data(), n);
  return values;
}
} // namespace

TEST(Noise, PrefixDoesNotDependOnLength) {
  const NoiseKey key{1, 2, 3, 4};
  const auto all = draw(key, NoiseDistribution::Normal, 1003);
  for (const std::size_t n : {1U, 2U, 3U, 4U, 5U, 255U, 256U, 257U, 1000U}) {
    const auto part = draw(key, NoiseDistribution::Normal, n);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin())) << n;
  }
}

TEST(Noise, EveryPartOfTheKeyMatters) {
  const auto base = draw({1, 2, 3, 4}, NoiseDistribution::Uniform, 64);
  EXPECT_NE(base, draw({5, 2, 3, 4}, NoiseDistribution::Uniform, 64));
  EXPECT_NE(base, draw({1, 5, 3, 4}, NoiseDistribution::Uniform, 64));
  EXPECT_NE(base, draw({1, 2 + (std::uint64_t{1} << 32), 3, 4}, NoiseDistribution::Uniform, 64));
  EXPECT_NE(base, draw({1, 2, 5, 4}, NoiseDistribution::Uniform, 64));
  EXPECT_NE(base, draw({1, 2, 3, 5}, NoiseDistribution::Uniform, 64));
  EXPECT_NE(base, draw({1, 2, 3, 4}, NoiseDistribution::Uniform, 64, "y"));
}

TEST(Noise, UniformIsOpenAndFlat) {
  const std::size_t n = 1'000'000;
  const auto values = draw({7, 0, 0, 0}, NoiseDistribution::Uniform, n);
  double sum = 0.;
  double squares = 0.;
  for (const float v : values) {
    ASSERT_GT(v, 0.F);
    ASSERT_LT(v, 1.F);
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  EXPECT_NEAR(sum / n, 0.5, 5 * 0.289 / 1e3);
  EXPECT_NEAR(squares / n, 1. / 3., 5 * 0.3 / 1e3);
}

TEST(Noise, NormalFollowsTheErrorFunction) {
  const std::size_t n = 1'000'000;
  auto values = draw({8, 0, 0, 0}, NoiseDistribution::Normal, n);
  double sum = 0.;
  double squares = 0.;
  double product = 0.;
  for (std::size_t i = 0; i + 1 < n; i += 2)
    product += static_cast<double>(values[i]) * static_cast<double>(values[i + 1]);
  for (const float v : values) {
    ASSERT_TRUE(std::isfinite(v));
    sum += static_cast<double>(v);
    squares += static_cast<double>(v) * static_cast<double>(v);
  }
  EXPECT_NEAR(sum / n, 0., 5e-3);
  EXPECT_NEAR(squares / n, 1., 5 * 1.42e-3);
  EXPECT_NEAR(product / (n / 2), 0., 5 * 1.42e-3);
  // Kolmogorov-Smirnov against the normal distribution; 1.95/sqrt(n) is exceeded by chance once in 1000.
  std::sort(values.begin(), values.end());
  double distance = 0.;
  for (std::size_t i = 0; i < n; ++i) {
    const double cdf = 0.5 * std::erfc(-static_cast<double>(values[i]) / std::sqrt(2.));
    distance = std::max(distance, std::abs(cdf - (static_cast<double>(i) + 0.5) / n));
  }
  EXPECT_LT(distance, 1.95 / std::sqrt(static_cast<double>(n)));
}

// The bits themselves: a change of these numbers changes every simulated event of every user.
TEST(Noise, FrozenBits) {
  const auto normal = draw({42, 17, 3, 0x0123456789abcdefULL}, NoiseDistribution::Normal, 5, "latent");
  const auto uniform = draw({42, 17, 3, 0x0123456789abcdefULL}, NoiseDistribution::Uniform, 5, "latent");
  const std::vector<float> normal_expected{-0x1.81114ap-1F, 0x1.266e54p-1F, 0x1.b3a696p-3F, -0x1.30ce4p+0F,
                                           -0x1.88b446p-1F};
  const std::vector<float> uniform_expected{0x1.4710d6p-1F, 0x1.959c7cp-2F, 0x1.ecc31cp-2F, 0x1.8e680ep-1F,
                                            0x1.50e4e4p-2F};
  EXPECT_EQ(normal, normal_expected);
  EXPECT_EQ(uniform, uniform_expected);
}
