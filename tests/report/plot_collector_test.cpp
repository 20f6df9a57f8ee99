#include <algorithm>
#include <cmath>
#include <limits>

#include <gradhealth/report.h>

#include "support/catch.h"

namespace gradhealth {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

Run two_parameters() {
  Run run;
  run.of(Axis::kParameter) = {{"a", "", "weight", "", "", 1}, {"b", "", "weight", "", "", 1}};
  return run;
}

}  // namespace

TEST_CASE("a value that is missing is not counted as not finite", "[report]") {
  PlotCollector collector;
  StepRecord record;
  record.set(Quantity::kGradientNorm, 1, 2.0);
  collector.observe(two_parameters(), record);
  const Plots plots = collector.plots();
  CHECK(plots.loss.first_step.empty());
  CHECK(plots.gradient_norm.nonfinite[0][0] == 0);
  CHECK(std::isnan(plots.gradient_norm.maximum[0][0]));
  CHECK(plots.gradient_norm.maximum[1][0] == 2);
}

TEST_CASE("a value that the record marks as not finite is counted", "[report]") {
  PlotCollector collector;
  StepRecord record;
  record.set(Quantity::kLoss, kNaN);
  record.set(Quantity::kLossNonfinite, 1);
  record.set(Quantity::kGlobalGradientNorm, kNaN);
  record.set(Quantity::kGradientNorm, 0, kNaN);
  record.set(Quantity::kGradientNonfinite, 0, 17);
  record.set(Quantity::kGradientNorm, 1, kInfinity);
  record.set(Quantity::kLearningRate, 0.1);
  collector.observe(two_parameters(), record);
  const Plots plots = collector.plots();
  CHECK(plots.loss.nonfinite == std::vector<std::uint32_t>{1});
  CHECK(std::isnan(plots.loss.maximum[0]));
  CHECK(plots.global_gradient_norm.nonfinite == std::vector<std::uint32_t>{1});
  CHECK(plots.gradient_norm.nonfinite[0][0] == 1);
  CHECK(plots.gradient_norm.nonfinite[1][0] == 1);
  CHECK(plots.learning_rate.nonfinite == std::vector<std::uint32_t>{0});
  CHECK(plots.learning_rate.maximum == std::vector<double>{0.1});
}

TEST_CASE("a spike of one step survives thinning", "[report]") {
  PlotCollector collector(16);
  const Run run = two_parameters();
  for (std::int64_t step = 0; step < 10'000; ++step) {
    StepRecord record;
    record.step = step;
    record.set(Quantity::kLoss, step == 7777 ? 1e6 : 1.0);
    record.set(Quantity::kGradientNorm, 0, step == 4242 ? 50.0 : 0.5);
    collector.observe(run, record);
  }
  const Plots plots = collector.plots();
  CHECK(plots.loss.first_step.size() <= 16);
  CHECK(*std::max_element(plots.loss.maximum.begin(), plots.loss.maximum.end()) == 1e6);
  const std::vector<double>& row = plots.gradient_norm.maximum[0];
  CHECK(row.size() == plots.gradient_norm.first_step.size());
  CHECK(*std::max_element(row.begin(), row.end()) == 50);
}

TEST_CASE("a parameter that appears during the run has no values before", "[report]") {
  PlotCollector collector;
  Run run = two_parameters();
  StepRecord record;
  record.set(Quantity::kGradientNorm, 0, 1);
  collector.observe(run, record);
  run.of(Axis::kParameter).push_back({"late", "", "weight", "", "", 1});
  record.step = 1;
  record.set(Quantity::kGradientNorm, 2, 3);
  collector.observe(run, record);
  const Plots plots = collector.plots();
  REQUIRE(plots.gradient_norm.subjects == std::vector<std::string>{"a", "b", "late"});
  CHECK(std::isnan(plots.gradient_norm.maximum[2][0]));
  CHECK(plots.gradient_norm.maximum[2][1] == 3);
}

TEST_CASE("a run without steps gives empty plots", "[report]") {
  const Plots plots = PlotCollector().plots();
  CHECK(plots.loss.first_step.empty());
  CHECK(plots.gradient_norm.subjects.empty());
}

}  // namespace gradhealth
