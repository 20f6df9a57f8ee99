#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <ostream>

#include <fmt/format.h>

#include <gradhealth/export.h>

#include "export/recorded.h"
#include "export/tf_record.h"

namespace gradhealth {
namespace {

/// Field numbers of Event, Summary and Summary.Value.
enum Field : int {
  kEventWallTime = 1,
  kEventStep = 2,
  kEventFileVersion = 3,
  kEventSummary = 5,
  kSummaryValue = 1,
  kValueTag = 1,
  kValueSimpleValue = 2,
};

/// Days from 1970-01-01 to a date of the Gregorian calendar.
std::int64_t days_since_1970(std::int64_t year, std::int64_t month, std::int64_t day) {
  // Years that begin in March have their leap day last.
  if (month <= 2) --year;
  const std::int64_t day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
  return 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719'468;
}

/// Seconds since 1970; 0 if the run does not say when it was created.
std::int64_t created(const RunInfo& info) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0;
  if (std::sscanf(info.created_utc.c_str(), "%4d-%2d-%2dT%2d:%2d:%2dZ", &year, &month, &day, &hour, &minute, &second) !=
      6)
    return 0;
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31) return 0;
  return ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

std::string value_of(const std::string& tag, double value) {
  using namespace tensorflow;
  // Beyond the range of single precision a value becomes infinite.
  return bytes_field(kSummaryValue,
                     bytes_field(kValueTag, tag) + float_field(kValueSimpleValue, static_cast<float>(value)));
}

}  // namespace

std::string tensorboard_file_name(const Run& run) {
  return fmt::format("events.out.tfevents.{:010}.gradhealth", created(run.info));
}

void write_tensorboard(std::ostream& out, const ExportedRun& run) {
  using namespace tensorflow;
  const auto begin = static_cast<double>(created(run.run->info));
  out << record(double_field(kEventWallTime, begin) + bytes_field(kEventFileVersion, "brain.Event:2"));

  std::array<std::vector<std::string>, kQuantityCount> tags;
  for (const QuantityInfo& quantity : quantities()) {
    std::vector<std::string>& of = tags[static_cast<std::size_t>(quantity.id)];
    if (quantity.axis == Axis::kRun) of = {quantity_path(quantity)};
    // TensorBoard makes groups of what stands before the first slash.
    for (const std::string& subject : unique_names(run.run->of(quantity.axis)))
      of.push_back(quantity_path(quantity, "_") + "/" + subject);
  }
  run.steps([&](const StepRecord& step) {
    std::string summary;
    for (const QuantityInfo& quantity : quantities()) {
      const std::size_t width = width_of(*run.run, step, quantity);
      for (std::size_t s = 0; s < width; ++s)
        if (was_recorded(step, quantity.id, s))
          summary += value_of(tags[static_cast<std::size_t>(quantity.id)][s], step.at(quantity.id, s));
    }
    const double time = begin + (std::isfinite(step.wall_time) ? step.wall_time : 0);
    out << record(double_field(kEventWallTime, time) + integer_field(kEventStep, step.step) +
                  bytes_field(kEventSummary, summary));
  });
}

}  // namespace gradhealth
