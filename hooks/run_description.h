#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

namespace gradhealth::hooks {

NamedTensors parameters_of(const torch::nn::Module& module);
NamedTensors buffers_of(const torch::nn::Module& module);

/// Which process this is: as the options say or, where they do not, the environment.
Ranks effective(const Ranks& ranks);

/// The file that the trainer means by `path`: itself, or `<name>.h5` in it if it is a directory or ends in a slash. With
/// several ranks always a file in a directory.
std::filesystem::path run_file_path(const std::filesystem::path& path, const std::string& name, const Ranks& ranks);

/// What is known before the first step. @param optimizer may be null.
RunInfo describe_run(const MonitorOptions& options, torch::optim::Optimizer* optimizer);

/// What one row of the run takes in its file.
std::size_t row_bytes(const Run& run);

}  // namespace gradhealth::hooks
