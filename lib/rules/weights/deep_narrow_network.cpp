#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/layers.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/operators.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "deep-narrow-network";
constexpr double kLearning = 0.3;  ///< Share of the loss's start.
constexpr std::size_t kDepth = 3;  ///< Layers with weights; fewer have no depth.

bool is_linear(const std::string& kind) {
  const std::string op = operator_name(kind);
  return op == "addmm" || op == "linear" || op == "matmul" || op == "mm";
}

class DeepNarrowNetwork final : public Judge {
 public:
  explicit DeepNarrowNetwork(const RuleOptions& options)
      : beta_limit_(options.at("inverse-width")),
        patience_(options.at("patience")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    if (const double entropy = record.at(Quantity::kTargetEntropy); entropy > 0) constant_loss_ = entropy;
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    if (activations.size() != activations_) look_at(run);
    if (activations_ == 0) return;
    if (steps_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    const auto now = severity();
    alarm_.set(now ? static_cast<std::size_t>(*now) + 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (const auto now = severity()) return unhealthy({finding(*now)});
    if (activations_ == 0) return NotEvaluated{"no activations were recorded"};
    if (!chain_)
      return NotEvaluated{"only for chains of at least three linear layers without norm layers or attention"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  void look_at(const Run& run) {
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    activations_ = activations.size();
    layers_.update(run);
    chain_ = layers_.all().size() >= kDepth;
    for (const Subject& activation : activations)
      if (is_norm(activation.kind) || is_attention(activation.kind) || is_embedding(activation.kind)) chain_ = false;
    beta_ = 0;
    narrowest_ = {};
    for (std::size_t i = 0; i < layers_.all().size(); ++i) {
      const auto& output = layers_.all()[i].activation;
      if (!output || !is_linear(activations[*output].kind) || activations[*output].size <= 0) {
        chain_ = false;
        return;
      }
      // The width of the last output is the task's.
      if (i + 1 == layers_.all().size()) break;
      const Subject& hidden = activations[*output];
      beta_ += 1 / static_cast<double>(hidden.size);
      if (narrowest_.size == 0 || hidden.size < narrowest_.size) narrowest_ = hidden;
    }
  }

  std::optional<Severity> severity() const {
    if (!chain_ || static_cast<double>(steps_) < min_steps_ || !(beta_ > beta_limit_)) return std::nullopt;
    return harm_.any() || barely_learns() ? Severity::kWarning : Severity::kInfo;
  }

  /// The last layer's biases alone take a loss down to that of a constant, which is not far.
  bool barely_learns() const {
    if (static_cast<double>(last_step_ - first_step_) < patience_) return false;
    return !harm_.loss().fell_by(kLearning) || harm_.loss().recent() > (1 - kLearning / 3) * constant_loss_;
  }

  Finding finding(Severity severity) const {
    const std::size_t hidden = layers_.all().size() - 1;
    Finding finding = new_finding(
        kId, severity, 0.6, ref(narrowest_), {first_step_, last_step_},
        fmt::format(
            "{} hidden layers, the narrowest {} units wide, have inverse widths that add up to {}: the gradient "
            "at the input of such a net varies by a factor e^{} (one standard deviation of its square) from one "
            "random start to another; {}.",
            hidden, narrowest_.size, number(beta_), number(std::sqrt(5 * beta_)), harm_.words()));
    finding.evidence.push_back(evidence("sum of 1/width over the hidden layers", beta_, ">", beta_limit_));
    const auto width = static_cast<std::int64_t>(std::ceil(static_cast<double>(hidden) / (beta_limit_ / 4)));
    Recommendation widen;
    widen.id = "widen-layers";
    widen.text = fmt::format("Make the hidden layers {} units wide, or use fewer of them.", width);
    widen.why = "The spread of random gradients grows with the sum of the inverse widths.";
    widen.code = fmt::format("auto hidden = torch::nn::Linear({0}, {0});", width);
    widen.confidence = 0.7;
    widen.values = {{"width", {static_cast<double>(width)}}};
    Recommendation residual;
    residual.id = "add-residual";
    residual.text = "Add the input of each hidden layer to its output.";
    residual.why = "The gradient then has a way back that no layer shrinks or stretches.";
    residual.code = fmt::format(
        "// in forward, instead of x = torch::relu({0}->forward(x)):\n"
        "x = x + torch::relu(net->forward(x));  // with {0} in place of net",
        narrowest_.module);
    residual.confidence = 0.6;
    finding.recommendations = {std::move(widen), std::move(residual)};
    return finding;
  }

  double beta_limit_;
  double patience_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  double constant_loss_ = NAN;  ///< Cross entropy of always giving the classes' frequencies.
  Layers layers_;
  bool chain_ = false;
  double beta_ = 0;
  Subject narrowest_;
  std::size_t activations_ = 0;
  std::size_t steps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule deep_narrow_network() {
  RuleInfo info;
  info.id = kId;
  info.title = "Network is too deep for its width";
  info.meaning =
      "In a chain of layers, the size of the gradient at the input is random with a spread that grows with the sum of "
      "the inverse widths of the hidden layers. Beyond 1, whether a start trains at all is a matter of luck.";
  info.method =
      "β, the sum of 1/width over the hidden layers, of chains of linear layers: known before any data. Information; a "
      "warning if the loss stands still, barely falls or rises.";
  info.limits =
      "Only for chains of linear layers without norm layers, attention or embeddings. Residual connections are not "
      "seen: a residual net without norm layers gets the information, too.";
  info.options = {
      {"inverse-width", 1, "Sum of 1/width over the hidden layers.",
       "Hanin: variance 5β of ln ‖Ju‖²; measured spread 0.008 to 4.2 at 20 layers of 20."},
      {"patience", 100, "Steps after which the loss must have fallen by 30 %.",
       "Twice what the last layer's biases take to settle."},
      min_steps_option(10),
  };
  info.references = {
      "Hanin, Which neural net architectures give rise to exploding and vanishing gradients?, arXiv 1801.03744",
      "Hanin, Nica, Products of many large random matrices and gradients in deep neural networks, arXiv 1812.05994"};
  info.effects = {
      {"vanishing-gradient"}, {"exploding-gradient"},   {"jacobian-growth"},         {"vanishing-activation"},
      {"dead-units"},         {"exploding-activation"}, {"zero-gradient"},           {"diverging-loss"},
      {"plateaued-loss"},     {"collapsed-output"},     {"no-better-than-constant"}, {"poor-initialization"}};
  return make_rule<DeepNarrowNetwork>(std::move(info));
}

}  // namespace gradhealth::rules
