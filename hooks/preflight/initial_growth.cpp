#include "hooks/preflight/initial_growth.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <gradhealth/errors.h>

namespace gradhealth::hooks {
namespace {

constexpr const char* kId = "initial-jacobian-growth";
constexpr std::size_t kDepth = 3;

bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// A layer with weights and its output.
struct Level {
  std::size_t activation = 0;
  std::size_t weight = 0;
  Subject subject;
};

struct Growth {
  double factor = 0;    ///< First output over last.
  double limit = 0;     ///< Of `factor`, or of its inverse.
  double usual = 0;     ///< What LibTorch's default initialisation of ReLU layers may well make of `factor`.
  double relative = 0;  ///< First layer's gradient over its weights, over the last layer's.
  double median = 0;    ///< The same over the median layer's.
  Level first;
  std::size_t levels = 0;
};

class InitialGrowth final : public Judge {
 public:
  explicit InitialGrowth(const RuleOptions& options) {
    for (const auto& [name, value] : options) {
      if (limits_.count(name) == 0) throw UsageError(fmt::format("rule \"{}\" has no option \"{}\"", kId, name));
      limits_[name] = value;
    }
  }

  void observe(const Run& run, const StepRecord& record) override {
    if (seen_) return;  // Every step is the same pass.
    seen_ = true;
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    const bool own_null = std::any_of(activations.begin(), activations.end(), [](const Subject& each) {
      return contains(each.kind, "norm") || contains(each.kind, "attention") || contains(each.kind, "transformer");
    });
    if (own_null) {
      skipped_ = "norm layers or attention: only a start that is known to be good could be compared with";
      return;
    }
    measure(levels_of(run), record);
  }

  std::size_t alarms() const override { return is_wrong() ? 1 : 0; }

  Outcome outcome() const override {
    if (!seen_) return NotEvaluated{"nothing was observed"};
    if (!growth_) return NotEvaluated{skipped_};
    if (is_wrong()) return Unhealthy{{finding()}};
    return Healthy{};
  }

 private:
  static std::vector<Level> levels_of(const Run& run) {
    const std::vector<Subject>& activations = run.of(Axis::kActivation);
    const std::vector<Subject>& parameters = run.of(Axis::kParameter);
    std::vector<Level> levels;
    for (std::size_t i = 0; i < activations.size(); ++i) {
      if (activations[i].name != activations[i].module || contains(activations[i].kind, "embedding")) continue;
      for (std::size_t k = 0; k < parameters.size(); ++k) {
        if (parameters[k].module != activations[i].module || parameters[k].kind != "weight") continue;
        levels.push_back({i, k, activations[i]});
        break;
      }
    }
    return levels;
  }

  /// The probe's random cotangents know no preferred direction; the loss's own gradient does for a stand-in.
  static double backward_norm(const StepRecord& record, const Level& level) {
    const double probed = record.at(Quantity::kJacobianNorm, level.activation);
    return std::isnan(probed) ? record.at(Quantity::kActivationGradientNorm, level.activation) : probed;
  }

  void measure(const std::vector<Level>& levels, const StepRecord& record) {
    std::vector<double> relative;
    std::optional<std::pair<double, Level>> first;
    double last = std::numeric_limits<double>::quiet_NaN();
    double inverse_widths = 0;
    double width = 0;
    for (const Level& level : levels) {
      const double norm = backward_norm(record, level);
      const double gradient = record.at(Quantity::kGradientNorm, level.weight);
      const double weight = record.at(Quantity::kWeightNorm, level.weight);
      if (!std::isfinite(norm) || !(norm > 0) || !std::isfinite(gradient) || !(weight > 0)) continue;
      if (!first) first.emplace(norm, level);
      last = norm;
      if (width > 0) inverse_widths += 1 / width;  // Over hidden layers; the last output is none.
      width = static_cast<double>(std::max<std::int64_t>(level.subject.size, 1));
      relative.push_back(gradient / weight);
    }
    if (relative.size() < kDepth) {
      skipped_ = fmt::format("needs {} layers with weights and gradients, has {}", kDepth, relative.size());
      return;
    }
    Growth growth;
    growth.first = first->second;
    growth.levels = relative.size();
    growth.factor = first->first / last;
    // In random networks the logarithm of the squared norm scatters with variance 5 Σ 1/width.
    const double scatter = limits_["deviations"] * std::sqrt(5 * inverse_widths) / 2;
    growth.limit = limits_["growth"] * std::exp(scatter);
    growth.usual = std::pow(limits_["usual-gain"], static_cast<double>(growth.levels - 1)) * std::exp(-scatter);
    growth.relative = relative.front() / relative.back();
    const double front = relative.front();
    std::nth_element(relative.begin(), relative.begin() + relative.size() / 2, relative.end());
    growth.median = front / relative[relative.size() / 2];
    growth_ = growth;
  }

