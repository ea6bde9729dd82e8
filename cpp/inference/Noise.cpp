// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/Noise.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace ddcalogen {
namespace {

constexpr std::uint32_t kMul0 = 0xD2511F53U;
constexpr std::uint32_t kMul1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;

/// Finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that spreads every input bit over the word.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

/// FNV-1a, 64 bit.
constexpr std::uint64_t hash_name(std::string_view text) {
  std::uint64_t h = 0xCBF29CE484222325ULL;
  for (const char c : text)
    h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return h;
}

/// Natural logarithm of a normal float in (0, 1]; minimax polynomial of Cephes logf (S. Moshier), error < 2 ulp.
inline float log_fixed(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  auto exponent = static_cast<std::int32_t>(bits >> 23) - 126;
  float m = std::bit_cast<float>((bits & 0x007FFFFFU) | 0x3F000000U); // [0.5, 1)
  const bool low = m < 0.707106781186547524F;
  exponent -= low ? 1 : 0;
  m = low ? m + m - 1.F : m - 1.F;
  const float z = m * m;
  float y = 7.0376836292E-2F;
  y = y * m - 1.1514610310E-1F;
  y = y * m + 1.1676998740E-1F;
  y = y * m - 1.2420140846E-1F;
  y = y * m + 1.4249322787E-1F;
  y = y * m - 1.6668057665E-1F;
  y = y * m + 2.0000714765E-1F;
  y = y * m - 2.4999993993E-1F;
  y = y * m + 3.3333331174E-1F;
  y = y * m * z;
  const auto e = static_cast<float>(exponent);
  y += -2.12194440E-4F * e;
  y += -0.5F * z;
  return m + y + 0.693359375F * e;
}

/// sin and cos of 2 pi u for u in [0, 1); Cephes sinf/cosf polynomials on [-pi/4, pi/4].
inline void sincos_turn(float u, float& sine, float& cosine) {
  const float q = static_cast<float>(static_cast<std::int32_t>(u * 4.F + 0.5F));
  const float r = (u - 0.25F * q) * 6.283185307179586F;
  const float z = r * r;
  const float s = ((-1.9515295891E-4F * z + 8.3321608736E-3F) * z - 1.6666654611E-1F) * z * r + r;
  const float c =
      ((2.443315711809948E-5F * z - 1.388731625493765E-3F) * z + 4.166664568298827E-2F) * z * z - 0.5F * z + 1.F;
  const auto k = static_cast<std::int32_t>(q) & 3;
  const bool swap = (k & 1) != 0;
  const float a = swap ? c : s;
  const float b = swap ? s : c;
  sine = (k & 2) != 0 ? -a : a;
  cosine = (k == 1 || k == 2) ? -b : b;
}

constexpr std::size_t kBlocks = 64; // blocks per pass: keeps the working set in registers and L1, lets loops vectorise

} // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = static_cast<std::uint64_t>(kMul0) * c[0];
    const std::uint64_t p1 = static_cast<std::uint64_t>(kMul1) * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
    k[0] += kWeyl0;
    k[1] += kWeyl1;
  }
  return c;
}

void fill_noise(const NoiseKey& key, std::string_view input_name, NoiseDistribution distribution, float* out,
                std::size_t count) {
  const std::uint64_t mixed = mix(key.run_seed ^ mix(key.model ^ mix(hash_name(input_name))));
  const std::array<std::uint32_t, 2> philox_key{static_cast<std::uint32_t>(mixed),
                                                static_cast<std::uint32_t>(mixed >> 32)};
  const auto event_low = static_cast<std::uint32_t>(key.event);
  const auto event_high = static_cast<std::uint32_t>(key.event >> 32);

  std::array<std::array<std::uint32_t, kBlocks>, 4> words;
  std::array<float, 4 * kBlocks> values;
  const std::size_t blocks = (count + 3) / 4;
  for (std::size_t first = 0; first < blocks; first += kBlocks) {
    const std::size_t n = std::min(kBlocks, blocks - first);
    for (std::size_t i = 0; i < n; ++i) {
      const auto block =
          philox4x32({static_cast<std::uint32_t>(first + i), key.particle, event_low, event_high}, philox_key);
      for (std::size_t lane = 0; lane < 4; ++lane)
        words[lane][i] = block[lane];
    }
    if (distribution == NoiseDistribution::Uniform) {
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t lane = 0; lane < 4; ++lane) // 23 bits and a half: never 0, never 1
          values[4 * i + lane] = (static_cast<float>(words[lane][i] >> 9) + 0.5F) * 0x1p-23F;
    } else {
      for (std::size_t pair = 0; pair < 4; pair += 2)
        for (std::size_t i = 0; i < n; ++i) {
          const float u = (static_cast<float>(words[pair][i]) + 0.5F) * 0x1p-32F;
          const float radius = std::sqrt(std::max(0.F, -2.F * log_fixed(u)));
          float sine = 0.F;
          float cosine = 0.F;
          sincos_turn(static_cast<float>(words[pair + 1][i] >> 8) * 0x1p-24F, sine, cosine);
          values[4 * i + pair] = radius * cosine;
          values[4 * i + pair + 1] = radius * sine;
        }
    }
    const std::size_t begin = 4 * first;
    std::copy_n(values.begin(), std::min(4 * n, count - begin), out + begin);
  }
}

} // namespace ddcalogen
