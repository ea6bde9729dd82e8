// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// Stands in for OnnxRuntimeSession.cpp where the onnxruntime headers were not found.
#include "core/Error.h"
#include "inference/OnnxRuntimeSession.h"

namespace ddcalogen {

bool has_onnxruntime_session() { return false; }

std::shared_ptr<const Session> make_onnxruntime_session(const std::string& model_path, const OnnxRuntimeOptions&) {
  throw Error(ErrorKind::Configuration, "this build has no C++ onnxruntime session, needed for '" + model_path + "'",
              "a build without the onnxruntime headers", "a build with them",
              "Install the onnxruntime headers and build again with -DDDCALOGEN_ONNXRUNTIME=ON.");
}

} // namespace ddcalogen
