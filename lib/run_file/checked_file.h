#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/errors.h>

#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {

/// An object of a file cannot be read, or is not what the format says.
class DamagedObject : public FormatError {
 public:
  /// @param lost_from the first row that HDF5 cannot find, if that is what is wrong: nor will it find those behind it.
  DamagedObject(const std::string& message, std::string reason, std::optional<hsize_t> lost_from = std::nullopt)
      : FormatError(message), reason_(std::move(reason)), lost_from_(lost_from) {}
  const std::string& reason() const { return reason_; }
  std::optional<hsize_t> lost_from() const { return lost_from_; }

 private:
  std::string reason_;
  std::optional<hsize_t> lost_from_;
};

/// A dataset whose type, rank and storage have been checked.
struct CheckedDataset {
  Handle dataset;
  std::vector<hsize_t> size;
  std::vector<hsize_t> chunk;  ///< Empty if it is not stored in chunks.
  bool is_written = true;      ///< False of chunks of which none has ever been written.
  std::size_t text_width = 0;
};

/// A file that is not trusted: opened read-only, looked at under known names only. Every complaint is a FormatError that
/// names the file and the object.
class CheckedFile {
 public:
  enum class Type { kInt32, kInt64, kFloat32, kFloat64, kText };

  /// What to do with a file that was cut off.
  enum class Damage { kRefused, kTolerated };

  /// @throws IoError, FormatError
  explicit CheckedFile(const std::filesystem::path& path, Damage damage = Damage::kRefused);

  /// Nothing if the file has no object of that name.
  std::optional<CheckedDataset> find(const std::string& object, Type type, int rank) const;
  CheckedDataset open(const std::string& object, Type type, int rank) const;
  std::int64_t scalar(const std::string& object, Type type) const;
  /// How many entries of the dataset a file of this size can hold, if all were written.
  std::int64_t capacity(const CheckedDataset& dataset) const;
  /// Reads the block [offset, offset + size) into `data`, of the native type that goes with the checked one.
  void read(const CheckedDataset& dataset, hid_t native, const std::vector<hsize_t>& offset,
            const std::vector<hsize_t>& size, void* data, const std::string& object) const;
  std::vector<std::string> read_text(const CheckedDataset& dataset, hsize_t first, hsize_t count,
                                     const std::string& object) const;
  std::string text_attribute(const char* name) const;  ///< Empty if there is none.
  std::optional<double> number_attribute(const char* name) const;

  [[noreturn]] void damaged(const std::string& object, const std::string& what,
                            std::optional<hsize_t> lost_from = std::nullopt) const;

 private:
  bool has_object(const std::string& object) const;
  std::optional<Handle> attribute(const char* name) const;
  void require_bytes(const CheckedDataset& dataset, const std::vector<hsize_t>& offset, const std::vector<hsize_t>& size,
                     const std::string& object) const;

  std::filesystem::path path_;
  std::uintmax_t bytes_ = 0;
  std::uintmax_t bytes_before_ = 0;  ///< That the file had before it was cut off.
  Handle file_;
};

}  // namespace gradhealth::run_file
