#include <cmath>
#include <optional>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

/// Weight matrices keep this share of their norm from step 10 on.
Outcome judge_decay(double share, const Loss& loss = flat, std::optional<double> decay = 0.5,
                    std::size_t records = 60) {
  SyntheticOptions options;
  options.noise = 0;
  SyntheticRun run(options);
  run.run.info.weight_decay = decay;
  return judge("excessive-weight-decay", run, records, loss, [share](StepRecord& record) {
    if (record.step >= 10)
      for (std::size_t layer = 0; layer < 4; ++layer)
        record.set(Quantity::kWeightNorm, SyntheticRun::weight(layer), 5 * share);
  });
}

}  // namespace

TEST_CASE("weights that decay to nothing while the loss stands still are an error", "[rules][excessive-weight-decay]") {
  const Outcome outcome = judge_decay(0.05);
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 10);
  CHECK(recommends(first_finding(outcome), "lower-weight-decay"));
  CHECK(first_finding(outcome).recommendations[0].values[0].second[0] == 1e-4);
}

TEST_CASE("the share of its norm that a weight has kept decides", "[rules][excessive-weight-decay]") {
  CHECK(is(judge_decay(0.29), Severity::kError));
  CHECK(is_healthy(judge_decay(0.31)));
}

TEST_CASE("a loss that falls, or no decay, is no fault of it", "[rules][excessive-weight-decay]") {
  CHECK(is_healthy(judge_decay(0.05, learning)));
  CHECK(is_healthy(judge_decay(0.05, flat, 0)));
  CHECK(is_not_evaluated(judge_decay(0.05, flat, std::nullopt)));
  CHECK(is_not_evaluated(judge_decay(1, flat, 0.5, 19)));
}
