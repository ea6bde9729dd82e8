// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "inference/Session.h"

#include <memory>
#include <string>

namespace ddcalogen {

struct OnnxRuntimeOptions {
  std::string provider = "cpu"; ///< "cpu" or "cuda"; a provider that is not there is an error, never a silent change
  /// Shared library of onnxruntime. Empty: environment variable DDCALOGEN_ONNXRUNTIME_LIBRARY, then the library found
  /// when this was built, then libonnxruntime.so.1 by the loader's rules.
  std::string library;
  std::size_t gpu_memory_limit_bytes = std::size_t{4} << 30;
};

/// True when this build has the onnxruntime session (its headers were found).
bool has_onnxruntime_session();

/// A network run by the C++ interface of onnxruntime: one thread per call, no spinning, no memory pattern (batches vary
/// in size). The library is opened at run time and its symbols are kept to itself.
/// Throws Error(Configuration) when the library or provider is missing, Error(Model) when the file cannot be loaded.
std::shared_ptr<const Session> make_onnxruntime_session(const std::string& model_path,
                                                        const OnnxRuntimeOptions& options);

} // namespace ddcalogen
