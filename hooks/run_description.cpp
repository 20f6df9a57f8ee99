#include "hooks/run_description.h"

#include <algorithm>
#include <ctime>
#include <fstream>
#include <iterator>

#include <ATen/ATen.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <torch/nn/module.h>
#include <torch/version.h>

#include "hooks/optimizer_info.h"

namespace gradhealth::hooks {
namespace {

/// Arguments separated by blanks, as far as the system tells.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line{std::istreambuf_iterator<char>(file), {}};
  std::replace(line.begin(), line.end(), '\0', ' ');
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string loss_kind(LossKind kind) {
  switch (kind) {
    case LossKind::kMinimized: return "minimized";
    case LossKind::kAdversarial: return "adversarial";
    case LossKind::kReinforcement: return "reinforcement";
    case LossKind::kDensity: return "density";
    default: return {};
  }
}

}  // namespace

NamedTensors parameters_of(const torch::nn::Module& module) {
  NamedTensors parameters;
  for (const auto& item : module.named_parameters(/*recurse=*/true)) parameters.emplace_back(item.key(), item.value());
  return parameters;
}

NamedTensors buffers_of(const torch::nn::Module& module) {
  NamedTensors buffers;
  for (const auto& item : module.named_buffers(/*recurse=*/true)) buffers.emplace_back(item.key(), item.value());
  return buffers;
}

std::filesystem::path run_file_path(const std::filesystem::path& path, const std::string& name) {
  std::error_code ignored;
  if (path.has_filename() && !std::filesystem::is_directory(path, ignored)) return path;
  return path / ((name.empty() ? "run" : name) + ".h5");
}

RunInfo describe_run(const MonitorOptions& options, torch::optim::Optimizer* optimizer) {
  RunInfo info;
  info.name = options.name;
  info.loss_kind = loss_kind(options.loss_kind);
  info.created_utc = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  info.command_line = command_line();
  info.libraries = fmt::format("LibTorch {}", TORCH_VERSION);
  if (optimizer) describe(*optimizer, info);
  return info;
}

std::size_t row_bytes(const Run& run) {
  std::size_t bytes = 16;
  for (const QuantityInfo& quantity : quantities())
    bytes += (quantity.axis == Axis::kRun ? 1 : run.of(quantity.axis).size()) *
             (quantity.precision == Precision::kFloat32 ? 4 : 8);
  return bytes;
}

}  // namespace gradhealth::hooks
