#include "rules/support/loss_patterns.h"

#include <algorithm>
#include <utility>

#include "rules/support/event_fields.h"
#include "rules/support/loss_operators.h"
#include "rules/support/operators.h"

namespace gradhealth::rules {
namespace {

constexpr std::size_t kMost = 16;

}  // namespace

void take_patterns(std::vector<OperatorPattern>& patterns, const std::string& name, const StepRecord& record) {
  for (const Event& event : record.events) {
    if (event.kind != "operator-pattern" || patterns.size() >= kMost) continue;
    const Fields fields = fields_of(event.text);
    if (field(fields, "pattern") != name) continue;
    const std::vector<std::int64_t> along = shape_of(field(fields, "along"));
    OperatorPattern found{name,
                          operator_name(field(fields, "op")),
                          event.subject,
                          shape_of(field(fields, "left")),
                          shape_of(field(fields, "right")),
                          shape_of(field(fields, "output")),
                          along.empty() ? -1 : along.front(),
                          event.step};
    const auto same = [&found](const OperatorPattern& other) {
      return other.subject == found.subject && other.op == found.op;
    };
    if (std::none_of(patterns.begin(), patterns.end(), same)) patterns.push_back(std::move(found));
  }
}

}  // namespace gradhealth::rules
