#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
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

/// One quantity of all subjects of an axis over time, columns shared. Empty if it was never recorded.
struct PlotMatrix {
  std::vector<std::string> subjects;
  std::vector<std::int64_t> first_step;               ///< Of each column.
  std::vector<std::vector<double>> maximum;           ///< [subject][column]; NaN if nothing finite was recorded.
  std::vector<std::vector<std::uint32_t>> nonfinite;  ///< [subject][column].
};

/// What entered the model in one feature or channel.
struct InputRange {
  std::string feature;
  double minimum = 0;  ///< Over the run; NaN if nothing finite was recorded, as the next one.
  double maximum = 0;
  double mean = 0;  ///< Of the first recorded step.
  double deviation = 0;
};

/// The histogram of one feature of the input, or of all of them, in one recorded step.
struct InputHistogram {
  std::int64_t step = 0;
  double minimum = 0;  ///< Finite, and less than `maximum`.
  double maximum = 0;
  std::vector<double> shares;  ///< Of the values, in bins of equal width; they add up to 1. Empty: not recorded.

  /// Where a bin begins; of as many as there are, where the last one ends.
  double edge(std::size_t bin) const;
};

/// The first and the last one that were recorded, which may be the same.
struct InputHistograms {
  std::string feature;
  InputHistogram first;
  InputHistogram last;
};

struct Plots {
  PlotSeries loss;
  PlotSeries global_gradient_norm;
  PlotSeries learning_rate;
  PlotSeries step_time;
  PlotMatrix gradient_norm;  ///< Of parameters, as the next two.
  PlotMatrix update_ratio;
  PlotMatrix weight_norm;
  PlotMatrix activation_rms;  ///< Of activations, as the next one.
  PlotMatrix cumulative_growth;
  std::vector<InputRange> inputs;
  std::vector<InputHistograms> histograms;  ///< Of the first features; one of all of them where they are many.
  bool histograms_damaged = false;          ///< Some were left out, since they cannot be right.
};

/// What of Plots is gathered: matrices take most of the time and nearly all of the memory.
enum class PlotDetail : std::uint8_t { kSeries, kMatrices };

/// Gathers what the reports draw while a run is read. Memory is bounded by `columns`: those of series and of gradient
/// norms; other matrices have a quarter. With kSeries, matrices and inputs stay empty.
class PlotCollector {
 public:
  explicit PlotCollector(std::size_t columns = 2048, PlotDetail detail = PlotDetail::kMatrices);
  ~PlotCollector();
  PlotCollector(PlotCollector&&) noexcept;
  PlotCollector& operator=(PlotCollector&&) noexcept;

