#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "hostile/process.h"

namespace gradhealth::hostile {

/// What came of many commands.
struct Tally {
  std::uint64_t inputs = 0, commands = 0, failures = 0;
  std::uint64_t crashes = 0, hangs = 0;  ///< Of HDF5, held by the child process.
  std::array<std::uint64_t, 3> exit_codes{};
  long megabytes = 0;  ///< The most that a command had resident.
  double seconds = 0;  ///< The most processor time of a command.
};

void add(Tally& to, const Tally& tally);

/// Runs every command on one damaged input. In its directory has to be a good run, healthy.h5.
class Examination {
 public:
  explicit Examination(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// @param run a file or a directory of files, below the directory.
  void files(const std::string& run);
  /// Of gradhealth.toml in the directory.
  void config();

  const std::vector<std::string>& faults() const { return faults_; }
  const Tally& tally() const { return tally_; }

 private:
  /// What is wrong with a command's output; empty if nothing is.
  using Judge = std::function<std::string(const Ran&)>;
  /// Judges a file that the command should have written, if it has.
  Judge of_file(const std::string& name, const std::function<std::string(const std::string&)>& judge) const;
  /// Does nothing after a hang: the other commands would hang, too.
  Ran expect(const std::vector<std::string>& arguments, const Judge& judge);
  void note(const std::vector<std::string>& arguments, const std::string& fault);

  std::filesystem::path directory_;
  std::vector<std::string> faults_;
  Tally tally_;
};

}  // namespace gradhealth::hostile
