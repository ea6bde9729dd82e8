// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "bindings/arrays.h"
#include "bindings/register.h"

#include "engine/Run.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <span>

namespace py = pybind11;

namespace ddcalogen {
namespace {

std::vector<IncidentParticle> particles_from(const Array<std::int32_t>& pdg, const Array<double>& energy_gev,
                                             const Array<double>& position_mm, const Array<double>& direction,
                                             const Array<double>& time_ns, const Array<std::uint64_t>& event,
                                             const Array<std::uint32_t>& particle) {
  const auto n = pdg.size();
  require_shape(pdg, "pdg", {n});
  require_shape(energy_gev, "energy_gev", {n});
  require_shape(position_mm, "position_mm", {n, 3});
  require_shape(direction, "direction", {n, 3});
  require_shape(time_ns, "time_ns", {n});
  require_shape(event, "event", {n});
  require_shape(particle, "particle", {n});
  std::vector<IncidentParticle> out(static_cast<std::size_t>(n));
  for (py::ssize_t i = 0; i < n; ++i) {
    auto& p = out[static_cast<std::size_t>(i)];
    p.pdg = pdg.at(i);
    p.energy_gev = energy_gev.at(i);
    p.position_mm = {position_mm.at(i, 0), position_mm.at(i, 1), position_mm.at(i, 2)};
    p.direction = {direction.at(i, 0), direction.at(i, 1), direction.at(i, 2)};
    p.time_ns = time_ns.at(i);
    p.event = event.at(i);
    p.particle = particle.at(i);
  }
  return out;
}

/// The showers of a model in the shower frame, before placement, as Python takes them.
py::dict generate(const Simulation& self, const Array<double>& energy_gev, const Array<double>& direction,
                  const Array<std::int32_t>& pdg, const Array<std::uint64_t>& event,
                  const Array<std::uint32_t>& particle) {
  const auto n = energy_gev.size();
  require_shape(energy_gev, "energy_gev", {n});
  require_shape(direction, "direction", {n, 3});
  require_shape(pdg, "pdg", {n});
  require_shape(event, "event", {n});
  require_shape(particle, "particle", {n});
  std::vector<ShowerRequest> requests(static_cast<std::size_t>(n));
  for (py::ssize_t i = 0; i < n; ++i)
    requests[static_cast<std::size_t>(i)] = {energy_gev.at(i),
                                             {direction.at(i, 0), direction.at(i, 1), direction.at(i, 2)},
                                             pdg.at(i),
                                             event.at(i),
                                             particle.at(i)};
  const Model& model = self.generator().model();
  ShowerGenerator::Workspace work;
  std::vector<std::uint8_t> status;
  std::vector<std::int64_t> counts;
  std::vector<float> values;
  std::size_t columns = model.kind == OutputKind::Spots ? 4 : 1;
  {
    const py::gil_scoped_release release;
    const std::span<const ShowerRequest> all(requests);
    for (std::size_t first = 0; first < all.size(); first += self.options().batch) {
      const auto part = all.subspan(first, std::min(self.options().batch, all.size() - first));
      const GeneratedBatch batch = self.generator().generate(part, self.options().seed, work);
      for (std::size_t i = 0; i < part.size(); ++i) {
        status.push_back(static_cast<std::uint8_t>(batch.status[i]));
        const bool good = batch.status[i] == ShowerStatus::Good;
        if (model.kind == OutputKind::Spots) {
          const SpotView& spots = batch.spots[i];
          columns = spots.columns;
          counts.push_back(good ? static_cast<std::int64_t>(spots.count) : 0);
          if (good)
            values.insert(values.end(), spots.values, spots.values + spots.count * spots.columns);
        } else {
          const GridView& grid = batch.grids[i];
          const auto cells = static_cast<std::ptrdiff_t>(grid.layers * grid.nx * grid.ny);
          counts.push_back(good ? cells : 0);
          if (good)
            values.insert(values.end(), grid.values, grid.values + cells);
        }
      }
    }
  }
  py::dict out;
  const auto rows = static_cast<py::ssize_t>(values.size() / columns);
  out["status"] = to_array(std::move(status));
  out["counts"] = to_array(std::move(counts));
  out["values"] = to_array(std::move(values)).reshape({rows, static_cast<py::ssize_t>(columns)});
  out["noise_seconds"] = work.noise_seconds;
  out["network_seconds"] = work.network_seconds;
  return out;
}

template <typename T, typename Get> py::array_t<T> column(const SimulationResult& r, const Get& get) {
  std::vector<T> values;
  values.reserve(r.accounts.size());
  for (const auto& account : r.accounts)
    values.push_back(get(account));
  return to_array(std::move(values));
}

py::dict to_python(SimulationResult&& r) {
  py::dict out;
  std::vector<std::uint8_t> guard;
  std::vector<std::uint8_t> status;
  for (const auto g : r.guard)
    guard.push_back(static_cast<std::uint8_t>(g));
  for (const auto s : r.status)
    status.push_back(static_cast<std::uint8_t>(s));
  out["guard"] = to_array(std::move(guard));
  out["status"] = to_array(std::move(status));
  out["generated_gev"] = column<double>(r, [](const EnergyAccount& a) { return a.generated_gev; });
  out["placed_gev"] = column<double>(r, [](const EnergyAccount& a) { return a.placed_gev; });
  out["dead_gev"] = column<double>(r, [](const EnergyAccount& a) { return a.dead_gev; });
  out["outside_gev"] = column<double>(r, [](const EnergyAccount& a) { return a.outside_gev; });
  out["spots"] = column<std::uint64_t>(r, [](const EnergyAccount& a) { return a.spots; });
  out["spots_dead"] = column<std::uint64_t>(r, [](const EnergyAccount& a) { return a.spots_dead; });
  out["spots_outside"] = column<std::uint64_t>(r, [](const EnergyAccount& a) { return a.spots_outside; });
  auto& d = r.deposits;
  out["offsets"] = to_array(std::move(d.offsets));
  out["cell_id"] = to_array(std::move(d.cell_id));
  out["detector"] = to_array(std::move(d.detector));
  out["energy_gev"] = to_array(std::move(d.energy_gev));
  out["time_ns"] = to_array(std::move(d.time_ns));
  const auto n = static_cast<py::ssize_t>(d.spot_x_mm.size());
  py::array_t<float> position({n, py::ssize_t{3}});
  auto p = position.mutable_unchecked<2>();
  for (py::ssize_t i = 0; i < n; ++i) {
    const auto k = static_cast<std::size_t>(i);
    p(i, 0) = d.spot_x_mm[k];
    p(i, 1) = d.spot_y_mm[k];
    p(i, 2) = d.spot_z_mm[k];
  }
  out["spot_position_mm"] = position;
  out["noise_seconds"] = r.noise_seconds;
  out["network_seconds"] = r.network_seconds;
  out["placement_seconds"] = r.placement_seconds;
  return out;
}

template <typename Enum> std::vector<std::string> names(std::size_t count) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i)
    out.emplace_back(name(static_cast<Enum>(i)));
  return out;
}

} // namespace

