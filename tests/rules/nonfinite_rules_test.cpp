#include <cmath>
#include <map>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

TEST_CASE("a NaN in the data is told with its step, feature and sample", "[rules][nonfinite-input]") {
  const Outcome outcome = judge("nonfinite-input", SyntheticRun(), 30, learning, [](StepRecord& record) {
    if (record.step != 7) return;
    record.set(Quantity::kInputNonfinite, 2, 1);
    record.events.push_back({7, "nonfinite-input", "feature 2", "Sample 13 of the batch."});
  });
  CHECK(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).first_step == 7);
  CHECK(first_finding(outcome).subject.name == "feature 2");
  CHECK(first_finding(outcome).message.find("Sample 13") != std::string::npos);
}

TEST_CASE("the first bad activation in forward order names the operator", "[rules][nonfinite-activation]") {
  SyntheticOptions options;
  options.activation = "log";
  const Outcome outcome = judge("nonfinite-activation", SyntheticRun(options), 30, learning, [](StepRecord& record) {
    if (record.step < 9) return;
    for (std::size_t a = 3; a < 7; ++a) record.set(Quantity::kActivationNonfinite, a, 64);
  });
  CHECK(first_finding(outcome).subject.name == "fc1:log");
  CHECK(first_finding(outcome).first_step == 9);
  CHECK(recommends(first_finding(outcome), "use-log-softmax"));
}

TEST_CASE("a bad gradient is located where the backward pass begins to be bad", "[rules][nonfinite-gradient]") {
  const auto bad = [](double update) {
    return judge("nonfinite-gradient", SyntheticRun(), 30, learning, [update](StepRecord& record) {
      for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, record.step == 12 ? update : 1e-3);
      if (record.step != 12) return;
      for (std::size_t i = 0; i < 4; ++i) record.set(Quantity::kGradientNonfinite, i, 5);
      for (std::size_t a = 0; a < 4; ++a) record.set(Quantity::kActivationGradientNonfinite, a, 5);
    });
  };
  CHECK(is(bad(NAN), Severity::kError));
  CHECK(first_finding(bad(NAN)).subject.name == "fc1:relu");
  CHECK(first_finding(bad(NAN)).first_step == 12);
  // A trainer that skips such a step does what it should.
  CHECK(is(bad(0), Severity::kInfo));
}

TEST_CASE("bad weights name the last step at which they were good", "[rules][nonfinite-weight]") {
  const Outcome outcome = judge("nonfinite-weight", SyntheticRun(), 30, learning, [](StepRecord& record) {
    if (record.step >= 40) record.set(Quantity::kWeightNonfinite, 4, 2);
  });
  CHECK(first_finding(outcome).first_step == 40);
  CHECK(first_finding(outcome).message.find("finite at step 30") != std::string::npos);
  CHECK(recommends(first_finding(outcome), "restart-from-healthy-weights"));

  const Outcome from_start = judge("nonfinite-weight", SyntheticRun(), 1, learning,
                                   [](StepRecord& record) { record.set(Quantity::kWeightNonfinite, 0, 2); });
  CHECK(first_finding(from_start).message.find("initialisation") != std::string::npos);
}

TEST_CASE("a bad loss over finite activations blames the loss function", "[rules][nonfinite-loss]") {
  const auto bad = [](double activations) {
    return judge("nonfinite-loss", SyntheticRun(), 30, learning, [activations](StepRecord& record) {
      if (record.step != 12) return;
      record.set(Quantity::kLoss, INFINITY);
      record.set(Quantity::kLossNonfinite, 1);
      record.set(Quantity::kActivationNonfinite, 6, activations);
    });
  };
  CHECK(first_finding(bad(0)).message.find("loss function itself") != std::string::npos);
  CHECK(first_finding(bad(9)).message.find("loss function itself") == std::string::npos);
  CHECK(first_finding(bad(0)).confidence > first_finding(bad(9)).confidence);
}

TEST_CASE("a NaN that was not recorded as one is missing, not a fault", "[rules][nonfinite-loss]") {
  CHECK(is_not_evaluated(judge("nonfinite-loss", SyntheticRun(), 30, learning, [](StepRecord& record) {
    record.set(Quantity::kLoss, NAN);
    record.set(Quantity::kLossNonfinite, NAN);
  })));
}