  void observe(const Run& run, const StepRecord& record);
  Plots plots() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// One run file, or those of all ranks of a training, judged.
struct ModelReport {
  Run run;
  Diagnosis diagnosis;
  Plots plots;
  bool finished = true;  ///< The file was closed by its trainer; with several ranks, every one of them.
  /// With several ranks, those that did not finish: "rank 2 of 4, last seen at step 57".
  std::vector<std::string> unfinished_ranks;
};

/// One run: one or several models.
struct Report {
  std::string run;  ///< As the user named it.
  std::vector<ModelReport> models;
};

/// Worst verdict over the models: unhealthy, then undecided, then healthy. A run without models, or one
/// whose recording was not finished, is undecided at best.
Verdict verdict(const Report& report);
/// Worst verdict over the runs; undecided if there is none.
Verdict verdict(const std::vector<Report>& reports);

/// What a gate, such as a CI job, accepts.
struct GateOptions {
  Severity fail_on = Severity::kError;
  bool allow_undecided = false;   ///< Runs of which too little was seen may pass.
  bool allow_incomplete = false;  ///< Runs whose recording was not finished may pass.
};

enum class GateOutcome : std::uint8_t {
  kPass,
  kFail,         ///< A finding of `fail_on` or above.
  kCannotJudge,  ///< None, but a run is undecided or incomplete and that is not allowed.
};

GateOutcome gate(const std::vector<Report>& reports, const GateOptions& options);

enum class Colour : std::uint8_t { kNever, kAlways };

/// What a terminal can show. With kAscii, symbols of the rules are spelt and other characters become \u{…}.
enum class Charset : std::uint8_t { kUnicode, kAscii };

struct TerminalOptions {
  Colour colour = Colour::kNever;
  std::size_t width = 80;
  Charset charset = Charset::kUnicode;  ///< Of write_terminal(); a rule's documentation is as it is.
};

/// What CI servers are told of the gate, and where they are to point.
struct CiOptions {
  GateOptions gate;
  std::string source;  ///< File of the repository, such as the trainer's source, relative to its top.
                       ///< Empty: the run's own path, and no place for annotations.
  int line = 1;
};

/// All writers leave the stream's own state to the caller and throw nothing of their own. Output depends
/// on the arguments alone: no clock, no locale. Names from the file are escaped.
void write_terminal(std::ostream& out, const Report& report, const TerminalOptions& options = {});
void write_json(std::ostream& out, const Report& report);
/// Several runs: {"schema_version", "verdict", "runs": [one object each, as above]}.
void write_json(std::ostream& out, const std::vector<Report>& reports);
void write_html(std::ostream& out, const Report& report);
/// Every model is a test suite and every rule a test case: findings of `fail_on` and above fail it,
/// not-evaluated and suppressed are skipped. A model that the gate cannot judge has one more case, which is an error.
void write_junit(std::ostream& out, const std::vector<Report>& reports, const GateOptions& options = {});
/// SARIF 2.1.0 with one SARIF run. Every finding is a result, consequences and suppressed ones included; rules that
/// were not evaluated and undecided runs are notifications.
void write_sarif(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options = {});
/// GitLab's code quality report. What is suppressed is left out; an undecided run is an issue, too.
void write_gitlab(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options = {});
/// GitHub Actions' workflow commands: at most ten errors, warnings and notices each, as GitHub shows no more of a step.
void write_github(std::ostream& out, const std::vector<Report>& reports, const CiOptions& options = {});
/// Text for the log of GitHub Actions, no line of which is taken for a workflow command.
void write_github_text(std::ostream& out, std::string_view text);
/// GitHub-flavoured Markdown, as for a job summary. What does not fit into `max_bytes` is left out, and that is said.
/// @pre max_bytes is at least 1,000.
void write_markdown(std::ostream& out, const std::vector<Report>& reports, std::size_t max_bytes = 1'000'000);
/// "12 of 12 rules evaluated over 600 recorded steps".
std::string coverage(const Report& report);

enum class WatchPhase : std::uint8_t {
  kWaiting,    ///< There is no file, or no longer.
  kRecording,  ///< Rows are coming in.
  kStalled,    ///< None has for longer than is usual.
  kFinished,
  kFailed,     ///< The recording stopped with an error.
  kContinued,  ///< A later file goes on from this one.
};

/// A run file at a moment while it grows. Numbers are the latest recorded ones, finite or not; absent where nothing
/// was.
struct WatchState {
  std::string name;  ///< The file, as the user named it.
  WatchPhase phase = WatchPhase::kWaiting;
  double idle_seconds = 0;  ///< Since the last row.
  std::int64_t rows = 0;
  std::int64_t step = 0;
  std::optional<double> steps_per_second;
  std::optional<double> loss;
  std::optional<double> gradient_norm;
  std::optional<double> learning_rate;
  struct Parameter {
    std::string name;
    std::optional<double> gradient_norm;
    std::optional<double> weight_norm;
    std::optional<double> update_ratio;
  };
  std::vector<Parameter> worst;  ///< Not finite, or farthest from the median update ratio; the farthest first.
  Plots plots;
  std::vector<Finding> findings;   ///< In the order in which they appeared.
  std::optional<Verdict> verdict;  ///< Once the run is over.
};

/// Gathers what `watch` shows of one run file, row by row. Memory does not grow with the rows.
class WatchCollector {
 public:
  WatchCollector();
  ~WatchCollector();
  WatchCollector(WatchCollector&&) noexcept;
  WatchCollector& operator=(WatchCollector&&) noexcept;

  void observe(const Run& run, const StepRecord& record);
  /// Everything but name, phase, idle time, findings and verdict.
  WatchState state() const;
  /// Seconds between rows, the longest of the latest ones: longer than that without a row is unusual.
  double longest_gap() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// One screen, at most `height` lines of at most `options.width` columns.
void write_watch_frame(std::ostream& out, const std::vector<WatchState>& states, const TerminalOptions& options,
                       std::size_t height);
/// The same in one line, without colour: for what is no terminal.
void write_watch_line(std::ostream& out, const WatchState& state, Charset charset);
/// A finding in one line of at most `options.width` columns.
void write_finding_line(std::ostream& out, const Finding& finding, const TerminalOptions& options);

/// A rule's documentation for a terminal.
void write_explanation(std::ostream& out, const RuleInfo& rule, const TerminalOptions& options = {});
/// All rules, a line each.
void write_rule_list(std::ostream& out, const std::vector<Rule>& rules, const TerminalOptions& options = {});
/// The same for programs, with everything a rule documents.
void write_rules_json(std::ostream& out, const std::vector<Rule>& rules);
/// All rules in full as Markdown: a table, then a section each. lib/rules/CATALOGUE.md is this.
void write_rules_markdown(std::ostream& out, const std::vector<Rule>& rules);

/// The text on one line, with control and direction-changing characters and invalid UTF-8 made visible:
/// what comes from a file or a command line must not steer a terminal.
std::string printable(std::string_view text);

}  // namespace gradhealth
