#include "run_file/entry.h"

namespace gradhealth::run_file {

void Entry::set_row(const StepRecord& record) {
  has_row = true;
  step = record.step;
  wall_time = record.wall_time;
  for (const QuantityInfo& quantity : quantities()) {
    const std::vector<double>& column = record.values(quantity.id);
    counts[static_cast<std::size_t>(quantity.id)] = column.size();
    values.insert(values.end(), column.begin(), column.end());
  }
  events = record.events;
}

void Entry::clear() {
  has_row = false;
  counts.fill(0);
  values.clear();
  for (std::vector<Subject>& subjects : new_subjects) subjects.clear();
  events.clear();
}

std::size_t Entry::bytes() const {
  std::size_t total = sizeof(Entry) + values.capacity() * sizeof(double);
  for (const std::vector<Subject>& subjects : new_subjects)
    for (const Subject& subject : subjects)
      total += sizeof subject + subject.name.size() + subject.module.size() + subject.shape.size();
  for (const Event& event : events) total += sizeof event + event.subject.size() + event.text.size();
  return total;
}

}  // namespace gradhealth::run_file
