// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ddcalogen {

enum class TensorType : std::uint8_t { Float32, Int64 };
const char* name(TensorType type);

/// A named, dense, row-major tensor that someone else owns.
struct TensorView {
  std::string name;
  TensorType type = TensorType::Float32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;

  std::size_t elements() const {
    std::size_t n = 1;
    for (const auto d : shape)
      n *= static_cast<std::size_t>(d);
    return n;
  }
  const float* floats() const { return static_cast<const float*>(data); }
  const std::int64_t* integers() const { return static_cast<const std::int64_t*>(data); }
};

/// Output tensors together with what keeps their memory alive.
struct TensorResult {
  std::vector<TensorView> tensors;
  std::shared_ptr<const void> owner;
};

/// Runs a network: named tensors in, named tensors out. Implementations are safe to call from several threads at once
/// and keep no state between calls.
class Session {
public:
  virtual ~Session() = default;
  /// Throws Error(Inference) when the network cannot run on these inputs.
  virtual TensorResult run(const std::vector<TensorView>& inputs, const std::vector<std::string>& outputs) const = 0;
  /// Execution provider that really runs, e.g. "CPUExecutionProvider".
  virtual std::string provider() const = 0;
};

} // namespace ddcalogen
