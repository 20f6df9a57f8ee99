#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/rules.h>

/// What every rule needs: its options, its evidence, its order of findings.
namespace gradhealth::rules {

/// Every option of the rule, given or default.
/// @throws UsageError for a name that the rule does not have, or a value that is not finite.
RuleOptions resolve(const std::string& rule, const std::vector<OptionInfo>& known, const RuleOptions& given);

/// A rule whose judge is constructed from its resolved options.
template <class JudgeType>
Rule make_rule(RuleInfo info) {
  Rule rule;
  rule.make_judge = [id = info.id, known = info.options](const RuleOptions& given) -> std::unique_ptr<Judge> {
    return std::make_unique<JudgeType>(resolve(id, known, given));
  };
  rule.info = std::move(info);
  return rule;
}

/// "min-steps": recorded steps below which a run without findings is not called healthy.
OptionInfo min_steps_option(double steps);

NotEvaluated too_few_steps(std::size_t seen, double wanted);

/// A number for a sentence, in three digits: "112", "4.01e+06", "NaN".
std::string number(double value);
/// A number for code: a finite double literal in five digits.
std::string literal(double value);
/// "first, second, third and 4 more".
std::string list_of(const std::vector<std::string>& names, std::size_t shown);

Evidence evidence(std::string what, double observed, std::string relation, double threshold,
                  std::optional<Quantity> quantity = std::nullopt, std::string subject = {});

/// Most severe first, then earliest; otherwise as they come. Of more than `most`, the last one kept says so.
Outcome unhealthy(std::vector<Finding> findings, double most = 8);

/// A parameter's or activation's place in the model.
SubjectRef ref(const Subject& subject);

/// What one quantity says about non-finite elements at one step.
struct NonfiniteCount {
  bool recorded = false;     ///< The quantity has at least one value at this step.
  std::size_t subjects = 0;  ///< With at least one non-finite element.
  std::size_t first = 0;     ///< Index of the first of them.
  std::size_t last = 0;      ///< Index of the last of them.
  double elements = 0;       ///< Over all of them.
};
NonfiniteCount count_nonfinite(const StepRecord& record, Quantity quantity);

/// Whether any subject has a value. To ask whether there are values at all is not the same: beside rows that have some,
/// a file holds NaN.
bool any_recorded(const StepRecord& record, Quantity quantity);

/// L2 norm of the gradient over all parameters: as recorded, else from the parameters' norms; NaN when
/// neither is there.
double global_gradient_norm(const StepRecord& record);

}  // namespace gradhealth::rules
