// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
//
// ROOT reports a full disk and the like through its error handler only: collect what it says.
#pragma once

#include <TError.h>

#include <stdexcept>
#include <string>

namespace ddcalogen {

/// The first error, and the first that the operating system caused ("No space left on device"): the rest follows from
/// it.
inline std::string& rootErrors() {
  static std::string messages;
  return messages;
}

inline void collectRootErrors() {
  SetErrorHandler([](int level, Bool_t, const char* location, const char* message) {
    static bool systemError = false;
    if (level < kError || (!rootErrors().empty() && (level != kSysError || systemError))) {
      return;
    }
    systemError = level == kSysError;
    rootErrors() += std::string(rootErrors().empty() ? "" : "; ") + location + ": " + message;
  });
}

inline void checkRootErrors() {
  if (!rootErrors().empty()) {
    throw std::runtime_error(rootErrors());
  }
}

} // namespace ddcalogen
