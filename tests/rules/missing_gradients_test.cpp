#include <cmath>
#include <string>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

/// Parameters `first` … `last` have this gradient norm from a step on; NaN: none at all.
Fault gradient(std::size_t first, std::size_t last, double norm, std::int64_t from = 0) {
  return [=](StepRecord& record) {
    if (record.step < from) return;
    for (std::size_t i = first; i <= last; ++i) {
      record.set(Quantity::kGradientNorm, i, norm);
      record.set(Quantity::kGradientNonfinite, i, std::isnan(norm) ? NAN : 0);
      if (std::isnan(norm)) record.set(Quantity::kUpdateRatio, i, 0);
    }
  };
}

Fault both(Fault a, Fault b) {
  return [=](StepRecord& record) {
    a(record);
    b(record);
  };
}

const std::vector<Finding>& findings_of(const Outcome& outcome) { return std::get<Unhealthy>(outcome).findings; }

}  // namespace

TEST_CASE("a graph that is cut behind the first layers is a warning for each of them", "[rules][no-gradient]") {
  const auto judged = [](std::size_t records, const Loss& loss) {
    return judge("no-gradient", SyntheticRun(), records, loss, gradient(0, 3, NAN));
  };
  CHECK(is_not_evaluated(judged(9, learning)));
  const Outcome outcome = judged(10, learning);
  CHECK(is(outcome, Severity::kWarning));
  REQUIRE(findings_of(outcome).size() == 2);
  CHECK(findings_of(outcome)[0].subject.module == "fc0");
  CHECK(findings_of(outcome)[1].subject.module == "fc1");
  CHECK(findings_of(outcome)[0].message.find("cut in front of fc2") != std::string::npos);
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "keep-graph"));
  CHECK(is(judged(60, flat), Severity::kWarning));  // 4 of 8 are not more than half.
}

TEST_CASE("most parameters without gradient are an error once the loss stands still", "[rules][no-gradient]") {
  const auto judged = [](std::size_t last, const Loss& loss, std::size_t records) {
    return judge("no-gradient", SyntheticRun(), records, loss, gradient(0, last, NAN));
  };
  CHECK(is(judged(4, flat, 60), Severity::kError));
  CHECK(is(judged(4, flat, 20), Severity::kWarning));
  CHECK(is(judged(4, learning, 60), Severity::kWarning));
  const Outcome all = judged(7, flat, 12);
  CHECK(is(all, Severity::kError));
  CHECK(findings_of(all).size() == 1);
}

TEST_CASE("a head that is not used is information unless the loss suffers", "[rules][no-gradient]") {
  const auto judged = [](const Loss& loss) {
    return judge("no-gradient", SyntheticRun(), 60, loss, gradient(6, 7, NAN));
  };
  CHECK(is(judged(learning), Severity::kInfo));
  CHECK(is(judged(flat), Severity::kWarning));
  CHECK(recommends(first_finding(judged(flat)), "use-in-forward"));
}

TEST_CASE("frozen, rarely used and otherwise updated parameters are healthy", "[rules][no-gradient]") {
  CHECK(is_healthy(judge("no-gradient", SyntheticRun(), 60, flat, both(gradient(0, 1, NAN), [](StepRecord& record) {
                           if (record.step > 0) return;
                           record.events.push_back({0, "frozen-parameter", "fc0.weight", "requires_grad is off"});
                           record.events.push_back({0, "frozen-parameter", "fc0.bias", "requires_grad is off"});
                         }))));
  CHECK(is_healthy(judge("no-gradient", SyntheticRun(), 60, flat, [](StepRecord& record) {
    if (record.step != 7) gradient(0, 1, NAN)(record);
  })));
  CHECK(is_healthy(judge("no-gradient", SyntheticRun(), 60, flat, both(gradient(0, 1, NAN), [](StepRecord& record) {
                           record.set(Quantity::kUpdateRatio, 0, 1e-3);
                           record.set(Quantity::kUpdateRatio, 1, 1e-3);
                         }))));
}

TEST_CASE("parameters whose gradient stays exactly zero are a warning each onset", "[rules][zero-gradient]") {
  const auto judged = [](std::size_t records, const Loss& loss, std::int64_t from) {
    return judge("zero-gradient", SyntheticRun(), records, loss, gradient(2, 3, 0, from));
  };
  CHECK(is_not_evaluated(judged(19, flat, 0)));
  const Outcome outcome = judged(20, flat, 0);
  CHECK(is(outcome, Severity::kWarning));
  CHECK(findings_of(outcome).size() == 1);
  CHECK(first_finding(outcome).subject.module == "fc1");
  CHECK(first_finding(outcome).first_step == 0);
  CHECK(recommends(first_finding(outcome), "open-gradient-path"));
  CHECK_FALSE(recommends(first_finding(outcome), "use-leaky-relu"));
  CHECK(first_finding(judged(60, flat, 40)).first_step == 40);
  CHECK(is(judged(60, learning, 0), Severity::kInfo));
}

