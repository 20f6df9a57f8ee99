#include "rules/rules_list.h"
#include "rules/support/rule_support.h"
#include "rules/support/signal_growth.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "exploding-activation";

class ExplodingActivation final : public SignalGrowthJudge {
 public:
  explicit ExplodingActivation(const RuleOptions& options) : SignalGrowthJudge(kId, options.at("growth"), options) {}
};

}  // namespace

Rule exploding_activation() {
  RuleInfo info;
  info.id = kId;
  info.title = "Activations grow exponentially with depth";
  info.meaning =
      "Every layer makes the signal larger, so that it grows exponentially with depth. The last layers then work on "
      "numbers thousands of times as large as the first, gradients of their weights grow alike, and no learning rate "
      "suits all of them.";
  info.method =
      "Root mean square of the outputs of all layers with weights but the last, whose size is the task's. A finding "
      "needs the last over the first beyond the threshold and most layers to take part in it, at several recorded "
      "steps "
      "in a row. Warning; information while the loss is below half of its start; an error if the loss stands still or "
      "rises.";
  info.limits =
      "Normalised and residual nets keep their signal level and are judged alike. A single layer with a large output, "
      "as a wide embedding or raw input has, is no growth with depth. Branches are put in line by the order of their "
      "calls.";
  info.options = signal_growth_options();
  info.options.insert(info.options.begin(), {"growth", 1e4, "RMS of the last hidden layer over that of the first.",
                                             "Ten layers with 2.8 times the scale of He initialisation."});
  info.references = {"He et al., Delving deep into rectifiers, ICCV 2015",
                     "Hanin, Rolnick, How to start training, arXiv 1803.01719"};
  info.effects = {
      {"diverging-loss"},       {"exploding-gradient"},     {"jacobian-growth"},  {"nonfinite-activation"},
      {"nonfinite-loss"},       {"nonfinite-gradient"},     {"nonfinite-weight"}, {"dead-units"},
      {"saturated-activation"}, {"half-precision-range"},   {"nonfinite-buffer"}, {"nonfinite-optimizer-state"},
      {"zero-gradient"},        {"no-better-than-constant"}};
  return make_rule<ExplodingActivation>(std::move(info));
}

}  // namespace gradhealth::rules
