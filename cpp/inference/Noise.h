// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// Counter-based noise: the value at an index depends on the key and the index alone, never on what was drawn before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ddcalogen {

/// One block of Philox4x32-10 (Salmon et al., SC'11, "Parallel random numbers: as easy as 1, 2, 3").
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

enum class NoiseDistribution : std::uint8_t {
  Normal, ///< mean 0, width 1 (Box-Muller)
  Uniform ///< open interval (0, 1)
};

/// What a noise tensor of one shower is keyed on.
struct NoiseKey {
  std::uint64_t run_seed = 0;
  std::uint64_t event = 0;
  std::uint32_t particle = 0;
  std::uint64_t model = 0; ///< first 8 bytes of the model hash
};

/// Fills `count` values of the input `input_name`. Only IEEE +, -, *, / and sqrt on float and double are used, so the
/// bits are the same on every machine and do not depend on the C library.
void fill_noise(const NoiseKey& key, std::string_view input_name, NoiseDistribution distribution, float* out,
                std::size_t count);

} // namespace ddcalogen
