#include <algorithm>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/operators.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/starvation.h"
#include "stats/line_fit.h"
#include "stats/window.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "jacobian-growth";
constexpr std::size_t kDepth = 3;      ///< Outputs with weights in front; fewer have no depth.
constexpr std::size_t kInitSteps = 5;  ///< Over which the gain at initialisation is measured.
constexpr double kSaturated = 0.5;     ///< Share of saturated elements of a tanh.

class JacobianGrowth final : public Judge {
 public:
  explicit JacobianGrowth(const RuleOptions& options)
      : growth_(options.at("growth")),
        sigmas_(options.at("deviations")),
        min_steps_(options.at("min-steps")),
        error_steps_(options.at("error-steps")),
        starvation_({options.at("last-ratio"), options.at("median-ratio"), min_steps_}),
        lately_(static_cast<std::size_t>(min_steps_)) {}

  void observe(const Run& run, const StepRecord& record) override {
    starvation_.observe(run, record);
    if (activations_ != run.of(Axis::kActivation).size()) find_chain(run);
    if (chain_.size() < kDepth) return;
    last_step_ = record.step;
    find_flat(record);
    measure(record);
    judge(record);
  }

  std::size_t alarms() const override { return alarms_; }

  Outcome outcome() const override {
    if (severity_) return unhealthy({finding()});
    if (chain_.size() < kDepth)
      return NotEvaluated{
          fmt::format("needs the outputs of at least {} layers with weights, has {}", kDepth, chain_.size())};
    if (steps_ == 0) return NotEvaluated{"no gradients at activations were recorded"};
    if (static_cast<double>(steps_) < min_steps_) return too_few_steps(steps_, min_steps_);
    return Healthy{};
  }

 private:
  struct Output {
    std::size_t activation;
    Subject subject;
  };

  struct Bounded {
    std::size_t activation;
    std::string function;
  };

  void find_chain(const Run& run) {
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    activations_ = activations.size();
    chain_.clear();
    bounded_.clear();
    own_null_ = false;
    double inverse_widths = 0;
    for (std::size_t i = 0; i < activations.size(); ++i) {
      const Subject& activation = activations[i];
      own_null_ = own_null_ || is_norm(activation.kind) || is_attention(activation.kind);
      const std::string function = operator_name(activation.kind);
      const bool inner = activation.name != activation.module && i + 1 < activations.size();
      if (inner && (function == "sigmoid" || function == "hardsigmoid" || function == "tanh"))
        bounded_.push_back({i, function});
      const bool output = !activation.module.empty() && activation.name.find(':') == std::string::npos;
      if (!output || is_norm(activation.kind) || is_embedding(activation.kind)) continue;
      chain_.push_back({i, activation});
      inverse_widths += 1 / static_cast<double>(std::max<std::int64_t>(activation.size, 1));
    }
    if (chain_.empty()) return;
    // β sums over hidden layers; the last output is none.
    beta_ = inverse_widths - 1 / static_cast<double>(std::max<std::int64_t>(chain_.back().subject.size, 1));
  }

  /// Norm layers and weights do not help against a slope of a quarter a layer, or against a saturated one.
  void find_flat(const StepRecord& record) {
    for (const Bounded& each : bounded_) {
      if (!flat_.empty()) return;
      if (each.function != "tanh" || record.at(Quantity::kActivationSaturatedFraction, each.activation) > kSaturated)
        flat_ = each.function;
    }
  }

  void measure(const StepRecord& record) {
    stats::LineFit fit;
    double first = NAN;
    double last = NAN;
    for (std::size_t depth = 0; depth < chain_.size(); ++depth) {
      const double norm = record.at(Quantity::kActivationGradientNorm, chain_[depth].activation);
      if (!std::isfinite(norm) || !(norm > 0)) continue;
      last = std::log(norm);
      if (std::isnan(first)) first = last;
      fit.add(static_cast<double>(depth), last);
    }
    now_ = NAN;
    if (fit.count() < kDepth) return;
    ++steps_;
    now_ = first - last;
    lately_.push(now_);
    if (steps_ <= kInitSteps) init_.push(now_);
    factor_.push(-fit.slope());
  }

