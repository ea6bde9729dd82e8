// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// numpy <-> C++ without copies where possible.
#pragma once

#include "core/Error.h"
#include "core/Vec3.h"

#include <pybind11/numpy.h>

#include <memory>
#include <string>
#include <vector>

namespace ddcalogen {

/// C-contiguous numpy array, converted when it is not one of that type already.
template <typename T> using Array = pybind11::array_t<T, pybind11::array::c_style | pybind11::array::forcecast>;

/// A numpy array that takes over the vector's memory.
template <typename T> pybind11::array_t<T> to_array(std::vector<T>&& values) {
  auto owner = std::make_unique<std::vector<T>>(std::move(values));
  auto* raw = owner.get();
  const pybind11::capsule capsule(owner.release(), [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return pybind11::array_t<T>(static_cast<pybind11::ssize_t>(raw->size()), raw->data(), capsule);
}

/// Checks the shape of an array argument; -1 stands for any length.
template <typename T>
void require_shape(const Array<T>& array, const char* name, std::initializer_list<pybind11::ssize_t> shape) {
  bool good = array.ndim() == static_cast<pybind11::ssize_t>(shape.size());
  std::string found = "[";
  std::string expected = "[";
  pybind11::ssize_t axis = 0;
  for (const auto length : shape) {
    good = good && (length < 0 || array.shape(axis) == length);
    if (axis++ > 0)
      expected += ',';
    expected += length < 0 ? "N" : std::to_string(length);
  }
  for (pybind11::ssize_t i = 0; i < array.ndim(); ++i) {
    if (i > 0)
      found += ',';
    found += std::to_string(array.shape(i));
  }
  if (!good)
    throw Error(ErrorKind::Input, std::string("array '") + name + "' has the wrong shape", found + "]", expected + "]",
                "Reshape the array.");
}

} // namespace ddcalogen
