#include "hooks/preflight/preflight_rules.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

#include <gradhealth/errors.h>

#include "hooks/preflight/initial_growth.h"

namespace gradhealth::hooks {
namespace {

struct Chosen {
  const char* rule;
  const char* reason;  ///< Why one pass is enough for it.
};

// What is not here judges a course: of the loss, of weights, of differences between batches. Nor are zero-gradient,
// which behind a weight that starts at zero is over after one update, and jacobian-growth, which waits for a
// consequence.
constexpr Chosen kChosen[] = {
    {"broadcast-target", "shapes of prediction and target"},
    {"constant-input", "whether the batch's samples differ"},
    {"dead-units", "layers that are silent for the whole batch"},
    {"deep-narrow-network", "depth and widths"},
    {"double-normalized-input", "range of the input"},
    {"double-softmax", "what enters the loss"},
    {"exploding-activation", "growth of the signal over depth"},
    {"initial-loss", "the loss of the untrained model"},
    {"nll-without-log-softmax", "what enters the loss"},
    {"no-gradient", "which parameters the loss depends on"},
    {"nonfinite-activation", "counts of the pass"},
    {"nonfinite-buffer", "counts of the pass"},
    {"nonfinite-gradient", "counts of the pass"},
    {"nonfinite-input", "counts of the pass"},
    {"nonfinite-loss", "the loss"},
    {"nonfinite-weight", "counts of the pass"},
    {"output-range-mismatch", "range of the output against that of the targets"},
    {"poor-initialization", "size of the initial weights, and what it does to the signal"},
    {"saturated-activation", "derivatives of sigmoid and tanh on the batch"},
    {"softmax-over-one-unit", "shapes"},
    {"softmax-wrong-dimension", "shapes of what enters the loss"},
    {"sum-reduced-loss", "how the loss is called"},
    {"symmetric-weight", "rows of the initial weights"},
    {"target-out-of-range", "range of the targets"},
    {"unnormalized-input", "scale of the input"},
    {"unnormalized-target", "scale of the targets"},
    {"unregistered-parameter", "leaves that the pass reads"},
    {"vanishing-activation", "decay of the signal over depth"},
    {"wrong-mode", "modes of dropout and batch normalisation"},
};

std::vector<Rule> chosen_of(const std::vector<Rule>& rules) {
  std::vector<Rule> chosen{initial_growth()};
  for (const Chosen& each : kChosen)
    if (const Rule* rule = find_rule(rules, each.rule)) chosen.push_back(*rule);
  std::sort(chosen.begin(), chosen.end(), [](const Rule& a, const Rule& b) { return a.info.id < b.info.id; });
  return chosen;
}

}  // namespace

Diagnoser preflight_diagnoser(const DiagnosisOptions& options, const std::vector<Rule>& rules) {
  const std::vector<Rule> asked = chosen_of(rules);
  const auto is_asked = [&](const std::string& id) {
    if (find_rule(asked, id) != nullptr) return true;
    if (find_rule(rules, id) == nullptr) throw UsageError(fmt::format("there is no rule \"{}\"", id));
    return false;
  };
  DiagnosisOptions kept = options;
  kept.rules.clear();
  kept.suppressions.clear();
  for (const auto& [id, settings] : options.rules)
    if (is_asked(id)) kept.rules.emplace(id, settings);
  for (const Suppression& suppression : options.suppressions)
    if (is_asked(suppression.rule)) kept.suppressions.push_back(suppression);
  return Diagnoser(kept, asked);
}

}  // namespace gradhealth::hooks
