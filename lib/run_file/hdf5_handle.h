#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <hdf5.h>

namespace gradhealth::run_file {

/// Owns one HDF5 identifier.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);

  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) {
      reset();
      id_ = std::exchange(other.id_, H5I_INVALID_HID);
      close_ = other.close_;
    }
    return *this;
  }
  ~Handle() { reset(); }

  hid_t get() const { return id_; }
  explicit operator bool() const { return id_ >= 0; }
  /// Closes; false if HDF5 reports that this failed.
  bool reset() {
    const bool fine = id_ < 0 || close_(id_) >= 0;
    id_ = H5I_INVALID_HID;
    return fine;
  }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

/// Keeps HDF5 from printing its errors to stderr in this thread; the trainer's own setting comes back.
class QuietErrors {
 public:
  QuietErrors();
  ~QuietErrors();
  QuietErrors(const QuietErrors&) = delete;
  QuietErrors& operator=(const QuietErrors&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

/// Fixed-length UTF-8 text of that many bytes, padded with zeros.
Handle text_type(std::size_t width);

/// What HDF5 says about the call that has just failed, innermost reason first; clears it. Names of internal functions
/// are left out.
std::string last_error();

}  // namespace gradhealth::run_file
