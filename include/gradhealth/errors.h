#pragma once

#include <stdexcept>
#include <string>

namespace gradhealth {

/// Wrong use: an unknown option, a model without parameters, a bad configuration key.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Something could not be opened, read or written. The message names the file, the object in it,
/// the library's own words and what to try.
class IoError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A file that is not a run file, is damaged, or was written by a newer major version.
class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace gradhealth
