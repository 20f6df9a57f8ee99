#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

Fault event(std::int64_t step, const std::string& kind, const std::string& subject, const std::string& text) {
  return [=](StepRecord& record) {
    if (record.step == step) record.events.push_back({step, kind, subject, text});
  };
}

}  // namespace

TEST_CASE("a tensor that is not registered is a warning, an error when the loss stands still",
          "[rules][unregistered-parameter]") {
  const auto judged = [](const Loss& loss, const std::string& kind) {
    return judge("unregistered-parameter", SyntheticRun(), 60, loss,
                 event(3, kind, "fc1", "mul after fc1 reads a tensor of 64 that requires a gradient"));
  };
  const Outcome outcome = judged(learning, "unregistered-parameter");
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 3);
  CHECK(first_finding(outcome).subject.module == "fc1");
  CHECK(first_finding(outcome).message.find("mul after fc1") == 0);
  CHECK(recommends(first_finding(outcome), "register-parameter"));
  CHECK(is(judged(flat, "unregistered-parameter"), Severity::kError));
  CHECK(is_healthy(judged(flat, "added-parameter")));
  CHECK(is_not_evaluated(judge("unregistered-parameter", SyntheticRun(), 9, flat)));
}

namespace {

Outcome buffers(double at_first, double later, const std::string& name) {
  return judge("nonfinite-buffer", SyntheticRun(), 40, learning, [=](StepRecord& record) {
    record.set(Quantity::kBuffersNonfinite, record.step < 12 ? at_first : later);
    if (record.step == (at_first > 0 ? 0 : 12) && later > 0)
      record.events.push_back({record.step, "nonfinite-buffer", name, "count=2"});
  });
}

}  // namespace

TEST_CASE("a running statistic that is not finite is an error from the step on", "[rules][nonfinite-buffer]") {
  const Outcome outcome = buffers(0, 2, "bn1.running_mean");
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 12);
  CHECK(first_finding(outcome).subject.name == "bn1.running_mean");
  CHECK(first_finding(outcome).subject.module == "bn1");
  CHECK(recommends(first_finding(outcome), "reset-running-statistics"));
  CHECK(recommends(first_finding(outcome), "restart-from-checkpoint"));
  CHECK(is_healthy(buffers(0, 0, "")));
}

TEST_CASE("a mask of minus infinity is meant so, a statistic is not", "[rules][nonfinite-buffer]") {
  CHECK(is_healthy(buffers(496, 496, "attention.mask")));
  CHECK(is(buffers(496, 498, "attention.mask"), Severity::kError));
  CHECK(first_finding(buffers(2, 2, "bn1.running_var")).first_step == 0);
  CHECK(is_not_evaluated(buffers(NAN, NAN, "")));
}

namespace {

Outcome gaps(double gap, std::size_t records = 60, double batch = 64, std::int64_t from = 0) {
  SyntheticRun run;
  run.run.of(Axis::kActivation)[3].kind = "batch_norm";
  return judge("batchnorm-statistics", run, records, learning, [=](StepRecord& record) {
    record.set(Quantity::kBatchSize, batch);
    record.set(Quantity::kRunningStatisticsGap, 3, record.step < from ? 0.1 : gap);
  });
}

}  // namespace

TEST_CASE("running statistics that do not fit are a warning once they had time to settle",
          "[rules][batchnorm-statistics]") {
  const Outcome outcome = gaps(2.1);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).subject.name == "fc1:relu");
  CHECK(first_finding(outcome).recommendations.at(0).id == "raise-norm-momentum");
  CHECK(first_finding(gaps(2.1, 60, 4)).recommendations.at(0).id == "use-group-norm");
  CHECK(first_finding(gaps(2.1, 60, 64, 200)).first_step == 200);
  CHECK(first_finding(gaps(2.1, 60, 64, 200)).recommendations.at(0).id == "lower-norm-momentum");
  CHECK(is_healthy(gaps(1.9, 60, 64, 1)));
  CHECK(is_not_evaluated(gaps(2.1, 28)));        // Step 90.
  CHECK(is(gaps(2.1, 29), Severity::kWarning));  // Step 100.
  CHECK(is_healthy(gaps(2.1, 60, 64, 380)));     // Too few of the last.
  CHECK(is_not_evaluated(gaps(NAN)));
}

TEST_CASE("running statistics that were seen while they settled only are not judged", "[rules][batchnorm-statistics]") {
  const auto until = [](std::int64_t last) {
    SyntheticRun run;
    return judge("batchnorm-statistics", run, 60, learning, [=](StepRecord& record) {
      record.set(Quantity::kBatchSize, 64);
      record.set(Quantity::kRunningStatisticsGap, 3, record.step <= last ? 2.1 : NAN);
    });
  };
  CHECK(is_not_evaluated(until(19)));
  CHECK(is_not_evaluated(until(90)));
  CHECK(is(until(100), Severity::kWarning));
}

TEST_CASE("running statistics that never came near those of the batches are a warning",
          "[rules][batchnorm-statistics]") {
  const Outcome outcome = gaps(0.5);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(first_finding(outcome).recommendations.at(0).id == "raise-norm-momentum");
  CHECK(is(gaps(0.31), Severity::kWarning));
  CHECK(is_healthy(gaps(0.29)));
  CHECK(is_healthy(gaps(0.5, 60, 15)));
  CHECK(is(gaps(0.5, 60, 16), Severity::kWarning));
  CHECK(is_healthy(gaps(0.5, 38)));              // Step 190.
  CHECK(is(gaps(0.5, 39), Severity::kWarning));  // Step 200.
  CHECK(is_healthy(gaps(0.5, 60, 64, 1)));       // Once they fitted.
}
