#include "run_file/hdf5_handle.h"

namespace gradhealth::run_file {
namespace {

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line;
}

// An exception must not cross HDF5's C frames.
herr_t keep_innermost(unsigned position, const H5E_error2_t* error, void* words) noexcept {
  if (position == 0 && error->desc != nullptr) {
    try {
      *static_cast<std::string*>(words) = error->desc;
    } catch (...) {
      return -1;
    }
  }
  return 0;
}

}  // namespace

QuietErrors::QuietErrors() {
  H5Eget_auto2(H5E_DEFAULT, &handler_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

QuietErrors::~QuietErrors() { H5Eset_auto2(H5E_DEFAULT, handler_, data_); }

std::string library_words() {
  std::string words;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &words);
  H5Eclear2(H5E_DEFAULT);
  return words.empty() ? "HDF5 gives no reason" : one_line(words);
}

std::string message(const std::filesystem::path& file, std::string_view object, std::string_view problem,
                    std::string_view advice) {
  std::string text = one_line(file.string());
  for (std::string_view part : {object, problem})
    if (!part.empty()) text.append(": ").append(one_line(part));
  if (!advice.empty()) text.append("; ").append(one_line(advice));
  return text;
}

}  // namespace gradhealth::run_file
