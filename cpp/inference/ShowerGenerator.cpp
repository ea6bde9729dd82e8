// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/ShowerGenerator.h"

#include "core/Error.h"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace ddcalogen {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

template <typename T> T round_up(T value, T quantum) { return (value + quantum - 1) / quantum * quantum; }

std::string describe(const TensorView& tensor) {
  std::string text = std::string(name(tensor.type)) + " [";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (i > 0)
      text += ',';
    text += std::to_string(tensor.shape[i]);
  }
  return text + ']';
}

const TensorView& find(const TensorResult& result, const std::string& wanted, const std::string& model) {
  for (const auto& tensor : result.tensors)
    if (tensor.name == wanted)
      return tensor;
  throw Error(ErrorKind::Inference, "model '" + model + "' did not return the output '" + wanted + "'",
              std::to_string(result.tensors.size()) + " other outputs", "an output of that name",
              "Export the model under contract version 1.");
}

[[noreturn]] void wrong_tensor(const std::string& model, const TensorView& tensor, const std::string& expected) {
  throw Error(ErrorKind::Inference, "model '" + model + "' returned a wrong tensor '" + tensor.name + "'",
              describe(tensor), expected, "Check the model with 'ddcalogen inspect' and export it again.");
}

ShowerStatus check_values(const float* values, std::size_t count) {
  double sum = 0.;
  for (std::size_t i = 0; i < count; ++i) {
    if (!std::isfinite(values[i]))
      return ShowerStatus::NotFinite;
    if (values[i] < 0.F)
      return ShowerStatus::NegativeEnergy;
    sum += static_cast<double>(values[i]);
  }
  return sum > 0. ? ShowerStatus::Good : ShowerStatus::Empty;
}

} // namespace

ShowerStatus check_spots(const SpotView& spots, std::size_t layers) {
  double sum = 0.;
  for (std::size_t i = 0; i < spots.count; ++i) {
    const float* spot = spots.values + i * spots.columns;
    for (std::size_t c = 0; c < spots.columns; ++c)
      if (!std::isfinite(spot[c]))
        return ShowerStatus::NotFinite;
    if (spot[3] < 0.F)
      return ShowerStatus::NegativeEnergy;
    if (spot[2] < 0.F || spot[2] >= static_cast<float>(layers) || spot[2] != std::floor(spot[2]))
      return ShowerStatus::LayerOutOfRange;
    sum += static_cast<double>(spot[3]);
  }
  return sum > 0. ? ShowerStatus::Good : ShowerStatus::Empty;
}

const char* name(TensorType type) { return type == TensorType::Float32 ? "float32" : "int64"; }

ShowerGenerator::ShowerGenerator(Model model, std::shared_ptr<const Session> session)
    : m_model(std::move(model)), m_session(std::move(session)) {
  m_model.validate();
  if (m_model.kind == OutputKind::Spots)
    m_outputs = {"spots", "counts"};
  else
    m_outputs = {"grid"};
}

GeneratedBatch ShowerGenerator::generate(std::span<const ShowerRequest> requests, std::uint64_t run_seed,
                                         Workspace& work) const {
  GeneratedBatch batch;
  if (requests.empty())
    return batch;
  const std::size_t rows = round_up(requests.size(), kRowQuantum);

  auto start = Clock::now();
  // Rows that only pad ask for the cheapest shower there is; what they give is never looked at.
  work.energy.assign(rows, static_cast<float>(m_model.domain.energy_min_gev));
  work.direction.assign(3 * rows, 0.F);
  work.pdg.assign(rows, m_model.domain.pdg.front());
  std::uint64_t capacity = 0;
  for (std::size_t i = 0; i < rows; ++i)
    work.direction[3 * i + 2] = 1.F;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const auto& r = requests[i];
    work.energy[i] = static_cast<float>(r.energy_gev);
    work.direction[3 * i] = static_cast<float>(r.direction.x);
    work.direction[3 * i + 1] = static_cast<float>(r.direction.y);
    work.direction[3 * i + 2] = static_cast<float>(r.direction.z);
    work.pdg[i] = r.pdg;
    capacity = std::max(capacity, m_model.spots.capacity(r.energy_gev));
  }
  capacity = round_up(std::max(capacity, m_model.spots.capacity(m_model.domain.energy_min_gev)), kSpotQuantum);

  const auto batch_rows = static_cast<std::int64_t>(rows);
  std::vector<TensorView> inputs{{"energy", TensorType::Float32, {batch_rows, 1}, work.energy.data()},
                                 {"direction", TensorType::Float32, {batch_rows, 3}, work.direction.data()}};
  if (m_model.takes_pdg)
    inputs.push_back({"pdg", TensorType::Int64, {batch_rows, 1}, work.pdg.data()});
  work.noise.resize(m_model.noise.size());
  for (std::size_t k = 0; k < m_model.noise.size(); ++k) {
    const auto& noise = m_model.noise[k];
    TensorView view{noise.name, TensorType::Float32, {batch_rows}, nullptr};
    if (noise.per_spot)
      view.shape.push_back(static_cast<std::int64_t>(capacity));
    view.shape.insert(view.shape.end(), noise.shape.begin(), noise.shape.end());
    std::size_t inner = 1;
    for (const auto d : noise.shape)
      inner *= static_cast<std::size_t>(d);
    const std::size_t per_row = inner * (noise.per_spot ? capacity : 1);
    auto& buffer = work.noise[k];
    // The middle of either distribution, where a row needs no noise of its own.
    buffer.assign(rows * per_row, noise.distribution == NoiseDistribution::Uniform ? 0.5F : 0.F);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      const auto& r = requests[i];
      const std::size_t needed = noise.per_spot ? inner * m_model.spots.capacity(r.energy_gev) : per_row;
      fill_noise({run_seed, r.event, r.particle, m_model.key}, noise.name, noise.distribution,
                 buffer.data() + i * per_row, needed);
    }
    view.data = buffer.data();
    inputs.push_back(std::move(view));
  }
  work.noise_seconds += seconds_since(start);

  start = Clock::now();
  batch.tensors = m_session->run(inputs, m_outputs);
  work.network_seconds += seconds_since(start);

  batch.status.assign(requests.size(), ShowerStatus::Good);
  if (m_model.kind == OutputKind::Spots)
    decode_spots(requests, rows, batch);
  else
    decode_grid(requests, rows, batch);
  return batch;
}

