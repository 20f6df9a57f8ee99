#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include <gradhealth/diagnosis.h>
#include <gradhealth/run.h>

/// A diagnosis as text: for a terminal, a browser, a program, a CI server.
namespace gradhealth {

/// A series thinned to a bounded number of columns; every column keeps the extremes of its steps and how
/// many values were not finite, so that a spike of one step still shows.
struct PlotSeries {
  std::vector<std::int64_t> first_step;  ///< Of each column.
  std::vector<double> minimum;           ///< Of the finite values; NaN if there was none.
  std::vector<double> maximum;
  std::vector<std::uint32_t> nonfinite;  ///< Recorded values that were NaN or infinite.
};

/// One quantity of all subjects of an axis over time, columns shared.
struct PlotMatrix {
  std::vector<std::string> subjects;
  std::vector<std::int64_t> first_step;     ///< Of each column.
  std::vector<std::vector<double>> maximum;  ///< [subject][column]; NaN if nothing finite was recorded.
  std::vector<std::vector<std::uint32_t>> nonfinite;  ///< [subject][column].
};

struct Plots {
  PlotSeries loss;
  PlotSeries global_gradient_norm;
  PlotSeries learning_rate;
  PlotMatrix gradient_norm;
};

/// Gathers what the reports draw while a run is read. Memory is bounded by `columns`.
class PlotCollector {
 public:
  explicit PlotCollector(std::size_t columns = 2048);
  ~PlotCollector();
  PlotCollector(PlotCollector&&) noexcept;
  PlotCollector& operator=(PlotCollector&&) noexcept;

  void observe(const Run& run, const StepRecord& record);
  Plots plots() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// One run file, judged.
struct ModelReport {
  Run run;
  Diagnosis diagnosis;
  Plots plots;
  bool finished = true;  ///< The file was closed by its trainer.
};

/// One run: one or several models.
struct Report {
  std::string run;  ///< As the user named it.
  std::vector<ModelReport> models;
};

/// Worst verdict over the models: unhealthy, then undecided, then healthy.
Verdict verdict(const Report& report);

enum class Colour : std::uint8_t { kNever, kAlways };

struct TerminalOptions {
  Colour colour = Colour::kNever;
  std::size_t width = 80;
};

/// All writers leave the stream's own state to the caller and throw nothing of their own. Output depends
/// on the arguments alone: no clock, no locale. Names from the file are escaped.
void write_terminal(std::ostream& out, const Report& report, const TerminalOptions& options = {});
void write_json(std::ostream& out, const Report& report);
void write_html(std::ostream& out, const Report& report);
/// Every rule is a test case: findings of `fail_on` and above fail it, not-evaluated is skipped.
void write_junit(std::ostream& out, const Report& report, Severity fail_on);

/// A rule's documentation for a terminal.
void write_explanation(std::ostream& out, const RuleInfo& rule, const TerminalOptions& options = {});
/// All rules, a line each.
void write_rule_list(std::ostream& out, const std::vector<Rule>& rules, const TerminalOptions& options = {});

}  // namespace gradhealth
