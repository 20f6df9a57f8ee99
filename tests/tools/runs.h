#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

/// Run files as a trainer would leave them.
namespace runs {

enum class Ending : std::uint8_t { kClosed, kUnfinished };

/// A loss that falls, gradients of steady size: nothing to find.
void healthy(const std::filesystem::path& path, std::int64_t steps = 300, const std::string& model = "",
             Ending ending = Ending::kClosed);

/// The same until the loss, the gradients and the weights turn NaN at step 40.
void broken(const std::filesystem::path& path, const std::string& model = "");

/// A hundred steps that go on from a checkpoint at `first_step` of the file `continues`, with the parameters in another
/// order. From `first_step` + 40 on, fc1.weight's gradient is NaN.
void broken_continuation(const std::filesystem::path& path, const std::string& continues, std::int64_t first_step);

/// The first `share` of a file's bytes.
void truncate(const std::filesystem::path& path, double share);

/// A valid HDF5 file that is no run.
void foreign(const std::filesystem::path& path);

}  // namespace runs
