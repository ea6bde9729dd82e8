// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
/// Table of contents of ddcalogen._core; one register_*.cpp per concept.
#include "bindings/register.h"

#include "core/Error.h"

#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace {

/// Turns a core Error into the Python class of the same kind from ddcalogen.errors, fields kept apart.
void translate(std::exception_ptr pointer) {
  try {
    if (pointer)
      std::rethrow_exception(pointer);
  } catch (const ddcalogen::Error& error) {
    const char* name = "DDCaloGenError";
    switch (error.kind()) {
    case ddcalogen::ErrorKind::Geometry:
      name = "GeometryError";
      break;
    case ddcalogen::ErrorKind::Model:
      name = "ModelError";
      break;
    case ddcalogen::ErrorKind::Inference:
      name = "InferenceError";
      break;
    case ddcalogen::ErrorKind::Input:
      name = "InputError";
      break;
    case ddcalogen::ErrorKind::Output:
      name = "OutputError";
      break;
    case ddcalogen::ErrorKind::Configuration:
      name = "ConfigurationError";
      break;
    }
    const py::object type = py::module_::import("ddcalogen.errors").attr(name);
    const py::object value = type(error.problem(), py::arg("found") = error.found(),
                                  py::arg("expected") = error.expected(), py::arg("remedy") = error.remedy());
    PyErr_SetObject(type.ptr(), value.ptr());
  }
}

} // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() = "Compiled core of DDCaloGen: geometry, shower placement, noise and inference. Lengths in mm, energies in "
            "GeV, times in ns.";
  py::register_exception_translator(&translate);
  ddcalogen::register_geometry(m);
  ddcalogen::register_inference(m);
  ddcalogen::register_engine(m);
}