  /// Logarithm of the growth against what this model is expected to have.
  double excess(double growth) const { return own_null_ ? growth - init_.median() : growth; }

  double limit() const { return std::log(growth_) + sigmas_ * std::sqrt(5 * std::max(beta_, 0.0)) / 2; }

  void judge(const StepRecord& record) {
    const bool beyond = std::abs(excess(now_)) > limit();
    if (beyond && !since_) since_ = record.step;
    if (!beyond && !std::isnan(now_) && !(std::abs(excess(lately_.median())) > limit())) since_.reset();
    const bool judged_null = !own_null_ || init_.full();
    severity_.reset();
    if (!since_ || !judged_null) return;
    const double typical = excess(lately_.median());
    if (typical < -limit() && starvation_.starves())
      raise(static_cast<double>(record.step - *since_) + 1 >= error_steps_ ? Severity::kError : Severity::kWarning);
    const LossTrack& loss = starvation_.loss();
    const bool exploded = loss.risen_step() || loss.nonfinite_step();
    if (typical > limit() && exploded) raise(Severity::kError);
  }

  void raise(Severity severity) {
    severity_ = severity;
    alarms_ = std::max<std::size_t>(alarms_, severity == Severity::kError ? 2 : 1);
  }

  Finding finding() const {
    const Subject& first = chain_.front().subject;
    const Subject& last = chain_.back().subject;
    const double growth = std::exp(lately_.median());
    const double factor = std::exp(factor_.median());
    const bool shrinks = lately_.median() < 0;
    Finding finding;
    finding.rule = kId;
    finding.severity = *severity_;
    finding.confidence = own_null_ ? 0.6 : 0.8;
    finding.subject = ref(first);
    finding.first_step = *since_;
    finding.last_step = last_step_;
    finding.message = fmt::format(
        "On its way back through {} layers, from {} to {}, the gradient {} by a factor {} a layer, {} in all{}; beyond "
        "what depth and width explain since step {}. {}",
        chain_.size(), last.name, first.name, shrinks ? "shrinks" : "grows", number(factor), number(growth),
        own_null_ ? fmt::format(" (at the start {})", number(std::exp(init_.median()))) : std::string(), *since_,
        shrinks ? fmt::format("The first layer's relative gradient is {} of the last one's and the loss stands still.",
                              number(starvation_.last_ratio()))
                : "The loss has risen far above its start.");
    const double threshold = std::exp((shrinks ? -1 : 1) * limit() + (own_null_ ? init_.median() : 0));
    finding.evidence.push_back(evidence(fmt::format("gradient norm at {} over that at {}", first.name, last.name),
                                        growth, shrinks ? "<" : ">", threshold, Quantity::kCumulativeGrowth,
                                        first.name));
    if (shrinks)
      finding.evidence.push_back(evidence("first layer's relative gradient over the last layer's",
                                          starvation_.last_ratio(), "<", starvation_.last_limit()));
    if (shrinks && !flat_.empty()) finding.recommendations.push_back(use_relu(flat_));
    finding.recommendations.push_back(add_norm_layer(first.module, first.kind, first.size));
    finding.recommendations.push_back(rescale(factor));
    return finding;
  }

  static Recommendation rescale(double factor) {
    const double gain = std::clamp(1 / factor, 0.1, 10.0);
    Recommendation advice;
    advice.id = "rescale-init";
    advice.text =
        fmt::format("Multiply the initial weights by {}, the inverse of the measured factor a layer.", number(gain));
    advice.why = "Brings the product of the layers' Jacobians back to 1 at the start.";
    advice.code = fmt::format(
        "{{\n"
        "  torch::NoGradGuard no_grad;\n"
        "  for (auto& p : net->named_parameters())\n"
        "    if (p.value().dim() > 1) p.value().mul_({});\n"
        "}}",
        literal(gain));
    advice.confidence = 0.5;
    advice.values = {{"gain", {gain}}};
    return advice;
  }

