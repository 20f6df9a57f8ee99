#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/layers.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/persistence.h"
#include "rules/support/rule_support.h"
#include "stats/robust.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "adam-epsilon-dominates";

class AdamEpsilonDominates final : public Judge {
 public:
  explicit AdamEpsilonDominates(const RuleOptions& options)
      : floor_(options.at("loss-floor")),
        min_steps_(options.at("min-steps")),
        persistence_(min_steps_, options.at("share")),
        gradients_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    layers_.update(run);
    optimizer_ = run.info.optimizer;
    epsilon_ = run.info.epsilon;
    if (!is_judged()) return;
    const double gradient = typical_gradient(run, record);
    if (std::isnan(gradient)) return;
    gradients_.push(gradient);
    persistence_.observe(gradient < *epsilon_, record.step);
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (!is_judged()) return NotEvaluated{"only for Adam and AdamW with a known epsilon"};
    if (persistence_.count() == 0) return NotEvaluated{"no gradient of a weight matrix was recorded"};
    if (static_cast<double>(persistence_.count()) < min_steps_) return too_few_steps(persistence_.count(), min_steps_);
    return Healthy{};
  }

 private:
  bool is_judged() const { return optimizer_.rfind("Adam", 0) == 0 && epsilon_ && *epsilon_ > 0; }

  /// Root mean square of the gradient's elements, median of the layers: most are below epsilon if this is.
  double typical_gradient(const Run& run, const StepRecord& record) {
    scratch_.resize(layers_.all().size());
    std::size_t count = 0;
    for (const Layer& layer : layers_.all()) {
      const double norm = record.at(Quantity::kGradientNorm, layer.parameter);
      const auto size = static_cast<double>(run.of(Axis::kParameter)[layer.parameter].size);
      // Exactly 0 is no small gradient, but none.
      if (std::isfinite(norm) && norm > 0 && size > 0) scratch_[count++] = norm / std::sqrt(size);
    }
    return stats::median_in_place(scratch_.data(), count);
  }

  bool at_its_floor() const {
    const LossTrack& loss = harm_.loss();
    return loss.count() > 0 && std::abs(loss.recent()) <= floor_ * std::abs(loss.start());
  }

  std::optional<Severity> severity() const {
    if (!is_judged() || !persistence_.holds() || at_its_floor()) return std::nullopt;
    return harm_.learns() ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(Severity severity) const {
    const double gradient = gradients_.median();
    Finding finding = new_finding(
        kId, severity, 0.7, {}, {*persistence_.since(), persistence_.last()},
        fmt::format(
            "The elements of most weights' gradients are about {}, below {}'s epsilon of {}, at {} % of the last "
            "{:.0f} recorded steps: steps shrink with the gradient instead of having the learning rate's size; "
            "{}.",
            number(gradient), optimizer_, number(*epsilon_), number(100 * persistence_.share()), min_steps_,
            harm_.words()));
    finding.evidence.push_back(evidence("root mean square of the gradient's elements, median of the weights", gradient,
                                        "<", *epsilon_, Quantity::kGradientNorm));
    finding.recommendations = {lower_epsilon(gradient), scale_loss(gradient)};
    return finding;
  }

  Recommendation lower_epsilon(double gradient) const {
    const double epsilon = std::stod(fmt::format("{:.0e}", std::max(gradient / 100, 1e-16)));
    const std::string type = optimizer_ == "AdamW" ? "AdamW" : "Adam";
    Recommendation advice;
    advice.id = "lower-epsilon";
    advice.text = fmt::format("Lower epsilon from {} to {}.", number(*epsilon_), number(epsilon));
    advice.why = "Epsilon is there against division by zero; it should be small against ordinary gradients.";
    advice.code = fmt::format(
        "for (auto& group : optimizer.param_groups()) static_cast<torch::optim::{}Options&>(group.options()).eps({});",
        type, literal(epsilon));
    advice.confidence = 0.7;
    advice.values = {{"eps", {epsilon}}};
    return advice;
  }

  Recommendation scale_loss(double gradient) const {
    const double scale = std::exp2(std::ceil(std::log2(100 * *epsilon_ / gradient)));
    Recommendation advice;
    advice.id = "scale-loss";
    advice.text = fmt::format("Or multiply the loss by {}: Adam does not mind, but for epsilon.", number(scale));
    advice.why = "A mean over very many elements, or targets of a tiny unit, make gradients tiny.";
    advice.code = fmt::format("(loss * {}).backward();", literal(scale));
    advice.confidence = 0.5;
    advice.values = {{"scale", {scale}}};
    return advice;
  }

  double floor_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  Persistence persistence_;
  stats::Window gradients_;
  Layers layers_;
  std::vector<double> scratch_;
  std::string optimizer_;
  std::optional<double> epsilon_;
};

}  // namespace

Rule adam_epsilon_dominates() {
  RuleInfo info;
  info.id = kId;
  info.title = "Adam's epsilon outweighs the gradients";
  info.meaning =
      "Adam divides the gradient by its running size plus epsilon. If gradients are smaller than epsilon, the division "
      "does nothing: steps become tiny with the gradient, and the learning rate loses its meaning.";
  info.method =
      "Root mean square of a gradient's elements, median of the weight matrices and kernels, below epsilon at half of "
      "the "
      "last recorded steps. Warning; information while the loss is below half of its start.";
  info.limits =
      "A loss below a hundredth of its start has tiny gradients in peace. Gradients of exactly 0 are not counted. The "
      "running size lags behind the gradient, by a thousand steps at the usual β₂.";
  info.options = {
      {"share", 0.5, "Share of the last recorded steps at which it must be so.", "Practitioner review."},
      {"loss-floor", 0.01, "Loss over its start, below which gradients may be tiny.",
       "Interpolating nets have gradients of 1e-9 at the end."},
      min_steps_option(50),
  };
  info.references = {"Kingma, Ba, Adam, ICLR 2015, section 2",
                     "Wortsman et al., Small-scale proxies for transformer instabilities, arXiv 2309.14322"};
  info.effects = {{"update-too-small"}, {"step-without-effect"}, {"no-better-than-constant"}};
  return make_rule<AdamEpsilonDominates>(std::move(info));
}

}  // namespace gradhealth::rules
