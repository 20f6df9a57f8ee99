#include "hooks/run_description.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

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

std::optional<std::int64_t> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (!text) return std::nullopt;
  std::int64_t number = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, number);
  if (error != std::errc() || stop != end) return std::nullopt;
  return number;
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

Ranks effective(const Ranks& ranks) {
  if (ranks.world_size > 0) return ranks;
  Ranks found;
  found.world_size = 1;
  const std::optional<std::int64_t> size = number_in("WORLD_SIZE");
  const std::optional<std::int64_t> rank = number_in("RANK");
  if (!size || !rank || *size <= 1 || *rank < 0 || *rank >= *size) return found;
  found.world_size = *size;
  found.rank = *rank;
  return found;
}

std::filesystem::path run_file_path(const std::filesystem::path& path, const std::string& name, const Ranks& ranks) {
  std::error_code ignored;
  const bool is_file = path.has_filename() && !std::filesystem::is_directory(path, ignored);
  if (ranks.world_size <= 1) return is_file ? path : path / ((name.empty() ? "run" : name) + ".h5");
  std::filesystem::path directory = path;
  if (is_file && path.extension() == ".h5") directory.replace_extension();
  // As many digits as the last rank has, so that names sort by rank.
  const std::size_t digits = std::to_string(ranks.world_size - 1).size();
  return directory / fmt::format("{}{}rank-{:0{}}.h5", name, name.empty() ? "" : "-", ranks.rank, digits);
}

RunInfo describe_run(const MonitorOptions& options, torch::optim::Optimizer* optimizer) {
  RunInfo info;
  info.name = options.name;
  info.loss_kind = loss_kind(options.loss_kind);
  info.created_utc = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  info.command_line = command_line();
  info.libraries = fmt::format("LibTorch {}", TORCH_VERSION);
  info.rank = options.ranks.rank;
  info.world_size = options.ranks.world_size;
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
