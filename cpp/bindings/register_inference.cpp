// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "bindings/register.h"

#include "inference/OnnxRuntimeSession.h"
#include "inference/ShowerGenerator.h"

#include <pybind11/functional.h>
#include <pybind11/stl.h>

namespace py = pybind11;

namespace ddcalogen {
namespace {

/// Lets go of something of Python's, on whatever thread. Once the interpreter has ended (static objects, such as the
/// shared runs, are destroyed after it) there is no lock to take and nothing left to free.
template <class T> void release_with_gil(T* p) {
  if (Py_IsInitialized() == 0)
    return;
  const py::gil_scoped_acquire gil;
  delete p;
}

/// A session whose network runs in Python (onnxruntime's own package, or a test double).
class PythonSession final : public Session {
public:
  PythonSession(py::function run, std::string provider)
      : m_run(new py::function(std::move(run)), release_with_gil<py::function>), m_provider(std::move(provider)) {}

  TensorResult run(const std::vector<TensorView>& inputs, const std::vector<std::string>& outputs) const override {
    const py::gil_scoped_acquire gil;
    py::dict feeds;
    for (const auto& input : inputs) {
      const std::vector<py::ssize_t> shape(input.shape.begin(), input.shape.end());
      // The base keeps numpy from copying; the buffers outlive this call.
      const py::capsule borrowed(input.data, [](void*) {});
      if (input.type == TensorType::Float32)
        feeds[py::str(input.name)] = py::array_t<float>(shape, input.floats(), borrowed);
      else
        feeds[py::str(input.name)] = py::array_t<std::int64_t>(shape, input.integers(), borrowed);
    }
    py::object returned;
    try {
      returned = (*m_run)(outputs, feeds);
    } catch (py::error_already_set& error) {
      if (error.matches(PyExc_KeyboardInterrupt))
        throw;
      throw Error(ErrorKind::Inference, std::string("the network failed: ") + error.what(), "an exception",
                  "output tensors", "Check the model with 'ddcalogen inspect'.");
    }
    const auto arrays = py::cast<py::list>(returned);
    if (arrays.size() != outputs.size())
      throw Error(ErrorKind::Inference, "the network returned a wrong number of outputs", std::to_string(arrays.size()),
                  std::to_string(outputs.size()), "Export the model again.");
    TensorResult result;
    auto kept =
        std::shared_ptr<std::vector<py::array>>(new std::vector<py::array>, release_with_gil<std::vector<py::array>>);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      py::array array = py::array::ensure(arrays[i], py::array::c_style);
      const bool is_float = array && py::isinstance<py::array_t<float>>(array);
      const bool is_integer = array && py::isinstance<py::array_t<std::int64_t>>(array);
      if (!is_float && !is_integer)
        throw Error(ErrorKind::Inference, "output '" + outputs[i] + "' has a type that the contract does not know",
                    array ? py::cast<std::string>(py::str(array.dtype())) : "no array", "float32 or int64",
                    "Export the model again.");
      result.tensors.push_back({outputs[i], is_float ? TensorType::Float32 : TensorType::Int64,
                                std::vector<std::int64_t>(array.shape(), array.shape() + array.ndim()), array.data()});
      kept->push_back(std::move(array));
    }
    result.owner = kept;
    return result;
  }

  std::string provider() const override { return m_provider; }

private:
  std::shared_ptr<py::function> m_run;
  std::string m_provider;
};

} // namespace

