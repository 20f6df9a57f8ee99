#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }
double rising(std::int64_t step) { return step < 100 ? 2.3 : 50.0; }

Fault grows(std::size_t parameter, double start, double rate, double at_most = 1e30) {
  return [=](StepRecord& record) {
    record.set(Quantity::kWeightNorm, parameter,
               std::min(start * std::exp(rate * static_cast<double>(record.step)), at_most));
  };
}

Outcome growing(const Loss& loss, const Fault& fault, SyntheticRun run = SyntheticRun()) {
  return judge("growing-weight", std::move(run), 60, loss, fault);
}

}  // namespace

TEST_CASE("a weight that multiplies is a warning, an error once the loss rises", "[rules][growing-weight]") {
  const Outcome outcome = growing(flat, grows(2, 5, 0.012));  // e^4.9 = 136 times at step 410
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).subject.name == "fc1.weight");
  CHECK(first_finding(outcome).first_step == 60);  // ln 2 / 0.012 = 58
  const Recommendation& advice = first_finding(outcome).recommendations.at(0);
  CHECK(advice.id == "add-weight-decay");
  CHECK(std::abs(advice.values.at(0).second.at(0) - 0.12) < 1e-9);  // 0.012 a step over a rate of 0.1
  CHECK(advice.text.find("guess") == std::string::npos);
  CHECK(is(growing(rising, grows(2, 5, 0.012)), Severity::kError));
  CHECK(is(growing(learning, grows(2, 5, 0.012)), Severity::kInfo));
}

TEST_CASE("growth counts from its threshold on, against no less than an ordinary start", "[rules][growing-weight]") {
  // The median of the first three is 5.53.
  CHECK(is_healthy(growing(flat, grows(2, 5, 0.1, 5 * 35))));
  CHECK(is(growing(flat, grows(2, 5, 0.1, 5 * 36)), Severity::kWarning));
  // 64x64 with LibTorch's initialisation has a norm of 4.6.
  CHECK(is_healthy(growing(flat, grows(2, 1e-4, 0.1, 4.6 * 31))));
  CHECK(is(growing(flat, grows(2, 1e-4, 0.1, 4.6 * 34)), Severity::kWarning));
  CHECK(is_healthy(growing(flat, grows(3, 5, 0.012))));  // A bias.
  SyntheticRun positions;
  positions.run.of(Axis::kParameter)[2].module = "";  // No layer's.
  CHECK(is_healthy(growing(flat, grows(2, 5, 0.012), positions)));
  CHECK(is_healthy(growing(flat, [](StepRecord& record) {
    if (record.step % 40 == 0) record.set(Quantity::kWeightNorm, 2, 1e4);
  })));
}

TEST_CASE("in front of a norm layer the scale of a weight is information", "[rules][growing-weight]") {
  SyntheticRun run;
  run.run.of(Axis::kActivation)[3] = {"bn", "bn", "batch_norm", "", "float32", 64};
  CHECK(is(growing(flat, grows(2, 5, 0.012), run), Severity::kInfo));
}

TEST_CASE("without norms of weights nothing is said about their growth", "[rules][growing-weight]") {
  CHECK(is_not_evaluated(growing(flat, [](StepRecord& record) {
    for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kWeightNorm, i, NAN);
  })));
}

namespace {

Fault equal_rows(std::size_t parameter, double spread, std::int64_t until = 1000000) {
  return [=](StepRecord& record) {
    if (record.step < until) record.set(Quantity::kRowSpread, parameter, spread);
  };
}

Outcome symmetric(std::size_t records, const Loss& loss, const Fault& fault, SyntheticRun run = SyntheticRun()) {
  return judge("symmetric-weight", std::move(run), records, loss, fault);
}

}  // namespace

TEST_CASE("rows that stay the same are a warning, an error when the loss stands still", "[rules][symmetric-weight]") {
  CHECK(is_not_evaluated(symmetric(9, flat, equal_rows(2, 0))));
  const Outcome outcome = symmetric(10, flat, equal_rows(2, 0));
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).subject.name == "fc1.weight");
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "random-init");
  CHECK(is(symmetric(60, flat, equal_rows(2, 0)), Severity::kError));
  CHECK(is(symmetric(60, learning, equal_rows(2, 0)), Severity::kWarning));
  CHECK(is(symmetric(60, flat, equal_rows(2, 0.9e-6)), Severity::kError));
  CHECK(is_healthy(symmetric(60, flat, equal_rows(2, 1.1e-6))));
}

TEST_CASE("a weight that starts at zero is judged by what it becomes", "[rules][symmetric-weight]") {
  const auto from_zero = [](double spread) {
    return symmetric(60, flat, [spread](StepRecord& record) {
      record.set(Quantity::kRowSpread, 2, record.step == 0 ? NAN : spread);
      if (record.step == 0) record.set(Quantity::kWeightNorm, 2, 0);
    });
  };
  CHECK(is_healthy(from_zero(0.7)));
  CHECK(is(from_zero(0), Severity::kError));
  CHECK(first_finding(from_zero(0)).first_step == 1);
}

TEST_CASE("zeros that stay because their gradient is zero are equal rows", "[rules][symmetric-weight]") {
  const auto zeros = [](double gradient, double rate) {
    return symmetric(60, flat, [=](StepRecord& record) {
      record.set(Quantity::kRowSpread, 2, NAN);
      record.set(Quantity::kWeightNorm, 2, 0);
      record.set(Quantity::kGradientNorm, 2, gradient);
      record.set(Quantity::kLearningRate, rate);
    });
  };
  CHECK(is(zeros(0, 0.1), Severity::kError));
  CHECK(is_healthy(zeros(0.2, 0.1)));
  CHECK(is_healthy(zeros(0, 0)));
  CHECK(is_healthy(zeros(NAN, 0.1)));
}

TEST_CASE("single rows, embeddings, fixed filters and a symmetry that breaks are healthy",
          "[rules][symmetric-weight]") {
  CHECK(is_healthy(symmetric(60, flat, equal_rows(2, 0, 9))));
  CHECK(is_healthy(symmetric(60, flat, equal_rows(3, 0))));  // A bias.
  SyntheticRun one_row;
  one_row.run.of(Axis::kParameter)[2].shape = "1x64";
  CHECK(is_healthy(symmetric(60, flat, equal_rows(2, 0), one_row)));
  SyntheticRun embedding;
  embedding.run.of(Axis::kActivation)[2].kind = "embedding";
  CHECK(is_healthy(symmetric(60, flat, equal_rows(2, 0), embedding)));
  CHECK(is_healthy(symmetric(60, flat, [](StepRecord& record) {
    equal_rows(2, 0)(record);
    record.set(Quantity::kGradientNorm, 2, NAN);
  })));
}
