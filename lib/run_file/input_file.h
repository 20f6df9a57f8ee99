#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {

enum class ValueType : std::uint8_t { kInt32, kInt64, kFloat32, kFloat64, kText };

/// A dataset whose type, rank, layout and sizes have been checked.
struct InputDataset {
  std::string path;
  Handle handle;
  int rank = 0;
  std::array<std::uint64_t, 2> extent{1, 1};
  std::uint64_t stored_bytes = 0;  ///< Allocated in the file; 0 means that every value is the fill value.
  std::size_t text_width = 0;      ///< Of kText.
  bool is_filtered = false;
};

/// An HDF5 file that may be anything. Asks only for known names, never follows links out of the file,
/// reads nothing of variable length, and every failure is a FormatError that names file and object.
class InputFile {
 public:
  /// @throws IoError, FormatError
  explicit InputFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }

  /// A root attribute; empty if there is none of that name.
  std::optional<std::string> text_attribute(const char* name) const;
  std::optional<double> real_attribute(const char* name) const;
  std::optional<std::int64_t> integer_attribute(const char* name) const;

  /// The dataset at an absolute path, or nothing if the file has none.
  std::optional<InputDataset> find(const std::string& path, ValueType type, int rank) const;
  /// The same, where its absence is damage.
  InputDataset open(const std::string& path, ValueType type, int rank) const;

  std::int64_t read_scalar(const InputDataset& dataset) const;
  /// Reads rows [first, first + rows) of the first `columns` columns into `values`, which has room for them.
  void read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::uint64_t columns,
            float* values) const;
  void read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::uint64_t columns,
            double* values) const;
  void read(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows, std::int64_t* values) const;
  std::vector<std::string> read_texts(const InputDataset& dataset, std::uint64_t first, std::uint64_t rows) const;

  [[noreturn]] void damaged(std::string_view object, std::string_view problem) const;

 private:
  Handle root_attribute(const char* name, H5T_class_t type_class, std::size_t max_bytes) const;
  bool has_object(const std::string& path) const;
  void check_type(InputDataset& dataset, ValueType type) const;
  void check_space(InputDataset& dataset, int rank) const;
  void check_storage(InputDataset& dataset) const;
  void read_block(const InputDataset& dataset, hid_t type, const std::array<hsize_t, 2>& start,
                  const std::array<hsize_t, 2>& count, void* values) const;

  std::filesystem::path path_;
  Handle file_;
};

}  // namespace gradhealth::run_file
