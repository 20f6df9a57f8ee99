#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <iterator>
#include <memory>
#include <utility>

#include <gradhealth/run_file.h>

#include "run_file/stored_run.h"

namespace gradhealth {
namespace {

/// Keeps a file's identity from being given to another one, which may happen as soon as nobody has it open.
class Anchor {
 public:
  explicit Anchor(const std::filesystem::path& path)
      : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    fine_ = descriptor_ >= 0 && ::fstat(descriptor_, &status_) == 0;
  }
  ~Anchor() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  Anchor(const Anchor&) = delete;
  Anchor& operator=(const Anchor&) = delete;

  bool same_file(const Anchor& other) const {
    return fine_ && other.fine_ && status_.st_dev == other.status_.st_dev && status_.st_ino == other.status_.st_ino;
  }

 private:
  int descriptor_;
  struct stat status_ {};
  bool fine_ = false;
};

}  // namespace

class RunFollower::Impl {
 public:
  explicit Impl(std::filesystem::path path) : path_(std::move(path)) {}

  FileChange refresh() {
    auto anchor = std::make_unique<Anchor>(path_);
    // HDF5 would hand out what it remembers of a file that is still open.
    stored_.reset();
    stored_ = std::make_unique<run_file::StoredRun>(path_);
    const Look look{stored_->rows(), stored_->event_count(), stored_->state()};
    // Rows are never taken back: a file with fewer of them is another one.
    const bool is_new = !anchor_ || !anchor->same_file(*anchor_) || look.rows < progress_.rows;
    const bool grown = look.rows != last_.rows || look.events != last_.events || look.state != last_.state;
    anchor_ = std::move(anchor);
    last_ = look;
    run_ = stored_->run();
    if (is_new) {
      progress_ = {};
      events_read_ = 0;
      return FileChange::kNew;
    }
    return grown ? FileChange::kGrown : FileChange::kNone;
  }

  void for_each_new_step(const std::function<void(const StepRecord&)>& visit) {
    if (!stored_) return;
    std::vector<Event> events = stored_->events(events_read_);
    events_read_ = stored_->event_count();
    std::move(events.begin(), events.end(), std::back_inserter(progress_.events));
    stored_->for_each_step(visit, progress_);
  }

  const Run& run() const { return run_; }
  RunState state() const { return last_.state; }
  std::int64_t rows() const { return last_.rows; }

 private:
  struct Look {
    std::int64_t rows = 0;
    std::int64_t events = 0;
    RunState state = RunState::kUnfinished;
  };

  std::filesystem::path path_;
  std::unique_ptr<Anchor> anchor_;
  std::unique_ptr<run_file::StoredRun> stored_;  ///< Null if the last look failed.
  Look last_;
  Run run_;
  run_file::Progress progress_;
  std::int64_t events_read_ = 0;
};

RunFollower::RunFollower(std::filesystem::path path) : impl_(std::make_unique<Impl>(std::move(path))) {}
RunFollower::~RunFollower() = default;
RunFollower::RunFollower(RunFollower&&) noexcept = default;
RunFollower& RunFollower::operator=(RunFollower&&) noexcept = default;

FileChange RunFollower::refresh() {
  const run_file::QuietErrors quiet;
  return impl_->refresh();
}

void RunFollower::for_each_new_step(const std::function<void(const StepRecord&)>& visit) {
  const run_file::QuietErrors quiet;
  impl_->for_each_new_step(visit);
}

const Run& RunFollower::run() const { return impl_->run(); }
RunState RunFollower::state() const { return impl_->state(); }
std::int64_t RunFollower::rows() const { return impl_->rows(); }

}  // namespace gradhealth
