#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>

#include <gradhealth/diagnosis.h>
#include <gradhealth/rules.h>
#include <gradhealth/run.h>

/// Runs made of numbers, for rules that must not know where numbers come from.
namespace gradhealth::test {

struct SyntheticOptions {
  std::size_t layers = 4;
  std::int64_t width = 64;
  std::size_t features = 4;
  std::uint32_t seed = 1;
  double noise = 0.1;  ///< Relative, of every norm.
  std::string activation = "relu";
  std::string input_operator = "addmm";
};

/// A healthy fully connected classifier of ten classes, fc0 … fcN, each but the last followed by its activation
/// function, with batch normalisation and dropout whose modes are as they should be.
class SyntheticRun {
 public:
  explicit SyntheticRun(const SyntheticOptions& options = {});

  /// A healthy step with this loss: everything recorded, with noise.
  StepRecord step(std::int64_t step, double loss);

  Run run;
  static std::size_t weight(std::size_t layer) { return 2 * layer; }
  static std::size_t bias(std::size_t layer) { return 2 * layer + 1; }
  static std::size_t output(std::size_t layer) { return 2 * layer; }
  static std::size_t relu(std::size_t layer) { return 2 * layer + 1; }
  double noise();  ///< Standard normal.

 private:
  void set_loop(StepRecord& record);

  SyntheticOptions options_;
  std::mt19937 generator_;
};

/// The step of the n-th record: the first 20 are all recorded, then every tenth.
std::int64_t nth_step(std::size_t n);

using Loss = std::function<double(std::int64_t step)>;
using Fault = std::function<void(StepRecord& record)>;

/// 2.3 falling towards 0.3.
double learning(std::int64_t step);

Outcome judge(const std::string& rule, SyntheticRun run, std::size_t records, const Loss& loss, const Fault& fault = {},
              const RuleOptions& options = {});
Diagnosis diagnose(SyntheticRun run, std::size_t records, const Loss& loss, const Fault& fault = {},
                   const DiagnosisOptions& options = {});

bool is_healthy(const Outcome& outcome);
bool is_not_evaluated(const Outcome& outcome);
/// The first finding. @pre the outcome is unhealthy.
const Finding& first_finding(const Outcome& outcome);
bool is(const Outcome& outcome, Severity severity);
bool recommends(const Finding& finding, const std::string& id);
/// Every finding in the tree, roots first.
std::vector<Finding> flatten(const std::vector<DiagnosedFinding>& roots);

}  // namespace gradhealth::test
