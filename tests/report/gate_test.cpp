#include <gradhealth/report.h>

#include "report/sample.h"
#include "support/catch.h"

namespace gradhealth {

TEST_CASE("the worst model decides the verdict", "[report]") {
  CHECK(verdict(sample::healthy()) == Verdict::kHealthy);
  CHECK(verdict(sample::unhealthy()) == Verdict::kUnhealthy);
  CHECK(verdict(sample::adversarial()) == Verdict::kUnhealthy);
  CHECK(verdict(std::vector<Report>{sample::healthy(), sample::empty()}) == Verdict::kUndecided);
}

TEST_CASE("nothing seen, or not to the end, is never called healthy", "[report]") {
  CHECK(verdict(Report{}) == Verdict::kUndecided);
  CHECK(verdict(std::vector<Report>{}) == Verdict::kUndecided);
  CHECK(verdict(sample::empty()) == Verdict::kUndecided);
  Report unfinished = sample::healthy();
  unfinished.models[0].finished = false;
  CHECK(verdict(unfinished) == Verdict::kUndecided);
  Report no_steps = sample::healthy();
  no_steps.models[0].diagnosis.steps = 0;
  CHECK(verdict(no_steps) == Verdict::kUndecided);
}

TEST_CASE("the gate fails on findings of the severity asked for, consequences included", "[report]") {
  GateOptions options;
  CHECK(gate({sample::healthy()}, options) == GateOutcome::kPass);
  CHECK(gate({sample::healthy(), sample::unhealthy()}, options) == GateOutcome::kFail);

  Report warning = sample::healthy();
  DiagnosedFinding root, consequence;
  root.finding.severity = Severity::kInfo;
  consequence.finding.severity = Severity::kWarning;
  root.consequences = {consequence};
  warning.models[0].diagnosis.roots = {root};
  CHECK(gate({warning}, options) == GateOutcome::kPass);
  options.fail_on = Severity::kWarning;
  CHECK(gate({warning}, options) == GateOutcome::kFail);
  warning.models[0].diagnosis.roots[0].consequences.clear();
  CHECK(gate({warning}, options) == GateOutcome::kPass);
  options.fail_on = Severity::kInfo;
  CHECK(gate({warning}, options) == GateOutcome::kFail);
}

TEST_CASE("the gate passes undecided and incomplete runs only when that is allowed", "[report]") {
  CHECK(gate({}, {}) == GateOutcome::kCannotJudge);
  CHECK(gate({Report{}}, {}) == GateOutcome::kCannotJudge);
  CHECK(gate({sample::empty()}, {}) == GateOutcome::kCannotJudge);
  CHECK(gate({sample::empty()}, {Severity::kError, true, false}) == GateOutcome::kPass);
  CHECK(gate({sample::empty()}, {Severity::kError, false, true}) == GateOutcome::kCannotJudge);

  Report unfinished = sample::healthy();
  unfinished.models[0].finished = false;
  CHECK(gate({unfinished}, {}) == GateOutcome::kCannotJudge);
  CHECK(gate({unfinished}, {Severity::kError, true, false}) == GateOutcome::kCannotJudge);
  CHECK(gate({unfinished}, {Severity::kError, false, true}) == GateOutcome::kPass);
}

TEST_CASE("findings outweigh that a run could not be judged", "[report]") {
  CHECK(gate({sample::empty(), sample::unhealthy()}, {}) == GateOutcome::kFail);
  CHECK(gate({sample::adversarial()}, {}) == GateOutcome::kFail);
}

}  // namespace gradhealth
