#include "rules/support/loss_operators.h"

#include <algorithm>

#include <fmt/format.h>

#include "rules/support/event_fields.h"
#include "rules/support/init_advice.h"
#include "rules/support/operators.h"

namespace gradhealth::rules {
namespace {

constexpr std::size_t kMost = 16;

bool same_way(const LossOperator& a, const LossOperator& b) {
  return a.name == b.name && a.reduction == b.reduction && a.produced_by == b.produced_by && a.subject == b.subject;
}

}  // namespace

void LossOperators::observe(const StepRecord& record) {
  for (const Event& event : record.events) {
    if (event.kind != "loss-operator" || operators_.size() >= kMost) continue;
    const Fields fields = fields_of(event.text);
    LossOperator found{operator_name(field(fields, "op")),
                       field(fields, "reduction"),
                       operator_name(field(fields, "produced_by")),
                       event.subject,
                       shape_of(field(fields, "prediction")),
                       shape_of(field(fields, "target")),
                       event.step};
    if (found.produced_by == "_softmax") found.produced_by = "softmax";
    if (found.produced_by == "_log_softmax") found.produced_by = "log_softmax";
    // The last batch of an epoch is smaller: that is no other loss.
    const auto same = [&found](const LossOperator& other) { return same_way(found, other); };
    if (!found.name.empty() && std::none_of(operators_.begin(), operators_.end(), same))
      operators_.push_back(std::move(found));
  }
}

const LossOperator* LossOperators::only() const { return operators_.size() == 1 ? &operators_.front() : nullptr; }

bool is_class_loss(const std::string& name) {
  return name == "cross_entropy_loss" || name == "nll_loss" || name == "nll_loss2d" || name == "nll_loss_nd";
}

bool is_regression_loss(const std::string& name) {
  return name == "mse_loss" || name == "l1_loss" || name == "smooth_l1_loss" || name == "huber_loss" || name == "sub";
}

bool is_binary_loss(const std::string& name) {
  return name == "binary_cross_entropy" || name == "binary_cross_entropy_with_logits";
}

std::vector<std::int64_t> shape_of(const std::string& text) { return sizes_of(text.substr(0, text.find(':'))); }

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string text;
  for (const std::int64_t size : shape) text += fmt::format("{}{}", text.empty() ? "" : ", ", size);
  return "[" + text + "]";
}

std::string loss_call(const std::string& name, const std::string& target) {
  // A difference by hand is most often squared and averaged.
  const std::string op = name == "sub" ? "mse_loss" : name;
  return fmt::format("torch::{}(output, {})", op, target);
}

}  // namespace gradhealth::rules
