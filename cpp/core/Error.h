// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace ddcalogen {

/// Kind of an error; each has a Python class of the same name (plus "Error") in ddcalogen.errors.
enum class ErrorKind { Geometry, Model, Inference, Input, Output, Configuration };

/// The one exception type of the C++ core: what is wrong, what was found, what was expected, what to do.
class Error : public std::runtime_error {
public:
  Error(ErrorKind kind, std::string problem, std::string found = {}, std::string expected = {}, std::string remedy = {})
      : std::runtime_error(compose(problem, found, expected, remedy)), m_kind(kind), m_problem(std::move(problem)),
        m_found(std::move(found)), m_expected(std::move(expected)), m_remedy(std::move(remedy)) {}

  ErrorKind kind() const noexcept { return m_kind; }
  const std::string& problem() const noexcept { return m_problem; }
  const std::string& found() const noexcept { return m_found; }
  const std::string& expected() const noexcept { return m_expected; }
  const std::string& remedy() const noexcept { return m_remedy; }

private:
  static std::string compose(const std::string& problem, const std::string& found, const std::string& expected,
                             const std::string& remedy) {
    std::string text = problem;
    if (!found.empty())
      text += "; found " + found;
    if (!expected.empty())
      text += "; expected " + expected;
    if (!remedy.empty())
      text += ". " + remedy;
    return text;
  }

  ErrorKind m_kind;
  std::string m_problem;
  std::string m_found;
  std::string m_expected;
  std::string m_remedy;
};

} // namespace ddcalogen