void register_inference(py::module_& m) {
  py::enum_<NoiseDistribution>(m, "NoiseDistribution")
      .value("normal", NoiseDistribution::Normal)
      .value("uniform", NoiseDistribution::Uniform);

  m.def("philox4x32", &philox4x32, py::arg("counter"), py::arg("key"),
        "One block of Philox4x32-10 (Salmon et al. 2011).");
  m.def(
      "fill_noise",
      [](std::uint64_t seed, std::uint64_t event, std::uint32_t particle, std::uint64_t model, const std::string& name,
         NoiseDistribution distribution, std::size_t count) {
        std::vector<float> values(count);
        fill_noise({seed, event, particle, model}, name, distribution, values.data(), count);
        return to_array(std::move(values));
      },
      py::arg("seed"), py::arg("event"), py::arg("particle"), py::arg("model"), py::arg("name"),
      py::arg("distribution"), py::arg("count"),
      "float32 [count]: the noise of one input of one shower, as the runtime feeds it.");

  py::class_<Session, std::shared_ptr<Session>>(m, "Session").def_property_readonly("provider", &Session::provider);
  py::class_<PythonSession, Session, std::shared_ptr<PythonSession>>(m, "PythonSession")
      .def(py::init<py::function, std::string>(), py::arg("run"), py::arg("provider"),
           "run(output_names: list[str], feeds: dict[str, ndarray]) -> list[ndarray]");

  m.attr("has_onnxruntime_session") = has_onnxruntime_session();
  m.def(
      "onnxruntime_session",
      [](const std::string& path, const std::string& provider, const std::string& library) {
        OnnxRuntimeOptions options;
        options.provider = provider;
        options.library = library;
        const py::gil_scoped_release release;
        return std::const_pointer_cast<Session>(make_onnxruntime_session(path, options));
      },
      py::arg("model_path"), py::arg("provider") = "cpu", py::arg("library") = "",
      "A session run by the C++ interface of onnxruntime. Raises ConfigurationError when this build, the library or "
      "the provider lacks it, ModelError when the file cannot be loaded.");

  py::class_<NoiseInput>(m, "NoiseInput")
      .def(py::init(
               [](std::string name, NoiseDistribution distribution, bool per_spot, std::vector<std::int64_t> shape) {
                 return NoiseInput{std::move(name), distribution, per_spot, std::move(shape)};
               }),
           py::arg("name"), py::arg("distribution"), py::arg("per_spot"), py::arg("shape"));

  py::class_<SpotOutput>(m, "SpotOutput")
      .def(py::init([](std::size_t columns, double base, double per_gev, std::uint64_t maximum) {
             return SpotOutput{columns, base, per_gev, maximum};
           }),
           py::arg("columns"), py::arg("base"), py::arg("per_gev"), py::arg("maximum"))
      .def("capacity", &SpotOutput::capacity, py::arg("energy_gev"));

  py::class_<GridOutput>(m, "GridOutput")
      .def(py::init([](std::size_t layers, std::size_t nx, std::size_t ny, std::array<double, 2> cell_mm,
                       std::array<double, 2> lower_edge_mm,
                       bool follows_axis) { return GridOutput{layers, nx, ny, cell_mm, lower_edge_mm, follows_axis}; }),
           py::arg("layers"), py::arg("nx"), py::arg("ny"), py::arg("cell_mm"), py::arg("lower_edge_mm"),
           py::arg("follows_axis"));

  py::class_<Model>(m, "Model")
      .def(py::init([](std::string name, std::string version, std::string hash, std::uint64_t key,
                       std::vector<std::int32_t> pdg, std::array<double, 2> energy_gev, std::array<double, 2> theta_deg,
                       std::vector<double> layer_depth_mm, bool takes_pdg, std::vector<NoiseInput> noise,
                       std::optional<SpotOutput> spots, std::optional<GridOutput> grid) {
             Model model;
             model.name = std::move(name);
             model.version = std::move(version);
             model.hash = std::move(hash);
             model.key = key;
             model.domain = {std::move(pdg), energy_gev[0], energy_gev[1], theta_deg[0], theta_deg[1]};
             model.layer_depth_mm = std::move(layer_depth_mm);
             model.takes_pdg = takes_pdg;
             model.noise = std::move(noise);
             if (spots.has_value() == grid.has_value())
               throw Error(ErrorKind::Model, "a model makes spots or a grid",
                           spots ? "both descriptions" : "neither description", "exactly one", "Correct the card.");
             model.kind = spots ? OutputKind::Spots : OutputKind::Grid;
             if (spots)
               model.spots = *spots;
             if (grid)
               model.grid = *grid;
             model.validate();
             return model;
           }),
           py::kw_only(), py::arg("name"), py::arg("version"), py::arg("hash"), py::arg("key"), py::arg("pdg"),
           py::arg("energy_gev"), py::arg("theta_deg"), py::arg("layer_depth_mm"), py::arg("takes_pdg"),
           py::arg("noise"), py::arg("spots") = std::nullopt, py::arg("grid") = std::nullopt)
      .def_readonly("name", &Model::name)
      .def_readonly("hash", &Model::hash);
}

} // namespace ddcalogen