void register_engine(py::module_& m) {
  m.attr("guard_decisions") = names<GuardDecision>(kGuardDecisions);
  m.attr("shower_statuses") = names<ShowerStatus>(kShowerStatuses);

  py::enum_<GridMethod>(m, "GridMethod")
      .value("overlap", GridMethod::Overlap)
      .value("random", GridMethod::RandomPoint)
      .value("nearest", GridMethod::Nearest);

  py::class_<StackGroup>(m, "StackGroup")
      .def(py::init([](const std::vector<std::pair<std::string, std::vector<std::int32_t>>>& members, double face_mm) {
             StackGroup group;
             for (const auto& [detector, technologies] : members)
               group.members.push_back({detector, technologies});
             group.face_mm = face_mm;
             return group;
           }),
           py::arg("members"), py::arg("face_mm"));

  py::class_<LayerStacks, std::shared_ptr<LayerStacks>>(m, "LayerStacks")
      .def(py::init([](std::shared_ptr<SensitiveSurfaces> surfaces, const std::vector<StackGroup>& groups) {
             return std::make_shared<LayerStacks>(std::move(surfaces), groups);
           }),
           py::arg("surfaces"), py::arg("groups"))
      .def("__len__", [](const LayerStacks& s) { return s.stacks().size(); })
      .def(
          "frame",
          [](const LayerStacks& s, std::size_t i) {
            const auto& stack = s.stacks().at(i);
            const auto vec = [](const Vec3& v) { return std::array<double, 3>{v.x, v.y, v.z}; };
            std::vector<double> depths;
            for (const auto& plane : stack.planes)
              depths.push_back(plane.offset_mm - stack.face_mm);
            return py::dict(py::arg("x_axis") = vec(stack.x_axis), py::arg("y_axis") = vec(stack.y_axis),
                            py::arg("normal") = vec(stack.normal), py::arg("face_mm") = stack.face_mm,
                            py::arg("depth_mm") = depths);
          },
          py::arg("stack"), "Axes (global), face distance and plane depths (mm) of one stack.")
      .def(
          "find_entry",
          [](const LayerStacks& s, std::array<double, 3> position, std::array<double, 3> direction) {
            const auto e =
                s.find_entry({position[0], position[1], position[2]}, {direction[0], direction[1], direction[2]});
            return py::dict(py::arg("decision") = name(e.decision), py::arg("stack") = e.stack,
                            py::arg("first_plane") = e.first_plane, py::arg("depth_mm") = e.depth_mm,
                            py::arg("direction") =
                                std::array<double, 3>{e.local_direction.x, e.local_direction.y, e.local_direction.z});
          },
          py::arg("position_mm"), py::arg("direction"));

  py::class_<Simulation, std::shared_ptr<Simulation>>(m, "Simulation")
      .def(py::init([](std::shared_ptr<LayerStacks> stacks, const Model& model, std::shared_ptr<Session> session,
                       std::uint64_t seed, std::size_t batch, unsigned threads, GridMethod grid_method,
                       double max_entry_depth_mm) {
             return std::make_shared<Simulation>(
                 std::make_shared<ShowerGenerator>(model, std::move(session)),
                 std::make_shared<Placer>(std::move(stacks)),
                 SimulationOptions{seed, batch, threads, grid_method, max_entry_depth_mm});
           }),
           py::arg("stacks"), py::arg("model"), py::arg("session"), py::kw_only(), py::arg("seed"), py::arg("batch"),
           py::arg("threads"), py::arg("grid_method"), py::arg("max_entry_depth_mm"))
      .def("generate", &generate, py::arg("energy_gev"), py::arg("direction"), py::arg("pdg"), py::arg("event"),
           py::arg("particle"),
           "Showers in the shower frame, before placement: status [N], counts [N] and values [P, columns], in order; "
           "values are spots, or the cells of grids (GeV, layer slowest).")
      .def(
          "simulate",
          [](const Simulation& self, const Array<std::int32_t>& pdg, const Array<double>& energy_gev,
             const Array<double>& position_mm, const Array<double>& direction, const Array<double>& time_ns,
             const Array<std::uint64_t>& event, const Array<std::uint32_t>& particle) {
            const auto particles = particles_from(pdg, energy_gev, position_mm, direction, time_ns, event, particle);
            SimulationResult result;
            {
              const py::gil_scoped_release release;
              result = self.simulate(particles);
            }
            return to_python(std::move(result));
          },
          py::arg("pdg"), py::arg("energy_gev"), py::arg("position_mm"), py::arg("direction"), py::arg("time_ns"),
          py::arg("event"), py::arg("particle"))
      .def(
          "place",
          [](const Simulation& self, const Array<std::int32_t>& pdg, const Array<double>& energy_gev,
             const Array<double>& position_mm, const Array<double>& direction, const Array<double>& time_ns,
             const Array<std::uint64_t>& event, const Array<std::uint32_t>& particle, const Array<float>& spots,
             const Array<std::int64_t>& counts) {
            const auto particles = particles_from(pdg, energy_gev, position_mm, direction, time_ns, event, particle);
            require_shape(counts, "counts", {pdg.size()});
            if (spots.ndim() != 2 || (spots.shape(1) != 4 && spots.shape(1) != 5))
              require_shape(spots, "spots", {-1, 4});
            std::vector<SpotView> views;
            py::ssize_t used = 0;
            for (py::ssize_t i = 0; i < counts.size(); ++i) {
              const auto n = counts.at(i);
              if (n < 0 || n > spots.shape(0) - used)
                throw Error(ErrorKind::Input, "spot counts do not add up", "count " + std::to_string(n),
                            "counts >= 0 whose sum is " + std::to_string(spots.shape(0)), "Correct the counts.");
              views.push_back({spots.data() + used * spots.shape(1), static_cast<std::size_t>(n),
                               static_cast<std::size_t>(spots.shape(1))});
              used += n;
            }
            SimulationResult result;
            {
              const py::gil_scoped_release release;
              result = self.place(particles, views);
            }
            return to_python(std::move(result));
          },
          py::arg("pdg"), py::arg("energy_gev"), py::arg("position_mm"), py::arg("direction"), py::arg("time_ns"),
          py::arg("event"), py::arg("particle"), py::arg("spots"), py::arg("counts"));

  m.attr("has_ddg4_plugin") = DDCALOGEN_HAVE_DDG4 != 0;
  m.def(
      "share_run",
      [](const std::string& name, std::string program_version, std::string geometry_name,
         std::vector<std::string> cells,
         const std::vector<std::pair<std::shared_ptr<Simulation>, std::int64_t>>& models) {
        auto run = std::make_shared<Run>();
        run->program_version = std::move(program_version);
        run->geometry_name = std::move(geometry_name);
        run->cells = std::move(cells);
        for (const auto& [simulation, schema] : models)
          run->models.push_back({simulation, schema});
        share_run(name, std::move(run));
      },
      py::arg("name"), py::kw_only(), py::arg("program_version"), py::arg("geometry_name"), py::arg("cells"),
      py::arg("models"), "Leaves models, as (Simulation, card schema), under a name for the plugin of the same build.");
  m.def("withdraw_run", &withdraw_run, py::arg("name"));
}

} // namespace ddcalogen
