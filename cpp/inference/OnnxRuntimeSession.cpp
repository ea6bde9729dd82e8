// SPDX-FileCopyrightText: 2026 the DDCaloGen authors
// SPDX-License-Identifier: Apache-2.0
#include "inference/OnnxRuntimeSession.h"

#include "core/Error.h"

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include <cstdlib>
#include <dlfcn.h>
#include <mutex>

namespace ddcalogen {
namespace {

#ifndef DDCALOGEN_ONNXRUNTIME_LIBRARY
#define DDCALOGEN_ONNXRUNTIME_LIBRARY ""
#endif

constexpr std::uint32_t kOldestApi = 17;

std::string choose_library(const std::string& wanted) {
  if (!wanted.empty())
    return wanted;
  if (const char* set = std::getenv("DDCALOGEN_ONNXRUNTIME_LIBRARY"); set != nullptr && *set != '\0')
    return set;
  const std::string built_with = DDCALOGEN_ONNXRUNTIME_LIBRARY;
  return built_with.empty() ? "libonnxruntime.so.1" : built_with;
}

/// Opens the library once per process. It stays open: onnxruntime does not survive being unloaded.
void open_library(const std::string& wanted) {
  static std::mutex mutex;
  static std::string opened;
  const std::lock_guard lock(mutex);
  if (!opened.empty())
    return;
  const std::string path = choose_library(wanted);
  // Local symbols: a protobuf or torch in the same process must not be mixed up with onnxruntime's own.
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = ::dlerror();
    throw Error(ErrorKind::Configuration, "the onnxruntime library cannot be opened", reason != nullptr ? reason : path,
                "a shared library of onnxruntime 1.17 or newer", "Set DDCALOGEN_ONNXRUNTIME_LIBRARY to its path.");
  }
  using GetApiBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetApiBase>(::dlsym(handle, "OrtGetApiBase"));
  const OrtApi* api = nullptr;
  if (get_base != nullptr)
    for (std::uint32_t version = ORT_API_VERSION; version >= kOldestApi && api == nullptr; --version)
      api = get_base()->GetApi(version);
  if (api == nullptr)
    throw Error(ErrorKind::Configuration, "the library is not a usable onnxruntime",
                path + (get_base != nullptr ? std::string(", version ") + get_base()->GetVersionString() : ""),
                "onnxruntime 1.17 or newer", "Set DDCALOGEN_ONNXRUNTIME_LIBRARY to a newer library.");
  Ort::InitApi(api);
  opened = path;
}

Ort::Env& environment() {
  static Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "ddcalogen");
  return env;
}

void append_cuda(Ort::SessionOptions& session_options, const OnnxRuntimeOptions& options) {
  const auto& api = Ort::GetApi();
  OrtCUDAProviderOptionsV2* raw = nullptr;
  Ort::ThrowOnError(api.CreateCUDAProviderOptions(&raw));
  const auto release = [&api](OrtCUDAProviderOptionsV2* p) { api.ReleaseCUDAProviderOptions(p); };
  const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(release)> cuda(raw, release);
  const std::string limit = std::to_string(options.gpu_memory_limit_bytes);
  const char* keys[] = {"gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search"};
  const char* values[] = {limit.c_str(), "kSameAsRequested", "HEURISTIC"};
  Ort::ThrowOnError(api.UpdateCUDAProviderOptions(cuda.get(), keys, values, 3));
  session_options.AppendExecutionProvider_CUDA_V2(*cuda);
}

