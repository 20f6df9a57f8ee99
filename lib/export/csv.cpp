#include <array>
#include <cmath>
#include <cstddef>
#include <map>
#include <ostream>
#include <utility>

#include <gradhealth/export.h>

#include "export/csv_line.h"
#include "export/recorded.h"

namespace gradhealth {
namespace {

constexpr const char* kWallTime = "wall_time";
constexpr std::size_t kNowhere = static_cast<std::size_t>(-1);

/// A quantity of a subject, over all runs.
struct Column {
  const QuantityInfo* quantity;
  std::string title;
  std::vector<std::size_t> subject;  ///< In each run, or kNowhere.
};

/// The columns of which any run has a value, in the order of quantities and subjects.
std::vector<Column> columns_of(const std::vector<ExportedRun>& runs) {
  // [run][quantity][subject]: whether anything was recorded.
  std::vector<std::array<std::vector<bool>, kQuantityCount>> seen(runs.size());
  std::vector<std::array<std::vector<std::string>, kAxisCount>> names(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].steps([&](const StepRecord& record) {
      for (const QuantityInfo& quantity : quantities()) {
        std::vector<bool>& any = seen[i][static_cast<std::size_t>(quantity.id)];
        const std::size_t width = width_of(*runs[i].run, record, quantity);
        if (any.size() < width) any.resize(width);
        for (std::size_t s = 0; s < width; ++s) any[s] = any[s] || was_recorded(record, quantity.id, s);
      }
    });
    for (std::size_t axis = 0; axis < kAxisCount; ++axis) names[i][axis] = unique_names(runs[i].run->subjects[axis]);
  }
  std::vector<Column> columns;
  for (const QuantityInfo& quantity : quantities()) {
    std::map<std::string, std::size_t> known;
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const std::vector<bool>& any = seen[i][static_cast<std::size_t>(quantity.id)];
      for (std::size_t s = 0; s < any.size(); ++s) {
        if (!any[s]) continue;
        const std::string title = quantity.axis == Axis::kRun
                                      ? quantity_path(quantity)
                                      : quantity_path(quantity) + "/" + names[i][static_cast<std::size_t>(quantity.axis)][s];
        const auto [entry, is_new] = known.emplace(title, columns.size());
        if (is_new) columns.push_back({&quantity, title, std::vector<std::size_t>(runs.size(), kNowhere)});
        columns[entry->second].subject[i] = s;
      }
    }
  }
  return columns;
}

}  // namespace

void write_csv_wide(std::ostream& out, const std::vector<ExportedRun>& runs) {
  const std::vector<Column> columns = columns_of(runs);
  CsvLine line;
  line.text("step").text("model").text(kWallTime);
  for (const Column& column : columns) line.text(column.title);
  line.write(out);
  for (std::size_t i = 0; i < runs.size(); ++i) {
    runs[i].steps([&](const StepRecord& record) {
      line.number(record.step).text(runs[i].model);
      std::isnan(record.wall_time) ? line.empty() : line.number(record.wall_time, Precision::kFloat64);
      for (const Column& column : columns) {
        const std::size_t subject = column.subject[i];
        if (subject == kNowhere || !was_recorded(record, column.quantity->id, subject))
          line.empty();
        else
          line.number(record.at(column.quantity->id, subject), column.quantity->precision);
      }
      line.write(out);
    });
  }
}

void write_csv_long(std::ostream& out, const std::vector<ExportedRun>& runs) {
  CsvLine line;
  line.text("step").text("model").text("quantity").text("subject").text("value").write(out);
  for (const ExportedRun& run : runs) {
    std::array<std::vector<std::string>, kAxisCount> names;
    for (std::size_t axis = 0; axis < kAxisCount; ++axis) names[axis] = unique_names(run.run->subjects[axis]);
    run.steps([&](const StepRecord& record) {
      const auto write = [&](const std::string& quantity, const std::string& subject, double value,
                             Precision precision) {
        line.number(record.step).text(run.model).text(quantity).text(subject).number(value, precision).write(out);
      };
      if (!std::isnan(record.wall_time)) write(kWallTime, "", record.wall_time, Precision::kFloat64);
      for (const QuantityInfo& quantity : quantities()) {
        const std::size_t width = width_of(*run.run, record, quantity);
        for (std::size_t s = 0; s < width; ++s) {
          if (!was_recorded(record, quantity.id, s)) continue;
          const std::string subject =
              quantity.axis == Axis::kRun ? "" : names[static_cast<std::size_t>(quantity.axis)][s];
          write(quantity_path(quantity), subject, record.at(quantity.id, s), quantity.precision);
        }
      }
    });
  }
}

void write_csv_events(std::ostream& out, const std::vector<ExportedRun>& runs) {
  CsvLine line;
  line.text("step").text("model").text("kind").text("subject").text("text").write(out);
  for (const ExportedRun& run : runs)
    run.steps([&](const StepRecord& record) {
      for (const Event& event : record.events)
        line.number(event.step).text(run.model).text(event.kind).text(event.subject).text(event.text).write(out);
    });
}

}  // namespace gradhealth
