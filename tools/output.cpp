#include "output.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <system_error>

#include <unistd.h>

#include <gradhealth/errors.h>

#include "confined.h"

namespace fs = std::filesystem;
namespace gradhealth {

namespace {

constexpr const char* kHdf5Signature = "\x89HDF\r\n\x1a\n";

[[noreturn]] void fail(const std::string& path, int error) {
  const char* why = error != 0 ? std::strerror(error) : "the write failed";
  throw IoError("cannot write " + printable(path) + ": " + why);
}

void write_file(const fs::path& path, const std::string& named, const WriteFunction& write) {
  errno = 0;
  std::ofstream out(path, std::ios::binary);
  if (out) write(out);
  out.close();
  if (!out) fail(named, errno);
}

/// A typing error must not cost a training's record.
bool is_run_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::string head(std::strlen(kHdf5Signature), '\0');
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  return in && head == kHdf5Signature;
}

}  // namespace

void write_stdout(const WriteFunction& write) {
  errno = 0;
  write(std::cout);
  std::cout.flush();
  if (!std::cout && errno != EPIPE) fail("standard output", errno);
}

void write_output(const std::string& path, const WriteFunction& write) {
  if (path == "-") return write_stdout(write);
  std::error_code error;
  // Through a link, so that the link stays one.
  const fs::path target = fs::is_symlink(path, error) ? fs::weakly_canonical(path, error) : fs::path(path);
  const fs::file_status status = fs::status(target, error);
  if (fs::is_directory(status)) throw UsageError("cannot write " + printable(path) + ": it is a directory");
  if (fs::exists(status) && !fs::is_regular_file(status)) return write_file(target, path, write);
  if (is_run_file(target)) throw UsageError("will not overwrite " + printable(path) + ": it is an HDF5 file");

  fs::path temporary = target;
  temporary += ".tmp" + std::to_string(::getpid());
  try {
    write_file(temporary, path, write);
    fs::rename(temporary, target, error);
    if (error) fail(path, error.value());
  } catch (...) {
    fs::remove(temporary, error);
    throw;
  }
}

TerminalOptions terminal_options(const std::string& colour) {
  const char* no_colour = std::getenv("NO_COLOR");
  const bool wanted = no_colour == nullptr || *no_colour == '\0';
  const bool on = colour == "always" || (colour == "auto" && wanted && ::isatty(STDOUT_FILENO) == 1);
  TerminalOptions options;
  options.colour = on ? Colour::kAlways : Colour::kNever;
  return options;
}

std::ostream* progress_stream() { return messages_on_terminal() ? &std::cerr : nullptr; }

}  // namespace gradhealth
