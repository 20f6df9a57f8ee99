#include "run_file/hdf5_handle.h"

#include <string_view>

#include <fmt/format.h>

#include <gradhealth/version.h>

namespace gradhealth::run_file {
namespace {

herr_t take_innermost(unsigned, const H5E_error2_t* error, void* data) {
  auto* text = static_cast<std::string*>(data);
  if (text->empty() && error->desc && *error->desc) *text = error->desc;
  return 0;
}

}  // namespace

QuietErrors::QuietErrors() {
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

QuietErrors::~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

Handle text_type(std::size_t width) {
  Handle type(H5Tcopy(H5T_C_S1), &H5Tclose);
  H5Tset_size(type.get(), width);
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

std::string last_error() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, &take_innermost, &text);
  H5Eclear2(H5E_DEFAULT);
  for (char& c : text)
    if (c == '\n' || c == '\r') c = ' ';
  return text.empty() ? "HDF5 gives no reason" : text;
}

}  // namespace gradhealth::run_file

namespace gradhealth {

std::string hdf5_library() {
  unsigned major = 0, minor = 0, patch = 0;
  hbool_t threadsafe = 0;
  H5get_libversion(&major, &minor, &patch);
  const bool safe = H5is_library_threadsafe(&threadsafe) >= 0 && threadsafe;
  return fmt::format("HDF5 {}.{}.{}, {}", major, minor, patch, safe ? "thread-safe" : "not thread-safe");
}

}  // namespace gradhealth