  double growth_;
  double sigmas_;
  double min_steps_;
  double error_steps_;
  Starvation starvation_;
  stats::Window init_{kInitSteps};
  stats::Window lately_;
  stats::Window factor_{20};  ///< Logarithm of the growth a layer.
  std::vector<Output> chain_;
  std::vector<Bounded> bounded_;  ///< Sigmoids and the like between the layers.
  std::string flat_;              ///< The first of them whose slope is small.
  std::size_t activations_ = 0;
  std::size_t steps_ = 0;
  std::size_t alarms_ = 0;
  std::int64_t last_step_ = 0;
  double beta_ = 0;
  double now_ = NAN;
  bool own_null_ = false;  ///< Norm layers or attention: theory has no null, the start is one.
  std::optional<std::int64_t> since_;
  std::optional<Severity> severity_;
};

}  // namespace

Rule jacobian_growth() {
  RuleInfo info;
  info.id = kId;
  info.title = "Jacobian product grows or shrinks with depth";
  info.meaning =
      "The gradient at a layer is the gradient at the output times the Jacobians of all layers between. If each of "
      "them stretches or shrinks it a little, the product explodes or vanishes exponentially with depth, and no "
      "learning rate suits both ends.";
  info.method =
      "Growth along the gradient: the norm of the loss gradient at the first layer's output over that at the last "
      "one's, and the least-squares slope of its logarithm over depth. In random networks ln of the squared norm "
      "scatters with variance 5β, β the sum of 1/width over hidden layers; a finding needs the growth beyond its "
      "threshold by several of these deviations, as a median over the last steps. Models with norm layers or attention "
      "are judged against their own start. And it needs a consequence: starved first layers with a loss that stands "
      "still, or a loss that exploded.";
  info.limits =
      "Needs three layers with weights and gradients at their outputs. LibTorch's default initialisation shrinks the "
      "gradient by 0.41 a ReLU layer; that alone is healthy. Residual branches are not recognised: their outputs are "
      "judged like a chain. It is growth along this gradient, not a norm of the Jacobian itself.";
  info.options = {
      {"growth", 1000, "Growth or shrinkage from the last to the first layer.",
       "Default-init ReLU nets of 5 hidden layers shrink by 90."},
      {"deviations", 3, "Standard deviations of random growth on top.",
       "Hanin, arXiv 1801.03744: variance 5β of ln ‖Ju‖²."},
      {"last-ratio", 1e-3, "First layer's relative gradient over the last layer's, below which it starves.",
       "Practitioner review."},
      {"median-ratio", 0.1, "First layer's relative gradient over the median layer's, below which it starves.",
       "Keeps a single loud last layer from firing."},
      {"min-steps", 20, "Recorded steps over which medians are taken.", "The start-up phase that is always recorded."},
      {"error-steps", 50, "Training steps for which starvation must last to be an error.",
       "Longer than the biases take to settle."},
  };
  info.references = {
      "Hanin, Which neural net architectures give rise to exploding and vanishing gradients?, arXiv 1801.03744",
      "Schoenholz et al., Deep information propagation, 2017",
      "Philipp, Song, Carbonell, The exploding gradient problem demystified, arXiv 1712.05577"};
  info.effects = {{"vanishing-gradient"}, {"exploding-gradient"},        {"diverging-loss"},         {"dead-units"},
                  {"nonfinite-gradient"}, {"nonfinite-weight"},          {"nonfinite-activation"},   {"nonfinite-loss"},
                  {"zero-gradient"},      {"nonfinite-optimizer-state"}, {"no-better-than-constant"}};
  info.essential = true;
  return make_rule<JacobianGrowth>(std::move(info));
}

}  // namespace gradhealth::rules
