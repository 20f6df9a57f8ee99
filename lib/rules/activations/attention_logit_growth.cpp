#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "attention-logit-growth";
constexpr std::int64_t kSudden = 50;  ///< Steps.

class AttentionLogitGrowth final : public Judge {
 public:
  explicit AttentionLogitGrowth(const RuleOptions& options)
      : growth_(options.at("growth")),
        size_(options.at("logit-std")),
        fraction_(options.at("one-hot-fraction")),
        min_steps_(options.at("min-steps")),
        most_(options.at("max-findings")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (!first_step_) first_step_ = record.step;
    if (const double rate = record.at(Quantity::kLearningRate); std::isfinite(rate)) rate_ = rate;
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    for (std::size_t i = known_; i < activations.size(); ++i)
      if (operator_name(activations[i].kind).find("softmax") != std::string::npos)
        softmaxes_.push_back({i, activations[i]});
    known_ = activations.size();
    std::size_t level = 0;
    for (Softmax& softmax : softmaxes_) {
      observe_softmax(softmax, record);
      if (const auto now = severity(softmax)) level += static_cast<std::size_t>(*now) + 1;
    }
    alarm_.set(level);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    std::vector<Finding> findings;
    std::size_t steps = 0;
    std::size_t inside = 0;
    for (const Softmax& softmax : softmaxes_) {
      if (!is_inside(softmax)) continue;
      ++inside;
      steps = std::max(steps, softmax.steps);
      if (const auto now = severity(softmax)) findings.push_back(finding(softmax, *now));
    }
    if (!findings.empty()) return unhealthy(std::move(findings), most_);
    if (inside == 0) return NotEvaluated{"no softmax inside the model was seen: fused attention hides it"};
    if (steps == 0) return NotEvaluated{"what enters the softmax was not recorded"};
    if (static_cast<double>(steps) < min_steps_) return too_few_steps(steps, min_steps_);
    return Healthy{};
  }

 private:
  struct Softmax {
    std::size_t index;
    Subject subject;
    std::size_t steps = 0;
    stats::Window early{10};
    stats::Window recent{8};
    stats::Window one_hot{8};
    std::optional<std::int64_t> since = std::nullopt;  ///< The logits are as large as that.
    std::int64_t last = 0;
  };

  /// The last activation is the classifier's, which shall be sharp.
  bool is_inside(const Softmax& softmax) const { return softmax.index + 1 < known_; }

  void observe_softmax(Softmax& softmax, const StepRecord& record) const {
    const double logits = record.at(Quantity::kActivationLogitStd, softmax.index);
    if (!std::isfinite(logits)) return;
    ++softmax.steps;
    softmax.last = record.step;
    if (!softmax.early.full()) softmax.early.push(logits);
    softmax.recent.push(logits);
    softmax.one_hot.push(record.at(Quantity::kActivationSaturatedFraction, softmax.index));
    if (!(logits > size_ && logits > growth_ * softmax.early.median()))
      softmax.since.reset();
    else if (!softmax.since)
      softmax.since = record.step;
  }

  std::optional<Severity> severity(const Softmax& softmax) const {
    if (!is_inside(softmax) || !softmax.since || !softmax.early.full() || !softmax.one_hot.full()) return std::nullopt;
    const double logits = softmax.recent.median();
    if (!(logits > size_ && logits > growth_ * softmax.early.median() && softmax.one_hot.median() > fraction_))
      return std::nullopt;
    if (harm_.rose()) return Severity::kError;
    return harm_.learns() ? Severity::kInfo : Severity::kWarning;
  }

  Finding finding(const Softmax& softmax, Severity severity) const {
    const std::string& name = softmax.subject.name;
    Finding finding = new_finding(
        kId, severity, 0.8, ref(softmax.subject), {*softmax.since, softmax.last},
        fmt::format("What enters {} has grown from a spread of {} to {}, and {} % of its distributions are one-hot: "
                    "attention looks at a single place, and its gradient is near 0; {}.",
                    name, number(softmax.early.median()), number(softmax.recent.median()),
                    number(100 * softmax.one_hot.median()), harm_.words()));
    finding.evidence.push_back(evidence("standard deviation of the logits", softmax.recent.median(), ">",
                                        std::max(size_, growth_ * softmax.early.median()),
                                        Quantity::kActivationLogitStd, name));
    finding.evidence.push_back(evidence("share of one-hot distributions", softmax.one_hot.median(), ">", fraction_,
                                        Quantity::kActivationSaturatedFraction, name));
    Recommendation norm;
    norm.id = "qk-norm";
    norm.text = "Normalise queries and keys before their product.";
    norm.why = "It bounds the logits, however large the projections become.";
    norm.code =
        "// q, k: [batch, heads, positions, size], before the product:\n"
        "const auto unit = [](const torch::Tensor& t) { return torch::layer_norm(t, {t.size(-1)}); };\n"
        "x = torch::matmul(unit(x), unit(x).transpose(-2, -1)) / std::sqrt(static_cast<double>(x.size(-1)));";
    norm.confidence = 0.7;
    // What takes thousands of steps is attention's own instability; within a few, steps were far too long.
    if (*softmax.since - *first_step_ < kSudden)
      finding.recommendations = {lower_learning_rate(rate_, 30, 0.45), std::move(norm)};
    else
      finding.recommendations = {std::move(norm), lower_learning_rate(rate_, 3, 0.4)};
    return finding;
  }

  double growth_;
  double size_;
  double fraction_;
  double min_steps_;
  double most_;
  LossHarm harm_;
  Alarm alarm_;
  std::vector<Softmax> softmaxes_;
  std::size_t known_ = 0;
  std::optional<double> rate_;
  std::optional<std::int64_t> first_step_;
};

}  // namespace

Rule attention_logit_growth() {
  RuleInfo info;
  info.id = kId;
  info.title = "Attention logits grow without bound";
  info.meaning =
      "The products of queries and keys grow until every softmax of the attention puts all weight on one place. Its "
      "gradient is near 0 then, attention cannot be learned any more, and training becomes unstable.";
  info.method =
      "Spread of what enters a softmax that is not the model's last activation, against its first recorded steps, and "
      "the share of its distributions with a probability above 0.99. A finding needs all three: growth, size and "
      "collapse. Warning; information while the loss is below half of its start; an error if the loss rises.";
  info.limits =
      "Fused attention shows no softmax. Masked values are left out. Trained models have sharp heads here and there; a "
      "model that starts with them is not told.";
  info.options = {
      {"growth", 10, "Spread of the logits over that of the first recorded steps.", "Practitioner review."},
      {"logit-std", 20, "Standard deviation of the logits.", "Dehghani et al.: logits beyond 50 before divergence."},
      {"one-hot-fraction", 0.9, "Share of the distributions with a probability above 0.99.", "Practitioner review."},
      min_steps_option(20),
      {"max-findings", 8, "Attentions that get a finding of their own.", "What a person reads."},
  };
  info.references = {"Dehghani et al., Scaling vision transformers to 22 billion parameters, arXiv 2302.05442",
                     "Wortsman et al., Small-scale proxies for transformer instabilities, arXiv 2309.14322"};
  info.effects = {{"diverging-loss"},
                  {"vanishing-gradient"},
                  {"exploding-gradient"},
                  {"nonfinite-loss"},
                  {"no-better-than-constant"}};
  return make_rule<AttentionLogitGrowth>(std::move(info));
}

}  // namespace gradhealth::rules
