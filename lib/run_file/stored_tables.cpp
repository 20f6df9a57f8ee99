// The part of StoredRun that reads who was recorded and what happened: attributes, subjects, events.
#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "run_file/schema.h"
#include "run_file/stored_run.h"

namespace gradhealth::run_file {
namespace {

constexpr std::int64_t kMostSubjects = 1'000'000;
constexpr double kMostRanks = 1 << 24;
constexpr double kMostSteps = static_cast<double>(std::int64_t{1} << 40);
/// Minor version of the format that brought an axis; files of before do not have it.
double first_minor_with(Axis axis) {
  switch (axis) {
    case Axis::kRank: return 4;
    case Axis::kInputBin: return 5;
    default: return 0;
  }
}

constexpr hsize_t kTextBlock = 4096;
constexpr std::int64_t kNoStep = std::numeric_limits<std::int64_t>::min();

}  // namespace

void StoredRun::read_info() {
  if (file_.text_attribute("schema") != kSchema)
    throw FormatError(fmt::format("{}: is an HDF5 file, but not a run file of gradhealth", path_.string()));
  const double version = file_.number_attribute("schema_version").value_or(0);
  if (version != kMajorVersion)
    throw FormatError(
        fmt::format("{}: has format version {:g}, and this gradhealth reads version {}; use a newer gradhealth",
                    path_.string(), version, kMajorVersion));
  RunInfo& info = run_.info;
  const auto text = [&](const char* name, std::string& value) {
    attempt(name, 1, 1, [&] { value = file_.text_attribute(name); });
  };
  const auto number = [&](const char* name, std::optional<double>& value) {
    attempt(name, 1, 1, [&] { value = file_.number_attribute(name); });
  };
  text("writer_version", writer_version_);
  text("name", info.name);
  text("created_utc", info.created_utc);
  text("command_line", info.command_line);
  text("libraries", info.libraries);
  text("optimizer", info.optimizer);
  text("loss_kind", info.loss_kind);
  text("continues", info.continues);
  number("momentum", info.momentum);
  number("beta2", info.beta2);
  number("epsilon", info.epsilon);
  number("weight_decay", info.weight_decay);
  attempt("first_step", 1, 1, [&] {
    const double first_step = file_.number_attribute("first_step").value_or(0);
    if (!(first_step >= 0 && first_step < kMostSteps))
      file_.damaged("first_step", fmt::format("has the unreasonable value {:g}", first_step));
    info.first_step = static_cast<std::int64_t>(first_step);
  });
  attempt("world_size", 1, 1, [&] {
    const double size = file_.number_attribute("world_size").value_or(1);
    const double rank = file_.number_attribute("rank").value_or(0);
    if (!(size >= 1 && size <= kMostRanks && rank >= 0 && rank < size))
      file_.damaged("world_size", fmt::format("has the unreasonable value {:g} with rank {:g}", size, rank));
    info.world_size = static_cast<std::int64_t>(size);
    info.rank = static_cast<std::int64_t>(rank);
  });
  if (lost_ == nullptr) return;
  const double minor = file_.number_attribute("schema_minor_version").value_or(0);
  if (minor > kMinorVersion)
    lose("", 1, 1, fmt::format("what version {}.{:g} of the format added to {}.{}, which this gradhealth knows",
                               kMajorVersion, minor, kMajorVersion, kMinorVersion));
}

std::int64_t StoredRun::count_of(const std::string& counter, std::int64_t most, const std::string& counted,
                                 CheckedFile::Type type) const {
  std::int64_t count = 0;
  const bool known = attempt(counter, 1, 1, [&] {
    const std::int64_t value = file_.scalar(counter, CheckedFile::Type::kInt64);
    if (value < 0 || value > most) file_.damaged(counter, fmt::format("has the unreasonable value {}", value));
    count = value;
  });
  if (lost_ == nullptr) {
    // Of chunks that were never written HDF5 makes up as many as the extent says.
    const std::int64_t capacity = count > 0 ? file_.capacity(file_.open(counted, type, 1)) : 0;
    if (count > capacity)
      file_.damaged(counter, fmt::format("counts {}, and a file of this size holds {} at the most", count, capacity));
    return count;
  }
  // A damaged counter must not make anyone look for rows that never were.
  constexpr std::int64_t kMostUnseen = 65'536;
  std::int64_t extent = std::min(count, kMostUnseen);
  attempt(counted, count, count, [&] {
    const CheckedDataset dataset = file_.open(counted, type, 1);
    extent = static_cast<std::int64_t>(std::min<hsize_t>(dataset.size.front(), static_cast<hsize_t>(most)));
    extent = std::min(extent, file_.capacity(dataset));
    if (extent < count) file_.damaged(counted, fmt::format("has {} rows of {} that were committed", extent, count));
  });
  return known ? std::min(count, extent) : extent;
}

std::vector<std::int64_t> StoredRun::read_numbers(const std::string& object, hsize_t first, hsize_t count, hsize_t of,
                                                  std::int64_t missing) const {
  std::vector<std::int64_t> numbers(static_cast<std::size_t>(count), missing);
  attempt(object, static_cast<std::int64_t>(count), static_cast<std::int64_t>(of), [&] {
    const CheckedDataset dataset = file_.open(object, CheckedFile::Type::kInt64, 1);
    const hsize_t end = readable_end(dataset, first, count, of, object);
    read_parts(object, first, end - first, of, [&](hsize_t at, hsize_t entries) {
      file_.read(dataset, H5T_NATIVE_INT64, {at}, {entries}, numbers.data() + (at - first), object);
    });
  });
  return numbers;
}

void StoredRun::read_text(const std::string& object, hsize_t first, hsize_t count,
                          const std::function<void(std::size_t, std::string&&)>& put) const {
  const hsize_t all = first + count;
  attempt(object, static_cast<std::int64_t>(count), static_cast<std::int64_t>(all), [&] {
    const CheckedDataset dataset = file_.open(object, CheckedFile::Type::kText, 1);
    const hsize_t end = readable_end(dataset, first, count, all, object);
    for (hsize_t block = first; block < end; block += kTextBlock)
      read_parts(object, block, std::min(kTextBlock, end - block), all, [&](hsize_t at, hsize_t entries) {
        std::vector<std::string> texts = file_.read_text(dataset, at, entries, object);
        for (std::size_t i = 0; i < texts.size(); ++i)
          put(static_cast<std::size_t>(at - first) + i, std::move(texts[i]));
      });
  });
}

void StoredRun::read_subjects(Axis axis) {
  const std::string group = std::string(name(axis)) + "/";
  const double first_minor = first_minor_with(axis);
  if (first_minor > 0 && file_.number_attribute("schema_minor_version").value_or(0) < first_minor) return;
  const std::int64_t count = count_of(group + kCommittedSubjects, kMostSubjects, group + kSubjectColumns[0].name,
                                      CheckedFile::Type::kText);
  if (count == 0) return;
  std::vector<Subject>& subjects = run_.of(axis);
  const std::vector<std::int64_t> sizes = read_numbers(group + kSubjectSize, 0, static_cast<hsize_t>(count), static_cast<hsize_t>(count), 0);
  subjects.resize(sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) subjects[i].size = sizes[i];
  constexpr std::string Subject::*kMembers[] = {&Subject::name, &Subject::module, &Subject::kind, &Subject::shape,
                                                &Subject::dtype};
  // Who has lost its name is still told from the others.
  if (lost_)
    for (std::size_t i = 0; i < subjects.size(); ++i) subjects[i].name = fmt::format("{} {}", name(axis), i);
  for (std::size_t column = 0; column < kSubjectColumns.size(); ++column)
    read_text(group + kSubjectColumns[column].name, 0, static_cast<hsize_t>(count),
              [&](std::size_t i, std::string&& text) { subjects[i].*kMembers[column] = std::move(text); });
}

std::vector<Event> StoredRun::events(std::int64_t from) const {
  const std::string group = std::string(kEventGroup) + "/";
  if (from >= event_count_) return {};
  const auto first = static_cast<hsize_t>(from);
  const auto count = static_cast<hsize_t>(event_count_ - from);
  const std::vector<std::int64_t> steps = read_numbers(group + kStep, first, count, first + count, kNoStep);
  std::vector<Event> events(steps.size());
  for (std::size_t i = 0; i < events.size(); ++i) events[i].step = steps[i];
  constexpr std::string Event::*kMembers[] = {&Event::kind, &Event::subject, &Event::text};
  for (std::size_t column = 0; column < kEventColumns.size(); ++column)
    read_text(group + kEventColumns[column].name, first, count,
              [&](std::size_t i, std::string&& text) { events[i].*kMembers[column] = std::move(text); });
  events.erase(std::remove_if(events.begin(), events.end(), [](const Event& event) { return event.step == kNoStep; }),
               events.end());
  return events;
}

}  // namespace gradhealth::run_file
