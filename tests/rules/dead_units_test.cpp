#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

double flat(std::int64_t) { return 2.3; }

Outcome judge_dead(double dead, const Loss& loss = flat, const SyntheticOptions& options = {}) {
  return judge("dead-units", SyntheticRun(options), 40, loss, [dead](StepRecord& record) {
    if (record.step >= 19) record.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(1), dead);
    if (record.step >= 7 && dead > 0.5)
      record.set(Quantity::kActivationZeroFraction, SyntheticRun::relu(1), (1 + dead) / 2);
  });
}

}  // namespace

TEST_CASE("half of a layer dead is a warning, nine tenths are an error", "[rules][dead-units]") {
  CHECK(is_healthy(judge_dead(0.49)));
  CHECK(is(judge_dead(0.51), Severity::kWarning));
  CHECK(is(judge_dead(0.89), Severity::kWarning));
  CHECK(is(judge_dead(0.91), Severity::kError));
}

TEST_CASE("dead units are dated to when the zeros came", "[rules][dead-units]") {
  const Outcome outcome = judge_dead(0.95);
  CHECK(first_finding(outcome).first_step == 7);
  CHECK(first_finding(outcome).subject.name == "fc1:relu");
  CHECK(first_finding(outcome).subject.module == "fc1");
  CHECK(recommends(first_finding(outcome), "he-init"));
}

TEST_CASE("a layer of nothing but zeros is dead after ten recorded steps", "[rules][dead-units]") {
  const auto after = [](std::size_t records) {
    return judge("dead-units", SyntheticRun(), records, flat, [](StepRecord& record) {
      if (record.step >= 3) record.set(Quantity::kActivationZeroFraction, SyntheticRun::relu(2), 1);
    });
  };
  CHECK(is_not_evaluated(after(12)));
  CHECK(is(after(13), Severity::kError));
  CHECK(first_finding(after(13)).first_step == 3);
}

TEST_CASE("operators that give no exact zeros are not judged", "[rules][dead-units]") {
  SyntheticOptions tanh;
  tanh.activation = "tanh";
  CHECK(is_not_evaluated(judge_dead(0.99, flat, tanh)));
  SyntheticOptions in_place;
  in_place.activation = "aten::relu_";
  CHECK(is(judge_dead(0.99, flat, in_place), Severity::kError));
}

TEST_CASE("a net that learns well has units to spare", "[rules][dead-units]") {
  CHECK(is(judge_dead(0.6, learning), Severity::kInfo));
  CHECK(is(judge_dead(0.95, learning), Severity::kError));
}

TEST_CASE("many dead layers give a bounded number of findings, the worst first", "[rules][dead-units]") {
  SyntheticOptions deep;
  deep.layers = 20;
  const Outcome outcome = judge("dead-units", SyntheticRun(deep), 30, flat, [](StepRecord& record) {
    for (std::size_t layer = 0; layer < 19; ++layer)
      record.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(layer), layer == 18 ? 0.95 : 0.6);
  });
  const auto& findings = std::get<Unhealthy>(outcome).findings;
  CHECK(findings.size() == 8);
  CHECK(findings[0].subject.name == "fc18:relu");
  CHECK(findings[7].message.find("11 more") != std::string::npos);
}

TEST_CASE("a layer that first runs late is judged like the others", "[rules][dead-units]") {
  SyntheticRun run;
  const auto judge = find_rule(catalogue(), "dead-units")->make_judge({});
  for (std::int64_t step = 0; step < 60; ++step) {
    if (step == 30) run.run.of(Axis::kActivation).push_back({"late:relu", "late", "relu", "", "float32", 32});
    StepRecord record = run.step(step, 2.3);
    if (step >= 50) record.set(Quantity::kActivationDeadFraction, 7, 1);
    judge->observe(run.run, record);
  }
  CHECK(first_finding(judge->outcome()).subject.name == "late:relu");
}

TEST_CASE("a net that blew up at first and learns well now has units to spare", "[rules][dead-units]") {
  const auto judged = [](double end) {
    const auto wild = [=](std::int64_t step) { return step < 20 ? (step % 3 == 0 ? 30 : 10.0) : end; };
    return judge("dead-units", SyntheticRun(), 60, wild, [](StepRecord& record) {
      if (record.step >= 19) record.set(Quantity::kActivationDeadFraction, SyntheticRun::relu(1), 0.6);
    });
  };
  CHECK(is(judged(0.03), Severity::kInfo));
  CHECK(is(judged(40), Severity::kWarning));
}
