#include <set>

#include <gradhealth/comparison.h>

#include "comparison/figures.h"
#include "comparison/matching.h"
#include "comparison/settings.h"

namespace gradhealth {
namespace {

using compared::Figures;

void compare_findings(const Diagnosis& before, const Diagnosis& after, ModelComparison& result) {
  const std::vector<Finding> old = compared::all_findings(before);
  const std::vector<Finding> now = compared::all_findings(after);
  const auto identities = [](const std::vector<Finding>& findings) {
    std::set<std::string> all;
    for (const Finding& each : findings) all.insert(compared::identity(each));
    return all;
  };
  const std::set<std::string> were = identities(old);
  const std::set<std::string> are = identities(now);
  for (const Finding& each : old)
    if (are.count(compared::identity(each)) == 0) result.resolved.push_back(each);
  for (const Finding& each : now)
    (were.count(compared::identity(each)) > 0 ? result.remaining : result.appeared).push_back(each);
}

std::vector<ComparedNumber> compare_figures(const ModelReport& before, const ModelReport& after) {
  const Figures a = compared::figures_of(before.plots);
  const Figures b = compared::figures_of(after.plots);
  return {
      {"first loss", a.first_loss, b.first_loss},
      {"final loss", a.final_loss, b.final_loss},
      {"lowest loss", a.lowest_loss, b.lowest_loss},
      {"global gradient norm", a.gradient_norm, b.gradient_norm},
      {"step time (s)", a.step_time, b.step_time},
      {"recorded steps", static_cast<double>(before.diagnosis.steps), static_cast<double>(after.diagnosis.steps)},
  };
}

/// The parameters of the run after, in their order, then those that only the run before had.
std::vector<ComparedNumber> compare_gradients(const PlotMatrix& before, const PlotMatrix& after) {
  std::vector<std::string> names = after.subjects;
  const std::set<std::string> known(names.begin(), names.end());
  for (const std::string& name : before.subjects)
    if (known.count(name) == 0) names.push_back(name);
  std::vector<ComparedNumber> norms;
  for (const std::string& name : names)
    norms.push_back({name, compared::median_gradient_norm(before, name), compared::median_gradient_norm(after, name)});
  return norms;
}

ModelComparison compare(const ModelReport& before, const ModelReport& after) {
  ModelComparison result;
  result.model = after.run.info.name;
  compare_findings(before.diagnosis, after.diagnosis, result);
  result.settings = compared::differing_settings(before, after);
  result.figures = compare_figures(before, after);
  result.gradient_norms = compare_gradients(before.plots.gradient_norm, after.plots.gradient_norm);
  result.loss_before = before.plots.loss;
  result.loss_after = after.plots.loss;
  return result;
}

}  // namespace

Comparison compare(const Report& before, const Report& after) {
  Comparison result;
  result.before = before.run;
  result.after = after.run;
  result.verdict_before = verdict(before);
  result.verdict_after = verdict(after);
  std::set<const ModelReport*> matched;
  for (const ModelReport& model : after.models) {
    const ModelReport* counterpart = compared::counterpart(before, model, after.models.size());
    if (!counterpart) {
      result.only_after.push_back(model.run.info.name);
      continue;
    }
    matched.insert(counterpart);
    result.models.push_back(compare(*counterpart, model));
  }
  for (const ModelReport& model : before.models)
    if (matched.count(&model) == 0) result.only_before.push_back(model.run.info.name);
  return result;
}

}  // namespace gradhealth