TEST_CASE("a NaN sample is the root of everything that it ruins", "[rules][diagnosis]") {
  const Diagnosis d = diagnose(SyntheticRun(), 30, learning, [](StepRecord& record) {
    if (record.step < 7) return;
    if (record.step == 7) record.set(Quantity::kInputNonfinite, 2, 1);
    record.set(Quantity::kLoss, NAN);
    record.set(Quantity::kLossNonfinite, 1);
    for (std::size_t a = 0; a < 7; ++a) record.set(Quantity::kActivationNonfinite, a, 64);
    for (std::size_t i = 0; i < 8; ++i) {
      record.set(Quantity::kGradientNonfinite, i, 64);
      record.set(Quantity::kGradientNorm, i, NAN);
      record.set(Quantity::kUpdateRatio, i, NAN);
      if (record.step > 7) record.set(Quantity::kWeightNonfinite, i, 64);
    }
    record.set(Quantity::kGlobalGradientNorm, NAN);
  });
  REQUIRE(d.roots.size() == 1);
  CHECK(d.roots[0].finding.rule == "nonfinite-input");
  CHECK(flatten(d.roots).size() == 5);
}

TEST_CASE("the origin that the run knows is cited", "[rules][nonfinite-loss][nonfinite-gradient]") {
  const auto with = [](const char* rule, Quantity bad, const char* subject, const char* text) {
    return first_finding(judge(rule, SyntheticRun(), 30, learning,
                               [&](StepRecord& record) {
                                 if (record.step != 12) return;
                                 record.set(bad, 0, 1);
                                 record.events.push_back({12, "nonfinite-origin", subject, text});
                               }))
        .message;
  };
  CHECK(with("nonfinite-loss", Quantity::kLossNonfinite, "fc4",
             "source=operator op=log place=after:fc4 pass=forward step=12 how=traced input=8x6:float32:0:1.5:0:0:48")
            .find("made by log after fc4, in the forward pass of step 12, whose input ranged from 0 to 1.5.") !=
        std::string::npos);
  CHECK(with("nonfinite-gradient", Quantity::kGradientNonfinite, "fc4",
             "source=operator op=sqrt place=in:fc4 pass=backward step=12 how=replayed "
             "forward_input=8x6:float32:0:4:0:0:48")
            .find("made by sqrt in fc4, in the backward pass of step 12, whose forward input ranged from 0 to 4 (found "
                  "by computing the step again).") != std::string::npos);
  CHECK(with("nonfinite-activation", Quantity::kActivationNonfinite, "fc1.weight",
             "source=parameter op=addmm place=in:fc1 pass=forward step=12 how=late since=11")
            .find("The parameter fc1.weight was not finite before step 12 (operators were looked at only after step "
                  "11") != std::string::npos);
  CHECK(with("nonfinite-loss", Quantity::kLossNonfinite, "feature 2",
             "source=input op=addmm place=in:fc1 pass=forward step=12 how=traced sample=5 position=2")
            .find("from outside the model, into addmm in fc1 at step 12, first in sample 5.") != std::string::npos);
  for (const char* unknown : {"", "source=unknown step=12 how=replayed", "source=operator", "input=:::::: x== ="})
    CHECK_FALSE(with("nonfinite-loss", Quantity::kLossNonfinite, "", unknown).empty());
}

TEST_CASE("what an unguarded operator makes of finite values is no harm of large steps",
          "[rules][exploding-gradient][update-too-large][nonfinite-activation]") {
  const auto diagnosed = [](const std::string& op) {
    SyntheticRun run;
    run.run.of(Axis::kActivation)[SyntheticRun::output(3)].kind = op;
    return diagnose(
        run, 30, [](std::int64_t step) { return step < 4 ? 2.3 : NAN; },
        [=](StepRecord& record) {
          for (std::size_t i = 0; i < 8; ++i) record.set(Quantity::kUpdateRatio, i, record.step < 4 ? 1.2 : NAN);
          if (record.step == 0)
            record.events.push_back({0, "operator-pattern", "fc3", "pattern=log-of-softmax op=log"});
          if (record.step < 4) return;
          record.set(Quantity::kLossNonfinite, 1);
          record.set(Quantity::kActivationNonfinite, SyntheticRun::output(3), 3);
          record.set(Quantity::kGradientNonfinite, 0, 3);
          if (record.step == 4)
            record.events.push_back({4, "nonfinite-origin", "fc3",
                                     "source=operator op=" + op + " place=after:fc3 pass=forward step=4 how=traced"});
        });
  };
  for (const auto& [op, advice] :
       std::map<std::string, std::string>{{"log", "use-stable-loss"}, {"exp", "clamp-before-exp"}}) {
    CAPTURE(op);
    const Diagnosis guarded = diagnosed(op);
    REQUIRE(!guarded.roots.empty());
    CHECK(guarded.roots[0].finding.rule == "nonfinite-activation");
    CHECK(guarded.roots[0].finding.recommendations.at(0).id == advice);
    for (const Finding& each : flatten(guarded.roots)) CHECK(each.rule != "exploding-gradient");
  }
  const Diagnosis overflow = diagnosed("addmm");
  REQUIRE(!overflow.roots.empty());
  CHECK(overflow.roots[0].finding.rule != "nonfinite-activation");
}
