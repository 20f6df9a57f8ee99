#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/new_finding.h"
#include "rules/support/nonfinite_origin.h"
#include "rules/support/optimizer_advice.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "nonfinite-buffer";

class NonfiniteBuffer final : public Judge {
 public:
  explicit NonfiniteBuffer(const RuleOptions& options) : min_steps_(options.at("min-steps")) {}

  void observe(const Run&, const StepRecord& record) override {
    for (const Event& event : record.events)
      if (event.kind == kId && (buffer_.empty() || is_statistic(event.subject))) buffer_ = event.subject;
    const double count = record.at(Quantity::kBuffersNonfinite);
    if (std::isnan(count)) return;
    ++steps_;
    // What was so from the beginning is meant so, unless it is a statistic: a mask of -inf.
    if (steps_ == 1 && count > 0 && !is_statistic(buffer_)) meant_ = count;
    if (!(count > meant_)) {
      if (!first_) last_healthy_ = record.step;
      return;
    }
    if (!first_) {
      first_ = record.step;
      count_ = count - meant_;
      origin_ = origin_sentence(record);
    }
    last_ = record.step;
  }

  std::size_t alarms() const override { return first_ ? 1 : 0; }

  Outcome outcome() const override {
    if (!first_) {
      if (steps_ == 0) return NotEvaluated{"buffers were not recorded"};
      if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
      return Healthy{};
    }
    const auto dot = buffer_.rfind('.');
    Finding finding = new_finding(
        kId, Severity::kError, 0.95, {{}, dot == std::string::npos ? "" : buffer_.substr(0, dot), buffer_},
        {*first_, last_},
        fmt::format("{} NaN or infinite at step {}: {:.0f} elements. What is in a buffer stays there: a running mean "
                    "that is NaN once makes every evaluation NaN.{}",
                    buffer_.empty() ? "A buffer of the model is" : buffer_ + " is", *first_, count_, origin_));
    finding.evidence.push_back(
        evidence("non-finite elements of buffers", count_ + meant_, ">", meant_, Quantity::kBuffersNonfinite));
    Recommendation reset;
    reset.id = "reset-running-statistics";
    reset.text = "Reset the running statistics, and keep non-finite samples out of them.";
    reset.why = "An exponential average never forgets a NaN.";
    reset.code =
        "for (auto& module : net->modules()) {\n"
        "  if (auto* norm = module->as<torch::nn::BatchNorm1d>()) norm->reset_running_stats();\n"
        "  if (auto* norm = module->as<torch::nn::BatchNorm2d>()) norm->reset_running_stats();\n"
        "}\n"
        "TORCH_CHECK(torch::isfinite(x).all().item<bool>(), \"the batch holds NaN or infinity\");";
    reset.confidence = 0.7;
    finding.recommendations.push_back(std::move(reset));
    finding.recommendations.push_back(restart_from_checkpoint(last_healthy_));
    return unhealthy({std::move(finding)});
  }

 private:
  static bool is_statistic(const std::string& buffer) { return buffer.find("running_") != std::string::npos; }

  double min_steps_;
  std::size_t steps_ = 0;
  double meant_ = 0;  ///< Non-finite elements from the beginning.
  double count_ = 0;
  std::string buffer_;
  std::string origin_;
  std::optional<std::int64_t> first_;
  std::int64_t last_ = 0;
  std::optional<std::int64_t> last_healthy_;
};

}  // namespace

Rule nonfinite_buffer() {
  RuleInfo info;
  info.id = kId;
  info.title = "Buffer is not finite";
  info.meaning =
      "A buffer of the model, such as the running mean of a batch normalisation, holds NaN or infinity. The loss of "
      "training does not show it, since that uses the batch's own statistics; every evaluation does.";
  info.method =
      "Counts non-finite elements of all buffers before each update. What was there at the first recorded step is "
      "taken "
      "for meant, as a mask of minus infinity is, unless it is a running statistic.";
  info.limits = "A buffer that is given infinite values on purpose in the middle of a run is told as well.";
  info.options = {min_steps_option(10)};
  info.references = {"Ioffe, Szegedy, Batch normalization, ICML 2015"};
  info.effects = {{"nonfinite-activation"}, {"nonfinite-loss"}, {"nonfinite-gradient"}, {"nonfinite-weight"}};
  return make_rule<NonfiniteBuffer>(std::move(info));
}

}  // namespace gradhealth::rules
