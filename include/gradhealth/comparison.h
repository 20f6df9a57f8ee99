#pragma once

#include <cstddef>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include <gradhealth/report.h>

/// Two runs side by side: what a fix has changed, or what has become worse since a run that was good.
namespace gradhealth {

/// A number of both runs; nothing where a run did not record it.
struct ComparedNumber {
  std::string what;
  std::optional<double> before;
  std::optional<double> after;
};

/// What was set differently, as text; empty where it is not known.
struct ComparedSetting {
  std::string what;
  std::string before;
  std::string after;
};

/// One model of both runs. Findings are the same if rule and subject are, whatever their steps and numbers.
struct ModelComparison {
  std::string model;
  std::vector<Finding> resolved;   ///< As they were before, most severe first.
  std::vector<Finding> remaining;  ///< As they are now.
  std::vector<Finding> appeared;
  std::vector<ComparedSetting> settings;       ///< That differ.
  std::vector<ComparedNumber> figures;         ///< Final loss, lowest loss, gradient norm, step time, steps, …
  std::vector<ComparedNumber> gradient_norms;  ///< Median over the steps, of every parameter, in the model's order.
  PlotSeries loss_before;
  PlotSeries loss_after;
};

struct Comparison {
  std::string before;  ///< The runs, as the user named them.
  std::string after;
  Verdict verdict_before = Verdict::kUndecided;
  Verdict verdict_after = Verdict::kUndecided;
  std::vector<ModelComparison> models;  ///< Of both runs, by name; two single models belong together by any name.
  std::vector<std::string> only_before;
  std::vector<std::string> only_after;
};

Comparison compare(const Report& before, const Report& after);

/// In 80 columns: verdicts, findings, settings, figures, loss curves, and the parameters whose gradients have changed
/// most.
void write_comparison(std::ostream& out, const Comparison& comparison, const TerminalOptions& options = {});
void write_comparison_json(std::ostream& out, const Comparison& comparison);
/// One self-contained page without scripts.
void write_comparison_html(std::ostream& out, const Comparison& comparison);

/// What counts as worse than the baseline.
struct BaselineOptions {
  /// Final loss: share of what the baseline has learnt, from its first losses to its final ones, that may be lost.
  /// Three times that is an error. Never less than the noise of both runs' final losses, as many times their robust
  /// deviation.
  double loss = 0.1;
  double noise = 3;
  /// Factor, up or down, of the median global gradient norm.
  double gradient_norm = 10;
  /// Factor of the median step time; judged of at least 20 recorded steps in both runs.
  double step_time = 1.5;
};

/// What was found in the baseline, too, and is no more severe now, becomes a suppressed finding with that reason. What
/// has become worse beyond the tolerances becomes a finding: `loss-regression`, `gradient-norm-regression`,
/// `step-time-regression`. The verdict follows.
/// @throws UsageError if the baseline has none of the run's models.
Report against_baseline(Report report, const Report& baseline, const BaselineOptions& options = {});

}  // namespace gradhealth
