#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace demo {

/// Labelled greyscale images, as they come: bytes from 0 to 255.
struct Images {
  std::int64_t count = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::uint8_t> pixels;  ///< [count × rows × columns].
  std::vector<std::uint8_t> labels;  ///< [count].
};

/// Reads `<set>-images-idx3-ubyte.gz` and `<set>-labels-idx1-ubyte.gz`, as Debian's dataset-fashion-mnist has them.
/// @throws std::runtime_error that names the file and what to install.
Images read_images(const std::filesystem::path& directory, const char* set);

}  // namespace demo