  bool starves() const {
    return growth_->factor * growth_->limit < 1 && growth_->relative < limits_.at("last-ratio") &&
           growth_->median < limits_.at("median-ratio");
  }
  bool is_wrong() const { return growth_ && (starves() || growth_->factor > growth_->limit); }

  Finding finding() const {
    const Growth& growth = *growth_;
    const bool shrinks = growth.factor < 1;
    const double step = std::pow(growth.factor, 1.0 / static_cast<double>(growth.levels - 1));
    Finding finding;
    finding.rule = kId;
    finding.severity = shrinks && growth.factor >= growth.usual ? Severity::kInfo : Severity::kWarning;
    finding.confidence = 0.8;
    finding.subject.module = growth.first.subject.module;
    finding.subject.name = growth.first.subject.name;
    finding.message = fmt::format(
        "On its way back through {} layers, to {}, what is differentiated {} by a factor {:.3g} a layer, {:.3g} in "
        "all; "
        "depth and width explain {:.3g}.",
        growth.levels, growth.first.subject.name, shrinks ? "shrinks" : "grows", step, growth.factor,
        shrinks ? 1 / growth.limit : growth.limit);
    finding.evidence.push_back({"backward growth from the last layer's output to the first one's", growth.factor,
                                shrinks ? 1 / growth.limit : growth.limit, shrinks ? "<" : ">", Quantity::kJacobianNorm,
                                growth.first.subject.name});
    if (shrinks) {
      finding.message += fmt::format(
          " The first layer's gradient, relative to its weights, is {:.3g} of the last one's.", growth.relative);
      finding.evidence.push_back({"first layer's relative gradient over the last layer's", growth.relative,
                                  limits_.at("last-ratio"), "<", std::nullopt, ""});
    }
    finding.recommendations.push_back(rescale(std::clamp(1 / step, 0.1, 10.0)));
    return finding;
  }

  static Recommendation rescale(double gain) {
    Recommendation advice;
    advice.id = "rescale-init";
    advice.text = fmt::format(
        "Put normalisation between the layers, or multiply the initial weights by {:.3g}, the inverse of the measured "
        "factor a layer.",
        gain);
    advice.why = "Brings the product of the layers' Jacobians back to 1 at the start.";
    advice.code = fmt::format(
        "{{\n"
        "  torch::NoGradGuard no_grad;\n"
        "  for (auto& p : net->named_parameters())\n"
        "    if (p.value().dim() > 1) p.value().mul_({:.5g});\n"
        "}}",
        gain);
    advice.confidence = 0.5;
    advice.values = {{"gain", {gain}}};
    return advice;
  }

  std::map<std::string, double> limits_{
      {"growth", 1000}, {"deviations", 3}, {"usual-gain", 0.408}, {"last-ratio", 1e-3}, {"median-ratio", 0.1}};
  std::optional<Growth> growth_;
  std::string skipped_;
  bool seen_ = false;
};

}  // namespace

Rule initial_growth() {
  RuleInfo info;
  info.id = kId;
  info.title = "Jacobian product grows or shrinks with depth at the start";
  info.meaning =
      "What comes back through the layers is multiplied by each one's Jacobian. If all of them shrink it, the first "
      "layers do not learn; if all of them stretch it, no learning rate suits both ends.";
  info.method =
      "Norm of the probe's random cotangents at the first layer's output over that at the last one's, against a limit "
      "with several standard deviations of random networks (variance 5 Σ 1/width of the squared norm's logarithm) on "
      "top. What shrinks must also leave the first layer starved: its gradient over its weights far below that of the "
      "last and of the median layer. A warning; information where it shrinks no more than the default initialisation "
      "of "
      "ReLU layers does, which trains, if slowly at first.";
  info.limits = "Not for models with norm layers or attention. Residual branches are judged like a chain.";
  info.options = {
      {"growth", 1000, "Growth or shrinkage from the last to the first layer.", "As of the rule jacobian-growth."},
      {"deviations", 3, "Standard deviations of random growth on top.", "Hanin, arXiv 1801.03744."},
      {"usual-gain", 0.408, "Factor a layer down to which shrinkage is information only.",
       "LibTorch's default initialisation of ReLU layers: 1/√6."},
      {"last-ratio", 1e-3, "First layer's relative gradient over the last layer's, below which it starves.",
       "As of the rule jacobian-growth."},
      {"median-ratio", 0.1, "First layer's relative gradient over the median layer's, below which it starves.",
       "Keeps a single loud last layer from firing."}};
  info.references = {
      "Hanin, Which neural net architectures give rise to exploding and vanishing gradients?, arXiv 1801.03744"};
  return {std::move(info), [](const RuleOptions& options) { return std::make_unique<InitialGrowth>(options); }};
}

}  // namespace gradhealth::hooks
