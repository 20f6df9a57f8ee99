#include <cmath>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double negated(std::int64_t step) { return -2.3 - 0.5 * static_cast<double>(step); }

/// The synthetic net's loss is a cross entropy of ten classes; predictions spread as far as such a loss needs.
Outcome judge_loss(const Loss& loss, const std::string& kind = "", std::size_t records = 40,
                   const std::string& op =
                       "op=cross_entropy_loss prediction=64x10:float32 target=64:int64 "
                       "reduction=mean") {
  SyntheticRun run;
  run.run.info.loss_kind = kind;
  return judge("negative-loss", run, records, loss, [&loss, op](StepRecord& record) {
    for (Event& event : record.events)
      if (event.kind == "loss-operator") event.text = op;
    record.set(Quantity::kPredictionMin, -3 - std::abs(loss(record.step)));
  });
}

}  // namespace

TEST_CASE("a cross entropy below zero that keeps falling has the wrong sign", "[rules][negative-loss]") {
  const Outcome outcome = judge_loss(negated);
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "fix-loss-sign"));
}

TEST_CASE("a negative loss that goes nowhere is information: an adversary may want it", "[rules][negative-loss]") {
  CHECK(is(judge_loss([](std::int64_t) { return -2.3; }), Severity::kInfo));
  CHECK(is(judge_loss([](std::int64_t step) { return step < 20 ? -2.3 : -11.4; }), Severity::kInfo));
  CHECK(is(judge_loss([](std::int64_t step) { return step < 20 ? -2.3 : -11.6; }), Severity::kError));
  CHECK(is_healthy(judge_loss(negated, "adversarial")));
}

TEST_CASE("losses above zero are healthy, and so are a few below", "[rules][negative-loss]") {
  CHECK(is_healthy(judge_loss(learning)));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return step % 5 == 0 ? -0.1 : 2.0; })));
}

TEST_CASE("what an operator can give for its predictions bounds what is blamed on a sign", "[rules][negative-loss]") {
  const Outcome outcome = judge("negative-loss", SyntheticRun(), 40, [](std::int64_t) { return -50; });
  CHECK(is_healthy(outcome));
}

TEST_CASE("losses whose lowest value is not known are not judged", "[rules][negative-loss]") {
  CHECK(is_not_evaluated(judge_loss(negated, "", 40, "op=kl_div prediction=64x10:float32 target=64x10:float32")));
  CHECK(is_not_evaluated(judge_loss(negated, "", 9)));
}
