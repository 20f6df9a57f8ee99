#include <gradhealth/run_file.h>

#include "run_file/stored_run.h"

namespace gradhealth {

class RunReader::Impl : public run_file::StoredRun {
 public:
  using run_file::StoredRun::StoredRun;
};

RunReader::RunReader(const std::filesystem::path& path) {
  const run_file::QuietErrors quiet;
  impl_ = std::make_unique<Impl>(path);
}
RunReader::~RunReader() = default;
RunReader::RunReader(RunReader&&) noexcept = default;
RunReader& RunReader::operator=(RunReader&&) noexcept = default;
const std::filesystem::path& RunReader::path() const { return impl_->path(); }
const Run& RunReader::run() const { return impl_->run(); }
RunState RunReader::state() const { return impl_->state(); }
std::int64_t RunReader::rows() const { return impl_->rows(); }

void RunReader::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  const run_file::QuietErrors quiet;
  impl_->for_each_step(visit);
}

void RunReader::for_each_step(const Selection& selection, const std::function<void(const StepRecord&)>& visit) const {
  const run_file::QuietErrors quiet;
  impl_->for_each_step(selection, visit);
}

std::vector<Event> RunReader::events() const {
  const run_file::QuietErrors quiet;
  return impl_->events();
}

}  // namespace gradhealth
