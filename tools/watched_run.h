#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/report.h>
#include <gradhealth/run_file.h>

namespace gradhealth {

/// The files of a run while they grow, judged as they do. Neither the run nor its directory needs to exist yet.
class WatchedRun {
 public:
  using Clock = std::chrono::steady_clock;

  WatchedRun(std::string run, DiagnosisOptions options);

  /// Looks at all files again.
  /// @param stop asked between rows whether to give up.
  /// @return whether there is anything new.
  /// @throws IoError, FormatError for a file that is no run, or has not been readable for a while.
  bool look(const std::function<bool()>& stop);

  std::vector<WatchState> states() const;
  /// Those that no earlier call has returned.
  std::vector<Finding> take_new_findings() { return std::exchange(new_findings_, {}); }
  /// All files are closed, or continued in another one.
  bool is_over() const;
  /// Since a row came in, or since the beginning while there is no file.
  double idle_seconds() const;

 private:
  struct File {
    File(const std::filesystem::path& place, const DiagnosisOptions& options)
        : path(place), follower(place), diagnoser(options) {}

    std::filesystem::path path;
    RunFollower follower;
    Diagnoser diagnoser;
    WatchCollector collector;
    std::vector<Finding> findings;
    bool seen = false;
    bool gone = false;
    Clock::time_point grown{};
    std::optional<Clock::time_point> unreadable_since{};
  };

  void find_files();
  bool look(File& file, const std::function<bool()>& stop);
  bool is_continued(const File& file) const;
  WatchPhase phase(const File& file) const;

  std::string run_;
  DiagnosisOptions options_;
  std::vector<File> files_;
  std::vector<Finding> new_findings_;
  Clock::time_point begin_ = Clock::now();
};

}  // namespace gradhealth
