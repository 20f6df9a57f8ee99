#pragma once

#include <filesystem>
#include <string>

/// What a command did.
struct Ran {
  int exit_code = -1;  ///< 128 + signal if it was killed.
  std::string out;
  std::string err;
};

/// A folder of its own, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

  /// Runs `gradhealth <arguments>` in this folder, in a shell.
  Ran gradhealth(const std::string& arguments) const;
  /// Runs any shell command; $gradhealth is the executable.
  Ran shell(const std::string& command) const;

 private:
  std::filesystem::path path_;
};

std::string read(const std::filesystem::path& path);
void write(const std::filesystem::path& path, const std::string& text);

/// True if the command failed with this exit code and said why in one line on standard error, and
/// nothing on standard output.
bool refused(const Ran& ran, int exit_code = 2);