TEST_CASE("leaky units are advised only where dead ones were seen", "[rules][zero-gradient]") {
  const auto judged = [](double dead, double zeros) {
    return judge("zero-gradient", SyntheticRun(), 60, flat, both(gradient(0, 7, 0), [=](StepRecord& record) {
                   record.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(1), dead);
                   record.set(Quantity::kActivationZeroFraction, SyntheticRun::relu(1), zeros);
                 }));
  };
  CHECK_FALSE(recommends(first_finding(judged(0.89, 0.99)), "use-leaky-relu"));
  CHECK_FALSE(recommends(first_finding(judged(NAN, NAN)), "use-leaky-relu"));
  CHECK(first_finding(judged(0.91, 0.95)).recommendations.at(0).id == "use-leaky-relu");
  CHECK(first_finding(judged(NAN, 1)).recommendations.at(0).id == "use-leaky-relu");
}

TEST_CASE("a bias without gradient beside weights with one is information from the start", "[rules][zero-gradient]") {
  const auto zero = [](std::size_t first, std::size_t last, std::size_t records) {
    return judge("zero-gradient", SyntheticRun(), records, flat, gradient(first, last, 0));
  };
  const std::size_t bias = SyntheticRun::bias(3);
  const Outcome outcome = zero(bias, bias, 20);
  REQUIRE(is(outcome, Severity::kInfo));
  CHECK(first_finding(outcome).message.find("move alike") != std::string::npos);
  CHECK(recommends(first_finding(outcome), "leave-bias"));
  CHECK(is(zero(bias, bias, 60), Severity::kInfo));
  CHECK(is(zero(bias - 1, bias, 60), Severity::kWarning));
  CHECK(is(zero(bias - 1, bias - 1, 60), Severity::kWarning));
  CHECK(is(zero(bias - 2, bias - 2, 60), Severity::kInfo));
  CHECK(is(zero(bias - 3, bias - 2, 60), Severity::kWarning));
}

TEST_CASE("no gradient anywhere is an error unless the loss is at its floor", "[rules][zero-gradient]") {
  const auto judged = [](double end) {
    return judge(
        "zero-gradient", SyntheticRun(), 60, [end](std::int64_t step) { return step < 10 ? 2.3 : end; },
        gradient(0, 7, 0, 10));
  };
  const Outcome outcome = judged(2.303);
  CHECK(is(outcome, Severity::kError));
  CHECK(findings_of(outcome).size() == 1);
  CHECK(first_finding(outcome).first_step == 10);
  CHECK(is(judged(0.5), Severity::kWarning));
  CHECK(is(judged(0.024), Severity::kWarning));
  CHECK(is_healthy(judged(0.022)));
}

TEST_CASE("zeros that pass, and a learning rate of zero, are healthy", "[rules][zero-gradient]") {
  CHECK(is_healthy(judge("zero-gradient", SyntheticRun(), 60, flat, [](StepRecord& record) {
    if (record.step == 0) gradient(0, 3, 0)(record);
    if (record.step % 180 != 0) gradient(4, 4, 0)(record);
  })));
  CHECK(is_not_evaluated(judge("zero-gradient", SyntheticRun(), 60, flat,
                               both(gradient(2, 3, 0), [](StepRecord& r) { r.set(Quantity::kLearningRate, 0); }))));
}

namespace {

Fault carried(double share, double alignment, double growth_per_step = 0) {
  return [=](StepRecord& record) {
    record.set(Quantity::kCarriedGradients, record.step == 0 ? 0 : share);
    record.set(Quantity::kGradientAlignment, alignment);
    record.set(Quantity::kGlobalGradientNorm, 0.5 * (1 + growth_per_step * static_cast<double>(record.step)));
  };
}

Outcome accumulates(std::size_t records, const Loss& loss, const Fault& fault, const std::string& kind = "") {
  SyntheticRun run;
  run.run.info.loss_kind = kind;
  return judge("accumulating-gradient", run, records, loss, fault);
}

}  // namespace

TEST_CASE("gradients that are never cleared are told from the second step on", "[rules][accumulating-gradient]") {
  CHECK(is_not_evaluated(accumulates(8, learning, carried(1, 0.9))));
  const Outcome outcome = accumulates(9, learning, carried(1, 0.9));
  CHECK(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).first_step == 1);
  CHECK(first_finding(outcome).recommendations.at(0).id == "zero-grad");
  CHECK(is(accumulates(60, flat, carried(1, 0.9)), Severity::kError));
  CHECK(is(accumulates(20, learning, carried(1, 0.9, 0.5)), Severity::kError));
}

TEST_CASE("what is carried counts from its thresholds on", "[rules][accumulating-gradient]") {
  CHECK(is_healthy(accumulates(60, flat, carried(0.89, 0.9))));
  CHECK(is(accumulates(60, flat, carried(0.91, 0.9)), Severity::kError));
  CHECK(is_healthy(accumulates(60, flat, [](StepRecord& record) {
    carried(record.step % 40 == 0 ? 0 : 1, 0.9)(record);  // Cleared now and then: accumulation over updates.
  })));
  CHECK(is(accumulates(60, learning, carried(1, 0.61)), Severity::kWarning));
  CHECK(is(accumulates(60, learning, carried(1, 0.59)), Severity::kInfo));
}

TEST_CASE("another model's backward pass between two steps is no more than information",
          "[rules][accumulating-gradient]") {
  CHECK(is(accumulates(60, flat, carried(1, 0.3), "adversarial"), Severity::kInfo));
  CHECK(is(accumulates(60, flat, carried(1, 0.3)), Severity::kInfo));
  CHECK(is(accumulates(60, flat, carried(1, NAN)), Severity::kError));
  CHECK(is_not_evaluated(accumulates(60, flat, carried(NAN, 0.9))));
}
