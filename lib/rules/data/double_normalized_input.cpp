#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "double-normalized-input";
constexpr double kScale = 255;        ///< What pixels are divided by.
constexpr std::size_t kPicture = 64;  ///< Values a sample from which the input may be a picture.

class DoubleNormalizedInput final : public Judge {
 public:
  explicit DoubleNormalizedInput(const RuleOptions& options)
      : margin_(options.at("margin")), least_(options.at("least")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    const std::vector<Subject>& features = run.of(Axis::kFeature);
    if (features.empty()) return;
    if (steps_ == 0) describe_input(features);
    observe_range(record);
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (steps_ == 0) return NotEvaluated{"no smallest and largest values of the input were recorded"};
    if (exempt_) return NotEvaluated{fmt::format("the input goes into {}, which has no use for its scale", consumer_)};
    if (severity()) return unhealthy({finding()});
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  void describe_input(const std::vector<Subject>& features) {
    consumer_ = features[0].kind;
    exempt_ = is_embedding(consumer_) || is_norm(consumer_);
    std::size_t values = 0;
    for (const Subject& feature : features) values += static_cast<std::size_t>(std::max<std::int64_t>(feature.size, 1));
    picture_ = values >= kPicture;
  }

  void observe_range(const StepRecord& record) {
    const std::vector<double>& low = record.values(Quantity::kInputMin);
    const std::vector<double>& high = record.values(Quantity::kInputMax);
    // Once too large, it stays so.
    bool seen = steps_ > 0 && reach() > margin_ && !low.empty();
    for (std::size_t i = 0; i < std::min(low.size(), high.size()) && !(seen && reach() > margin_); ++i) {
      if (!std::isfinite(low[i]) || !std::isfinite(high[i])) continue;
      seen = true;
      least_seen_ = std::min(least_seen_, low[i]);
      most_seen_ = std::max(most_seen_, high[i]);
    }
    if (!seen) return;
    if (steps_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
  }

  /// In units of 1/255.
  double reach() const { return kScale * std::max(std::abs(least_seen_), std::abs(most_seen_)); }

  std::optional<Severity> severity() const {
    if (exempt_ || static_cast<double>(steps_) < min_steps_ || !(most_seen_ > least_seen_)) return std::nullopt;
    if (!(reach() <= margin_)) return std::nullopt;
    // Small numbers in a table are small numbers until they do harm; pictures end at 1/255 for one reason.
    if (picture_ && reach() >= least_) return harm_.stands_still() ? Severity::kError : Severity::kWarning;
    if (harm_.stands_still()) return Severity::kWarning;
    return std::nullopt;
  }

  Finding finding() const {
    const bool sure = picture_ && reach() >= least_;
    Finding finding = new_finding(kId, *severity(), sure ? 0.9 : 0.4, {}, {first_step_, last_step_}, {});
    const std::string seen =
        fmt::format("The model's input runs from {} to {}", number(least_seen_), number(most_seen_));
    finding.message =
        sure ? seen + fmt::format(": pixels that were scaled to 1 and then divided by 255 once more end at {}.",
                                  number(1 / kScale))
             : seen + ": its values hardly differ from zero.";
    finding.message +=
        harm_.stands_still() ? fmt::format(" It does harm: {}.", harm_.words()) : " No harm is seen so far.";
    finding.evidence.push_back(
        evidence("largest |value| of the input, times 255", reach(), "≤", margin_, Quantity::kInputMax));
    if (harm_.stands_still()) finding.evidence.push_back(loss_evidence(harm_));
    finding.recommendations.push_back(remove_normalization(sure));
    return finding;
  }

  Recommendation remove_normalization(bool sure) const {
    Recommendation advice;
    advice.id = "remove-normalization";
    const double factor = sure ? kScale : 1 / std::max(std::abs(least_seen_), std::abs(most_seen_));
    advice.text = sure ? "Remove one of the two divisions by 255; until it is found, multiply the input by 255."
                       : fmt::format("Scale the input up by {} (a guess: nothing shows where it was scaled down).",
                                     number(factor));
    advice.why =
        "Datasets such as torch::data::datasets::MNIST divide pixels by 255 already; what is divided twice drowns in "
        "the first layer's bias, and its weights get gradients that are hundreds of times too small.";
    advice.code = fmt::format("// in training, validation and inference alike:\nx = x.to(torch::kFloat32) * {};",
                              literal(factor));
    advice.confidence = sure ? 0.9 : 0.4;
    advice.values = {{"factor", {factor}}};
    return advice;
  }

  double margin_;
  double least_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  std::string consumer_;
  bool exempt_ = false;
  bool picture_ = false;
  std::size_t steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
  double least_seen_ = HUGE_VAL;
  double most_seen_ = -HUGE_VAL;
};

}  // namespace

Rule double_normalized_input() {
  RuleInfo info;
  info.id = kId;
  info.title = "Input is normalised twice";
  info.meaning =
      "The input was scaled to [0, 1] and then divided by 255 once more. All samples look alike to the first layer: "
      "its "
      "bias drowns them, its weights get tiny gradients, and training is slow or stands still.";
  info.method =
      "All values seen lie within 1/255 of zero. A warning where the input is as long as a picture (64 values a "
      "sample) "
      "and comes near that limit, an error when the loss does not fall. Other small inputs get a warning only when the "
      "loss does not fall.";
  info.limits =
      "Data that are small by nature look the same. Inputs of embeddings and of norm layers are not judged. A second "
      "division by something other than 255 is not recognised.";
  info.options = {
      {"margin", 1.01, "Largest |value| of the input times 255.", "1 and the rounding of single precision."},
      {"least", 0.25, "Largest |value| times 255 from which it can be pixels: brightest pixels come near 1.",
       "Half a picture's range, and that halved by centring."},
      min_steps_option(10),
  };
  info.references = {"LeCun et al., Efficient BackProp, 1998, section 4.3"};
  info.effects = {{"collapsed-output"}, {"no-better-than-constant"}, {"plateaued-loss"}, {"vanishing-gradient"}};
  return make_rule<DoubleNormalizedInput>(std::move(info));
}

}  // namespace gradhealth::rules
