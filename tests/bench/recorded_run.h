#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

/// Run files as long and as wide as large trainings leave them, made of numbers.
namespace bench {

enum class Recorded : std::uint8_t {
  kLeast,  ///< Loss, learning rate and the gradient norm of one weight a layer: what the essential rules can do with.
  kAll,    ///< What a default Monitor records of linear layers with bias and ReLU: 21 quantities of 2 subjects a layer.
};

enum class Steps : std::uint8_t {
  kEvery,
  kScheduled,  ///< As a default Monitor without regard to its budget: 20, then every 10th to every 100th.
};

struct RunOptions {
  std::size_t layers = 1000;
  std::int64_t steps = 100'000;
  Recorded recorded = Recorded::kLeast;
  Steps schedule = Steps::kEvery;
  std::string fault;  ///< "", "vanishing", "nonfinite", "dead", "stuck", "diverging": of the run's second half.
  std::int64_t rank = 0;
  std::int64_t ranks = 1;  ///< Of more than one, weights have fingerprints, which are equal.
};

/// The names that RunOptions::fault may have.
bool is_fault(const std::string& name);

/// Writes a finished run with healthy values, but for the fault. The same options give the same values.
/// @returns the number of recorded steps.
std::int64_t write_run(const std::filesystem::path& path, const RunOptions& options);

}  // namespace bench
