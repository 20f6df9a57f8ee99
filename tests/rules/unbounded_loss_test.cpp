#include <cmath>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const std::string kRule = "unbounded-loss";

double ever_faster(std::int64_t step) { return 2 - 0.5 * static_cast<double>(step * step); }

Outcome judge_loss(const Loss& loss, std::size_t records = 60, const std::string& kind = "") {
  SyntheticRun run;
  run.run.info.loss_kind = kind;
  return judge(kRule, run, records, loss);
}

/// From `start` to `end`, ever more slowly.
Loss approaching(double start, double end) {
  return [=](std::int64_t step) { return end + (start - end) * std::exp(-static_cast<double>(step) / 100); };
}

}  // namespace

TEST_CASE("a loss that falls ever faster far below zero has no lowest value", "[rules][unbounded-loss]") {
  const Outcome outcome = judge_loss(ever_faster);
  REQUIRE(is(outcome, Severity::kError));
  // The start is 2, the limit -2,000: beyond step 63.
  CHECK(first_finding(outcome).first_step == 70);
  CHECK(recommends(first_finding(outcome), "bound-loss-terms"));
  CHECK(is(judge_loss([](std::int64_t step) { return 1 - 20 * std::pow(step, 1.1); }), Severity::kError));
  // What follows when numbers overflow does not take it back.
  CHECK(is(judge_loss([](std::int64_t step) { return step < 300 ? ever_faster(step) : -HUGE_VAL; }), Severity::kError));
}

TEST_CASE("a loss that slows down, comes back or is not deep is bounded", "[rules][unbounded-loss]") {
  CHECK(is_healthy(judge_loss(approaching(2, -1e5))));
  CHECK(is_healthy(judge_loss(approaching(2e4, -2e5))));
  CHECK(is_healthy(judge_loss(learning)));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return 2 - 2 * static_cast<double>(step); })));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return 1e3 - 0.5 * static_cast<double>(step * step); })));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return step < 300 ? ever_faster(step) : 0.5; })));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return -ever_faster(step); })));
  CHECK(is_healthy(judge_loss([](std::int64_t step) { return step < nth_step(59) ? 2.0 : -1e6; })));
}

TEST_CASE("a game's or a policy's loss may be anything", "[rules][unbounded-loss]") {
  CHECK(is_healthy(judge_loss(ever_faster, 60, "adversarial")));
  CHECK(is_healthy(judge_loss(ever_faster, 60, "reinforcement")));
  CHECK(is(judge_loss(ever_faster, 60, "density"), Severity::kError));
  CHECK(is_not_evaluated(judge_loss(learning, 19)));
}
