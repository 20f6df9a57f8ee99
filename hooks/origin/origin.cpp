#include "hooks/origin/origin.h"

#include <string_view>

#include <fmt/format.h>

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostText = 500;  // The file keeps 512 bytes of an event's text.

/// Blanks separate the fields of an event.
std::string word(std::string text) {
  for (char& c : text)
    if (c == ' ' || c == '\n' || c == '\t') c = '_';
  return text.empty() ? "-" : text;
}

std::string place_of(const OperatorRecord& record) {
  switch (record.place) {
    case Place::kIn: return "in:" + word(record.module);
    case Place::kAfter: return "after:" + word(record.module);
    case Place::kUnknown: break;
  }
  return "-";
}

std::string_view name(Origin::Source source) {
  switch (source) {
    case Origin::Source::kOperator: return "operator";
    case Origin::Source::kInput: return "input";
    case Origin::Source::kParameter: return "parameter";
    case Origin::Source::kBuffer: return "buffer";
    case Origin::Source::kUnknown: break;
  }
  return "unknown";
}

std::string_view name(Circumstances::How how) {
  switch (how) {
    case Circumstances::How::kTraced: return "traced";
    case Circumstances::How::kReplayed: return "replayed";
    case Circumstances::How::kLate: break;
  }
  return "late";
}

/// "key=value key=value", as long as there is room.
class Fields {
 public:
  void add(std::string_view key, const std::string& value) {
    if (text_.size() + key.size() + value.size() + 2 > kMostText) return;
    text_ += fmt::format("{}{}={}", text_.empty() ? "" : " ", key, value);
  }
  void add(std::string_view key, const std::vector<TensorExtremes>& tensors) {
    for (const TensorExtremes& tensor : tensors) add(key, text(tensor));
  }
  void add_operator(const OperatorRecord& record) {
    add("op", word(record.op));
    add("place", place_of(record));
  }
  const std::string& text() const { return text_; }

 private:
  static std::string text(const TensorExtremes& tensor) { return hooks::text(tensor); }

  std::string text_;
};

std::string subject_of(const Origin& origin) {
  if (!origin.name.empty()) return origin.name;
  return origin.at ? origin.at->module : "";
}

Event origin_event(const Origin& origin, const Circumstances& circumstances) {
  Fields fields;
  fields.add("source", std::string(name(origin.source)));
  if (origin.at) fields.add_operator(*origin.at);
  if (origin.source != Origin::Source::kUnknown) fields.add("pass", origin.forward ? "backward" : "forward");
  fields.add("step", std::to_string(circumstances.step));
  fields.add("how", std::string(name(circumstances.how)));
  if (circumstances.how == Circumstances::How::kLate) fields.add("since", std::to_string(circumstances.since));
  if (!origin.node.empty()) fields.add("node", word(origin.node));
  if (origin.sample >= 0) {
    fields.add("sample", std::to_string(origin.sample));
    fields.add("position", std::to_string(origin.position));
  }
  if (origin.more_parameters > 0) fields.add("more_parameters", std::to_string(origin.more_parameters));
  if (origin.turned_nan) fields.add("nan_at", word(origin.turned_nan->op) + "@" + place_of(*origin.turned_nan));
  if (origin.at) {
    fields.add("input", origin.at->inputs);
    fields.add("output", origin.at->outputs);
  }
  if (origin.forward) fields.add("forward_input", origin.forward->inputs);
  return {circumstances.step, "nonfinite-origin", subject_of(origin), fields.text()};
}

}  // namespace

std::vector<Event> events_of(const Origin& origin, const Circumstances& circumstances) {
  std::vector<Event> events{origin_event(origin, circumstances)};
  auto order = -static_cast<std::int64_t>(origin.before.size());
  for (const std::shared_ptr<const OperatorRecord>& record : origin.before) {
    Fields fields;
    fields.add("order", std::to_string(order++));
    fields.add_operator(*record);
    fields.add("pass", origin.forward ? "backward" : "forward");
    fields.add("input", record->inputs);
    fields.add("output", record->outputs);
    events.push_back({circumstances.step, "flight-recorder", record->module, fields.text()});
  }
  return events;
}

}  // namespace gradhealth::hooks
