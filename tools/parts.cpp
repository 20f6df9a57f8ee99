#include "parts.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "confined.h"

namespace gradhealth {

namespace {

constexpr Axis kSubjectAxes[] = {Axis::kNamed,   Axis::kParameter, Axis::kActivation,
                                 Axis::kFeature, Axis::kRank,      Axis::kInputBin};

/// Where each of `subjects` is in `joined`, which gains those that it lacks.
std::vector<std::size_t> join(const std::vector<Subject>& subjects, std::vector<Subject>& joined) {
  std::map<std::string, std::size_t> known;
  for (std::size_t i = 0; i < joined.size(); ++i) known.emplace(joined[i].name, i);
  std::vector<std::size_t> places;
  for (const Subject& subject : subjects) {
    const auto [entry, added] = known.emplace(subject.name, joined.size());
    if (added) joined.push_back(subject);
    places.push_back(entry->second);
  }
  return places;
}

bool is_in_place(const std::vector<std::size_t>& places) {
  for (std::size_t i = 0; i < places.size(); ++i)
    if (places[i] != i) return false;
  return true;
}

}  // namespace

std::vector<Parts> joined(const std::vector<std::filesystem::path>& files) {
  std::vector<RunReader> readers;
  for (const std::filesystem::path& file : files) {
    now_reading(file);
    readers.emplace_back(file);
  }
  const auto find = [&](const std::string& name) {
    return std::find_if(files.begin(), files.end(), [&](const auto& file) { return file.filename() == name; }) -
           files.begin();
  };
  std::vector<std::size_t> next(files.size(), files.size());
  std::vector<bool> is_next(files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const std::string& name = readers[i].run().info.continues;
    const auto before = static_cast<std::size_t>(name.empty() ? files.end() - files.begin() : find(name));
    // One file goes on from another: a second one that says so stays by itself.
    if (before == files.size() || next[before] != files.size()) continue;
    next[before] = i;
    is_next[i] = true;
  }
  std::vector<Parts> runs;
  std::vector<bool> taken(files.size());
  const auto take_from = [&](std::size_t first) {
    runs.emplace_back();
    for (std::size_t i = first; i != files.size() && !taken[i]; i = next[i]) {
      taken[i] = true;
      runs.back().push_back(std::move(readers[i]));
    }
  };
  for (std::size_t i = 0; i < files.size(); ++i)
    if (!is_next[i]) take_from(i);
  for (std::size_t i = 0; i < files.size(); ++i)  // Files that name each other.
    if (!taken[i]) take_from(i);
  return runs;
}

JoinedRun::JoinedRun(const Parts& parts, const Run& known) : parts_(parts), run_(known) {
  run_.info = parts.front().run().info;
  for (const RunReader& part : parts) {
    Places& places = places_.emplace_back();
    for (const Axis axis : kSubjectAxes)
      places[static_cast<std::size_t>(axis)] = join(part.run().of(axis), run_.of(axis));
  }
}

void JoinedRun::for_each_step(const std::function<void(const StepRecord&)>& visit, const Selection& selection) const {
  for (std::size_t part = 0; part < parts_.size(); ++part) {
    std::int64_t end = std::numeric_limits<std::int64_t>::max();
    for (std::size_t later = part + 1; later < parts_.size(); ++later)
      end = std::min(end, parts_[later].run().info.first_step);
    const Places& places = places_[part];
    const bool same = std::all_of(places.begin(), places.end(), is_in_place);
    StepRecord moved;
    now_reading(parts_[part].path());
    parts_[part].for_each_step(selection, [&](const StepRecord& record) {
      if (record.step >= end) return;
      if (same) return visit(record);
      moved.clear();
      moved.step = record.step;
      moved.wall_time = record.wall_time;
      moved.events = record.events;
      for (const QuantityInfo& quantity : quantities()) {
        const std::vector<double>& values = record.values(quantity.id);
        const std::vector<std::size_t>& to = places[static_cast<std::size_t>(quantity.axis)];
        for (std::size_t i = 0; i < values.size(); ++i)
          moved.set(quantity.id, quantity.axis == Axis::kRun ? i : to[i], values[i]);
      }
      visit(moved);
    });
  }
}

}  // namespace gradhealth
