#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

#include <fmt/format.h>

#include <gradhealth/errors.h>
#include <gradhealth/run_file.h>

#include "run_file/file_writer.h"
#include "run_file/new_file.h"
#include "run_file/stored_run.h"

namespace gradhealth {
namespace {

constexpr std::size_t kBatchBytes = 64u << 20;
constexpr std::size_t kMostBatchRows = 1024;

std::size_t batch_rows(const Run& run) {
  std::size_t bytes = sizeof(StepRecord);
  for (const QuantityInfo& quantity : quantities())
    bytes += sizeof(double) * (quantity.axis == Axis::kRun ? 1 : run.of(quantity.axis).size());
  // A multiple of the smallest chunk.
  return std::clamp<std::size_t>(kBatchBytes / bytes / 16 * 16, 16, kMostBatchRows);
}

std::string summary(const std::vector<LostPart>& lost) {
  std::string text;
  for (const LostPart& part : lost) {
    if (!text.empty()) text += "; ";
    text += part.object.empty() ? part.reason : fmt::format("{}: {} of {}", part.object, part.count, part.of);
  }
  return text;
}

RunState state_of_copy(const Recovery& recovery) {
  if (recovery.was == RunState::kFailed) return RunState::kFailed;
  return recovery.was == RunState::kFinished && recovery.lost.empty() ? RunState::kFinished : RunState::kRecovered;
}

/// What is in the new file is on the disk: the old one may be removed next.
void synchronize(const std::filesystem::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool fine = file >= 0 && ::fsync(file) == 0;
  const int error = errno;
  if (file >= 0) ::close(file);
  // File systems that cannot say so are none of our business.
  if (!fine && error != EINVAL && error != ENOSYS)
    throw IoError(fmt::format("{}: cannot be written: {}", path.string(), std::strerror(error)));
}

void copy_to(const std::filesystem::path& temporary, const run_file::StoredRun& stored, Recovery& recovery) {
  using run_file::Batch;
  // Read once before anything is written: the new file's first lines say what is missing.
  const std::vector<Event> events = stored.events();
  const std::vector<LostPart> before = recovery.lost;
  stored.for_each_step([&](const StepRecord&) { ++recovery.rows; });
  const std::vector<LostPart> found = recovery.lost;
  recovery.events = static_cast<std::int64_t>(events.size());
  recovery.is = state_of_copy(recovery);

  run_file::FileWriter file(temporary, stored.run(), {stored.writer_version(), summary(found), recovery.rows});
  try {
    Batch batch;
    for (const Axis axis : run_file::kSubjectAxes)
      for (const Subject& subject : stored.run().of(axis)) batch.subjects.emplace_back(axis, subject);
    batch.events = events;
    file.commit(batch);
    batch = {};
    const std::size_t rows = batch_rows(stored.run());
    stored.for_each_step([&](const StepRecord& record) {
      batch.rows.push_back(record);
      batch.rows.back().events.clear();  // They are written already, in their own order.
      if (batch.rows.size() < rows) return;
      file.commit(batch);
      batch.rows.clear();
    });
    file.commit(batch);
    file.finish(recovery.is);
  } catch (...) {
    file.abandon();
    throw;
  }
  recovery.lost = found;
}

}  // namespace

Recovery recover(const std::filesystem::path& from, const std::filesystem::path& to) {
  const run_file::QuietErrors quiet;
  Recovery recovery;
  const run_file::StoredRun stored(from, &recovery.lost);
  recovery.was = stored.state();
  run_file::prepare_path(to, IfExists::kError);
  const std::filesystem::path temporary = run_file::temporary_name(to);
  try {
    copy_to(temporary, stored, recovery);
    synchronize(temporary);
    run_file::publish(temporary, to, IfExists::kError);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
  return recovery;
}

}  // namespace gradhealth
