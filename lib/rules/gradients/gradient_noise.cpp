#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "gradient-noise";

class GradientNoise final : public Judge {
 public:
  explicit GradientNoise(const RuleOptions& options)
      : batches_(options.at("batches")),
        scatter_(options.at("loss-scatter")),
        min_steps_(options.at("min-steps")),
        alignments_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    recent_losses_.push(record.at(Quantity::kLoss));
    if (const double batch = record.at(Quantity::kBatchSize); batch > 0) batch_ = batch;
    const double alignment = record.at(Quantity::kGradientAlignment);
    if (!std::isfinite(alignment)) return;
    ++seen_;
    alignments_.push(alignment);
    last_step_ = record.step;
    if (!is_noise()) since_.reset();
    if (!since_) since_ = record.step;
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (seen_ == 0) return NotEvaluated{"whether gradients of neighbouring steps agree was not recorded"};
    if (!alignments_.full()) return too_few_steps(seen_, min_steps_);
    return Healthy{};
  }

 private:
  /// Two gradients with true part G and noise of variance V have E cos = |G|² / (|G|² + V).
  double noise_scale() const {
    const double cosine = alignments_.median();
    return cosine > 0 ? 1 / cosine - 1 : HUGE_VAL;
  }
  bool is_noise() const { return noise_scale() > batches_; }

  std::optional<Severity> severity() const {
    if (!alignments_.full() || !is_noise() || !harm_.stands_still()) return std::nullopt;
    // Losses of adversarial and reinforcement learning swing around a level that says nothing.
    const double level = recent_losses_.median();
    return level > 0 && recent_losses_.sigma() < scatter_ * level ? Severity::kWarning : Severity::kInfo;
  }

  Finding finding(Severity severity) const {
    const double scale = noise_scale();
    const std::string much = std::isfinite(scale) ? fmt::format("{} batches", number(scale)) : "no number of batches";
    Finding finding = new_finding(
        kId, severity, 0.6, {}, {*since_, last_step_},
        fmt::format("Gradients of neighbouring recorded steps have nothing in common (median cosine {} over {:.0f} "
                    "steps): {} would have to be averaged to see a direction in the noise; {}.",
                    number(alignments_.median()), min_steps_, much, harm_.words()));
    finding.evidence.push_back(evidence("noise scale in batches", scale, ">", batches_, Quantity::kGradientAlignment));
    finding.recommendations.push_back(larger_batch());
    return finding;
  }

  Recommendation larger_batch() const {
    const double factor = std::clamp(std::round(noise_scale() / 8), 4.0, 32.0);
    Recommendation advice;
    advice.id = "larger-batch";
    advice.text = fmt::format(
        "Average the gradients of {:.0f} batches for one update{}; how many it needs is a guess. First check that "
        "inputs "
        "and targets belong together: shuffled labels look the same.",
        factor, batch_ > 0 ? fmt::format(" ({:.0f} samples)", factor * batch_) : "");
    advice.why = "The noise of an averaged gradient falls with the square root of the number of samples.";
    advice.code = fmt::format(
        "static int batches = 0;\n"
        "(loss / {0}).backward();\n"
        "if (++batches % {1:.0f} == 0) {{\n"
        "  optimizer.step();\n"
        "  optimizer.zero_grad();\n"
        "}}",
        literal(factor), factor);
    advice.confidence = 0.4;
    advice.values = {{"batches", {factor}}};
    return advice;
  }

  double batches_;
  double scatter_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  stats::Window alignments_;
  stats::Window recent_losses_{32};
  std::size_t seen_ = 0;
  std::int64_t last_step_ = 0;
  std::optional<std::int64_t> since_;
  double batch_ = 0;
};

}  // namespace

Rule gradient_noise() {
  RuleInfo info;
  info.id = kId;
  info.title = "Gradient is noise";
  info.meaning =
      "The gradients of two batches have next to nothing in common, so that updates wander instead of going anywhere. "
      "Either the batches are far too small for the task, or the targets do not depend on the inputs.";
  info.method =
      "The median cosine between the gradients of neighbouring recorded steps. A true gradient G with noise of "
      "variance "
      "V has an expected cosine |G|²/(|G|²+V), hence a noise scale of 1/cos - 1 batches. A finding needs a noise scale "
      "of many batches and a loss that stands still: warning, or information where the loss itself scatters around "
      "its level.";
  info.limits =
      "Every run that has converged has noise for gradients, which is healthy: without a loss that has stood still "
      "from "
      "the start there is no finding. Between recorded steps the weights change, which lowers the cosine too.";
  info.options = {
      {"batches", 50, "Noise scale over batch size.",
       "McCandlish et al.: beyond the critical batch size by far; a cosine below 0.02."},
      {"loss-scatter", 0.2, "Deviation of the loss over its level, above which it is no warning.",
       "Losses that are minimised vary by less from batch to batch."},
      min_steps_option(50),
  };
  info.references = {"McCandlish et al., An empirical model of large-batch training, arXiv 1812.06162",
                     "Schneider et al., Cockpit, NeurIPS 2021"};
  return make_rule<GradientNoise>(std::move(info));
}

}  // namespace gradhealth::rules
