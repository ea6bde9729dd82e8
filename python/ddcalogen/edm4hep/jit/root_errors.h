// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
//
// ROOT reports a full disk and the like through its error handler only: collect what it says.
#pragma once

#include <TError.h>

#include <stdexcept>
#include <string>

namespace ddcalogen {

inline std::string& rootErrors() {
  static std::string messages;
  return messages;
}

inline void collectRootErrors() {
  SetErrorHandler([](int level, Bool_t, const char* location, const char* message) {
    if (level >= kError && rootErrors().size() < 2000) {
      rootErrors() += std::string(rootErrors().empty() ? "" : "; ") + location + ": " + message;
    }
  });
}

inline void checkRootErrors() {
  if (!rootErrors().empty()) {
    throw std::runtime_error(rootErrors());
  }
}

} // namespace ddcalogen