class OnnxRuntimeSession final : public Session {
public:
  OnnxRuntimeSession(const std::string& path, const OnnxRuntimeOptions& options) {
    Ort::SessionOptions session_options;
    session_options.SetIntraOpNumThreads(1);
    session_options.SetInterOpNumThreads(1);
    session_options.SetExecutionMode(ExecutionMode::ORT_SEQUENTIAL);
    session_options.DisableMemPattern();
    session_options.SetGraphOptimizationLevel(GraphOptimizationLevel::ORT_ENABLE_ALL);
    session_options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    m_provider = "CPUExecutionProvider";
    if (options.provider == "cuda") {
      try {
        append_cuda(session_options, options);
      } catch (const Ort::Exception& error) {
        throw Error(ErrorKind::Configuration, "the CUDA provider of onnxruntime is not available", error.what(),
                    "an onnxruntime built for CUDA and a working GPU", "Choose the provider 'cpu'.");
      }
      m_provider = "CUDAExecutionProvider";
    } else if (options.provider != "cpu") {
      throw Error(ErrorKind::Configuration, "unknown execution provider", options.provider, "cpu or cuda",
                  "Choose one of these.");
    }
    try {
      m_session = Ort::Session(environment(), path.c_str(), session_options);
    } catch (const Ort::Exception& error) {
      throw Error(ErrorKind::Model, "onnxruntime cannot load the model", error.what(), "a valid ONNX file",
                  "Check '" + path + "' with 'ddcalogen inspect'.");
    }
  }

  TensorResult run(const std::vector<TensorView>& inputs, const std::vector<std::string>& outputs) const override {
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> values;
    std::vector<const char*> input_names;
    std::vector<const char*> output_names;
    for (const auto& input : inputs) {
      // The C interface takes a non-const pointer but only reads inputs.
      void* data = const_cast<void*>(input.data);
      const std::size_t n = input.elements();
      if (input.type == TensorType::Float32)
        values.push_back(Ort::Value::CreateTensor<float>(memory, static_cast<float*>(data), n, input.shape.data(),
                                                         input.shape.size()));
      else
        values.push_back(Ort::Value::CreateTensor<std::int64_t>(memory, static_cast<std::int64_t*>(data), n,
                                                                input.shape.data(), input.shape.size()));
      input_names.push_back(input.name.c_str());
    }
    for (const auto& output : outputs)
      output_names.push_back(output.c_str());
    auto held = std::make_shared<std::vector<Ort::Value>>();
    try {
      // Run is safe to call from several threads; only its declaration lacks const.
      *held = const_cast<Ort::Session&>(m_session).Run(Ort::RunOptions{nullptr}, input_names.data(), values.data(),
                                                       values.size(), output_names.data(), output_names.size());
    } catch (const Ort::Exception& error) {
      throw Error(ErrorKind::Inference, std::string("the network failed: ") + error.what(), "an exception",
                  "output tensors", "Check the model with 'ddcalogen inspect'.");
    }
    TensorResult result;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const Ort::Value& value = (*held)[i];
      if (!value.IsTensor())
        throw Error(ErrorKind::Inference, "output '" + outputs[i] + "' is not a tensor", "another kind of value",
                    "a dense tensor", "Export the model again.");
      const auto info = value.GetTensorTypeAndShapeInfo();
      const auto type = info.GetElementType();
      if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        result.tensors.push_back({outputs[i], TensorType::Float32, info.GetShape(), value.GetTensorRawData()});
      else if (type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64)
        result.tensors.push_back({outputs[i], TensorType::Int64, info.GetShape(), value.GetTensorRawData()});
      else
        throw Error(ErrorKind::Inference, "output '" + outputs[i] + "' has a type that the contract does not know",
                    "ONNX element type " + std::to_string(type), "float32 or int64", "Export the model again.");
    }
    result.owner = std::move(held);
    return result;
  }

  std::string provider() const override { return m_provider; }

private:
  Ort::Session m_session{nullptr};
  std::string m_provider;
};

} // namespace

bool has_onnxruntime_session() { return true; }

std::shared_ptr<const Session> make_onnxruntime_session(const std::string& model_path,
                                                        const OnnxRuntimeOptions& options) {
  open_library(options.library);
  return std::make_shared<OnnxRuntimeSession>(model_path, options);
}

} // namespace ddcalogen
