#pragma once

#include <filesystem>
#include <string>

#include <gradhealth/hooks.h>

namespace gradhealth::hooks {

/// The monitor's lines on stderr: few, and each once.
class Messenger {
 public:
  explicit Messenger(Messages messages) : messages_(messages) {}

  void taken_path(const std::filesystem::path& asked, const std::filesystem::path& used);
  void finding(const Finding& finding, const std::filesystem::path& file);
  void callback_dropped();
  void usage(const std::string& advice);
  void failure(const std::string& error) noexcept;
  /// The file's end could not be written.
  void incomplete(const std::string& error);
  void dropped_rows(const std::filesystem::path& file);

 private:
  void line(const std::string& text);

  Messages messages_;
  int lines_ = 0;
};

}  // namespace gradhealth::hooks