void ShowerGenerator::decode_spots(std::span<const ShowerRequest> requests, std::size_t rows,
                                   GeneratedBatch& batch) const {
  const auto& spots = find(batch.tensors, "spots", m_model.name);
  const auto& counts = find(batch.tensors, "counts", m_model.name);
  const std::string spots_expected = "float32 [P," + std::to_string(m_model.spots.columns) + "]";
  if (spots.type != TensorType::Float32 || spots.shape.size() != 2 ||
      spots.shape[1] != static_cast<std::int64_t>(m_model.spots.columns))
    wrong_tensor(m_model.name, spots, spots_expected);
  if (counts.type != TensorType::Int64 || counts.shape.size() != 1 ||
      counts.shape[0] != static_cast<std::int64_t>(rows))
    wrong_tensor(m_model.name, counts, "int64 [" + std::to_string(rows) + "]");

  const std::int64_t total = spots.shape[0];
  std::int64_t used = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    const std::int64_t n = counts.integers()[i];
    if (n < 0 || n > total - used)
      throw Error(ErrorKind::Inference, "model '" + m_model.name + "' returned counts that do not add up",
                  "count " + std::to_string(n) + " in row " + std::to_string(i) + " after " + std::to_string(used) +
                      " of " + std::to_string(total) + " spots",
                  "counts >= 0 whose sum is the number of spots", "Export the model again.");
    if (i < requests.size()) {
      SpotView view{spots.floats() + static_cast<std::size_t>(used) * m_model.spots.columns,
                    static_cast<std::size_t>(n), m_model.spots.columns};
      if (static_cast<std::uint64_t>(n) > m_model.spots.capacity(requests[i].energy_gev))
        batch.status[i] = ShowerStatus::TooManySpots;
      else
        batch.status[i] = check_spots(view, m_model.layers());
      batch.spots.push_back(view);
    }
    used += n;
  }
  if (used != total)
    throw Error(ErrorKind::Inference, "model '" + m_model.name + "' returned counts that do not add up",
                "a sum of " + std::to_string(used), std::to_string(total) + ", the number of spots",
                "Export the model again.");
}

void ShowerGenerator::decode_grid(std::span<const ShowerRequest> requests, std::size_t rows,
                                  GeneratedBatch& batch) const {
  const auto& grid = find(batch.tensors, "grid", m_model.name);
  const auto& g = m_model.grid;
  const std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(g.layers),
                                        static_cast<std::int64_t>(g.nx), static_cast<std::int64_t>(g.ny)};
  if (grid.type != TensorType::Float32 || grid.shape != shape)
    wrong_tensor(m_model.name, grid,
                 "float32 [" + std::to_string(rows) + "," + std::to_string(g.layers) + "," + std::to_string(g.nx) +
                     "," + std::to_string(g.ny) + "]");
  const std::size_t cells = g.layers * g.nx * g.ny;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const float* values = grid.floats() + i * cells;
    batch.status[i] = check_values(values, cells);
    batch.grids.push_back({values, g.layers, g.nx, g.ny});
  }
}

} // namespace ddcalogen
