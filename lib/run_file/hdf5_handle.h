#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include <hdf5.h>

namespace gradhealth::run_file {

/// Owns one HDF5 identifier. Closing ignores errors: where they matter, the data was flushed before.
class Handle {
 public:
  using Closer = herr_t (*)(hid_t);

  Handle() = default;
  Handle(hid_t id, Closer closer) : id_(id), closer_(closer) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), closer_(other.closer_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) closer_(id_);
  }

  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Closer closer_ = nullptr;
};

/// Keeps HDF5 from printing on this thread while it lives; afterwards the caller's own handler is back.
class QuietErrors {
 public:
  QuietErrors();
  ~QuietErrors();
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;

 private:
  H5E_auto2_t handler_ = nullptr;
  void* data_ = nullptr;
};

/// What HDF5 says about the call that just failed on this thread: its innermost error, in one line.
std::string library_words();

/// "FILE: OBJECT: PROBLEM; ADVICE" in one line. An empty object or advice is left out.
std::string message(const std::filesystem::path& file, std::string_view object, std::string_view problem,
                    std::string_view advice);

}  // namespace gradhealth::run_file
