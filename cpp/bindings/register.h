// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <pybind11/pybind11.h>

namespace ddcalogen {

void register_geometry(pybind11::module_& m);
void register_inference(pybind11::module_& m);
void register_engine(pybind11::module_& m);

} // namespace ddcalogen
