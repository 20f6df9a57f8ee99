#include <system_error>
#include <utility>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/create_file.h"
#include "run_file/final_name.h"
#include "run_file/recorder.h"

namespace gradhealth {
namespace {

using run_file::Recorder;

struct OpenFile {
  std::filesystem::path path;
  run_file::FileWriter writer;
};

OpenFile create(const std::filesystem::path& path, const RunInfo& info, IfExists if_exists) {
  const run_file::QuietErrors quiet;
  run_file::prepare_target(path, if_exists);
  std::filesystem::path name = run_file::temporary_name(path);
  try {
    run_file::Handle file = run_file::create_run_file(name, path, info);
    // Only now: a file that is not live yet cannot be read after a crash.
    name = run_file::move_to_free_name(name, path, if_exists);
    return {name, run_file::FileWriter(std::move(file), name)};
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(name, ignored);
    throw;
  }
}

Recorder::Mode mode() {
  hbool_t thread_safe = false;
  H5is_library_threadsafe(&thread_safe);
  return thread_safe ? Recorder::Mode::kBackground : Recorder::Mode::kSynchronous;
}

}  // namespace

class RunWriter::Impl {
 public:
  Impl(OpenFile file, const WriterOptions& options)
      : recorder(std::move(file.writer), file.path, options, mode()) {}

  Recorder recorder;
};

RunWriter::RunWriter(const std::filesystem::path& path, const RunInfo& info, const WriterOptions& options)
    : impl_(std::make_unique<Impl>(create(path, info, options.if_exists), options)) {}

RunWriter::~RunWriter() = default;
RunWriter::RunWriter(RunWriter&&) noexcept = default;
RunWriter& RunWriter::operator=(RunWriter&&) noexcept = default;

void RunWriter::append(const Run& run, const StepRecord& record) noexcept { impl_->recorder.append(run, record); }

void RunWriter::append(const Event& event) noexcept { impl_->recorder.append(event); }

void RunWriter::flush() noexcept { impl_->recorder.flush(); }

void RunWriter::close() {
  impl_->recorder.stop(run_file::FileState::kFinished);
  const WriterStatus end = status();
  if (end.state == WriterState::kFailed) throw IoError(end.error);
}

WriterStatus RunWriter::status() const { return impl_->recorder.status(); }

}  // namespace gradhealth
