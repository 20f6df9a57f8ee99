#include "rules/rules_list.h"
#include "rules/support/rule_support.h"
#include "rules/support/signal_growth.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "vanishing-activation";

class VanishingActivation final : public SignalGrowthJudge {
 public:
  explicit VanishingActivation(const RuleOptions& options) : SignalGrowthJudge(kId, options.at("growth"), options) {}
};

}  // namespace

Rule vanishing_activation() {
  RuleInfo info;
  info.id = kId;
  info.title = "Activations shrink exponentially with depth";
  info.meaning =
      "Every layer makes the signal smaller, so that it dies out exponentially with depth: the last layers see next to "
      "nothing of the input, and all samples look the same to them.";
  info.method =
      "Root mean square of the outputs of all layers with weights but the last, whose size is the task's. A finding "
      "needs the last over the first below the threshold and most layers to take part in it, at several recorded steps "
      "in a row. Warning; information while the loss is below half of its start; an error if the loss stands still or "
      "rises.";
  info.limits =
      "Biases keep the signal of later layers at their own size, which hides that it carries no information any more. "
      "Networks of tanh or with LibTorch's default initialisation shrink by 0.4 to 0.6 a layer, which ten layers bear.";
  info.options = signal_growth_options();
  info.options.insert(info.options.begin(), {"growth", 1e-4, "RMS of the last hidden layer over that of the first.",
                                             "Ten layers at 0.4 each, as LibTorch initialises them without biases."});
  info.references = {"He et al., Delving deep into rectifiers, ICCV 2015",
                     "Schoenholz et al., Deep information propagation, 2017"};
  info.effects = {{"vanishing-gradient"}, {"jacobian-growth"},         {"zero-gradient"},
                  {"collapsed-output"},   {"no-better-than-constant"}, {"plateaued-loss"}};
  return make_rule<VanishingActivation>(std::move(info));
}

}  // namespace gradhealth::rules
