#include "watched_run.h"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include <gradhealth/errors.h>

#include "confined.h"

namespace fs = std::filesystem;
namespace gradhealth {

namespace {

/// For so long a file may be unreadable, as while its trainer closes it.
constexpr std::chrono::seconds kPatience{5};
/// A pause is unusual from here on, and where it is so many times longer than those before.
constexpr double kUnusualSeconds = 10;
constexpr double kUnusualTimes = 5;

double seconds(WatchedRun::Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// When the file was last written to, on the clock that waiting is measured with.
WatchedRun::Clock::time_point last_written(const fs::path& path) {
  struct stat status {};
  const auto now = WatchedRun::Clock::now();
  if (::stat(path.c_str(), &status) != 0) return now;
  const std::time_t age = std::max<std::time_t>(std::time(nullptr) - status.st_mtime, 0);
  return now - std::chrono::seconds(age);
}

}  // namespace

WatchedRun::WatchedRun(std::string run, DiagnosisOptions options) : run_(std::move(run)), options_(std::move(options)) {
  const Diagnoser checked(options_);  // What is wrong with the configuration is said now.
}

void WatchedRun::find_files() {
  std::error_code error;
  std::vector<fs::path> paths;
  if (!fs::is_directory(run_, error))
    paths.emplace_back(run_);
  else
    for (fs::directory_iterator it(run_, error), end; !error && it != end; it.increment(error))
      if (it->path().extension() == ".h5") paths.push_back(it->path());
  std::sort(paths.begin(), paths.end());
  // What stood for a directory that did not exist yet.
  files_.erase(std::remove_if(files_.begin(), files_.end(),
                              [&](const File& file) {
                                return !file.seen && std::find(paths.begin(), paths.end(), file.path) == paths.end();
                              }),
               files_.end());
  for (const fs::path& path : paths) {
    const auto known = [&](const File& file) { return file.path == path; };
    if (std::none_of(files_.begin(), files_.end(), known)) files_.emplace_back(path, options_);
  }
}

bool WatchedRun::look(const std::function<bool()>& stop) {
  find_files();
  bool changed = false;
  for (File& file : files_) changed = look(file, stop) || changed;
  return changed;
}

bool WatchedRun::look(File& file, const std::function<bool()>& stop) {
  std::error_code error;
  const fs::file_status status = fs::status(file.path, error);
  // A directory that has been made since its files were looked for is no unreadable file.
  const bool gone = !fs::exists(status) || (file.path == run_ && fs::is_directory(status));
  const bool was_gone = std::exchange(file.gone, gone);
  if (file.gone) return file.gone != was_gone;
  const std::int64_t rows = file.seen ? file.follower.rows() : -1;
  now_reading(file.path);
  try {
    const FileChange change = file.follower.refresh();
    if (change == FileChange::kNew) {
      file.diagnoser = Diagnoser(options_);
      file.collector = WatchCollector();
      file.findings.clear();
      file.grown = last_written(file.path);
    }
    if (change == FileChange::kGrown && file.follower.rows() != rows) file.grown = Clock::now();
    if (change != FileChange::kNone || file.unreadable_since) {
      file.follower.for_each_new_step([&](const StepRecord& record) {
        if (stop()) return;
        file.diagnoser.observe(file.follower.run(), record);
        file.collector.observe(file.follower.run(), record);
      });
      for (Finding& finding : file.diagnoser.new_findings()) {
        if (files_.size() > 1 && finding.subject.model.empty()) finding.subject.model = file.path.stem().string();
        new_findings_.push_back(finding);
        file.findings.push_back(std::move(finding));
      }
    }
    file.seen = true;
    file.unreadable_since.reset();
    return change != FileChange::kNone || was_gone;
  } catch (const std::exception& problem) {
    const bool of_the_file = dynamic_cast<const IoError*>(&problem) || dynamic_cast<const FormatError*>(&problem);
    if (!of_the_file || !file.seen) throw;
    if (!file.unreadable_since) file.unreadable_since = Clock::now();
    if (Clock::now() - *file.unreadable_since > kPatience) throw;
    return false;
  }
}

bool WatchedRun::is_continued(const File& file) const {
  return std::any_of(files_.begin(), files_.end(), [&](const File& other) {
    return &other != &file && other.seen && file.path.filename() == other.follower.run().info.continues;
  });
}

WatchPhase WatchedRun::phase(const File& file) const {
  if (!file.seen || file.gone) return WatchPhase::kWaiting;
  switch (file.follower.state()) {
    case RunState::kFinished:
    case RunState::kRecovered: return WatchPhase::kFinished;
    case RunState::kFailed: return WatchPhase::kFailed;
    case RunState::kUnfinished: break;
  }
  if (is_continued(file)) return WatchPhase::kContinued;
  const double usual = std::max(kUnusualSeconds, kUnusualTimes * file.collector.longest_gap());
  return seconds(Clock::now() - file.grown) > usual ? WatchPhase::kStalled : WatchPhase::kRecording;
}

std::vector<WatchState> WatchedRun::states() const {
  std::vector<WatchState> states;
  for (const File& file : files_) {
    WatchState state = file.collector.state();
    state.name = file.path.string();
    state.phase = phase(file);
    state.idle_seconds = seconds(Clock::now() - file.grown);
    state.findings = file.findings;
    if (state.phase == WatchPhase::kFinished || state.phase == WatchPhase::kFailed)
      state.verdict = file.diagnoser.diagnosis().verdict;
    states.push_back(std::move(state));
  }
  if (!states.empty()) return states;
  WatchState state = WatchCollector().state();
  state.name = run_;
  return {state};
}

bool WatchedRun::is_over() const {
  return !files_.empty() && std::all_of(files_.begin(), files_.end(), [this](const File& file) {
    const WatchPhase now = phase(file);
    return now == WatchPhase::kFinished || now == WatchPhase::kFailed || now == WatchPhase::kContinued;
  });
}

double WatchedRun::idle_seconds() const {
  Clock::time_point latest = begin_;
  for (const File& file : files_) latest = std::max(latest, file.grown);
  return seconds(Clock::now() - latest);
}

}  // namespace gradhealth
