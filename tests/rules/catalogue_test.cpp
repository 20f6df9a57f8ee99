#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>
#include <string>

#include <gradhealth/errors.h>
#include <gradhealth/rules.h>

#include "rules/support/recommendations.h"
#include "support/advice_collector.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;

namespace {

bool is_kebab_case(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool brackets_balance(const std::string& code) {
  std::string open;
  for (const char c : code) {
    if (c == '(' || c == '[' || c == '{') open.push_back(c);
    if (c != ')' && c != ']' && c != '}') continue;
    const char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (open.empty() || open.back() != wanted) return false;
    open.pop_back();
  }
  return open.empty();
}

/// A plain chain of linear layers with ReLU in single precision, trained by SGD without clipping or probes.
bool needs_what_the_synthetic_run_lacks(const std::string& rule) {
  static const std::set<std::string> rules{
      "adam-epsilon-dominates",   // Adam
      "always-clipping",          // clip_grad_norm()
      "attention-logit-growth",   // a softmax inside the model
      "batchnorm-statistics",     // the gap of running statistics
      "exploding-activation",     // four hidden layers
      "half-precision-range",     // float16
      "missing-warmup",           // Adam
      "overfitting",              // a validation loss
      "rank-divergence",          // several ranks
      "replica-desync",           // several ranks
      "saturated-activation",     // sigmoid or tanh
      "target-out-of-range",      // a binary loss
      "unmasked-padding",         // an embedding and attention
      "unnormalized-target",      // floating-point targets
      "unstable-learning-rate",   // curvature
      "update-lost-to-rounding",  // float16 or bfloat16 weights
      "vanishing-activation",     // four hidden layers
  };
  return rules.count(rule) > 0;
}

/// The wreck shows nothing of these: what they look at is as in a healthy run.
bool is_silent_about_the_wreck(const std::string& rule) {
  static const std::set<std::string> rules{
      "accumulating-gradient",
      "ascending-step",
      "broadcast-target",
      "collapsed-output",
      "constant-input",
      "constant-target",
      "deep-narrow-network",
      "double-normalized-input",
      "double-softmax",
      "excessive-weight-decay",
      "gradient-noise",
      "growing-graph",
      "growing-weight",
      "initial-loss",
      "input-shift",
      "jacobian-growth",
      "loop-order",
      "loss-spike",
      "negative-loss",
      "nll-without-log-softmax",
      "no-better-than-constant",
      "no-gradient",
      "nonfinite-buffer",
      "nonfinite-optimizer-state",
      "ordered-batches",
      "oscillating-loss",
      "output-range-mismatch",
      "parameter-not-optimized",
      "plateaued-loss",
      "poor-initialization",
      "repeated-batch",
      "softmax-over-one-unit",
      "softmax-wrong-dimension",
      "sum-reduced-loss",
      "symmetric-weight",
      "train-mode-in-eval",
      "unbounded-loss",
      "unregistered-parameter",
      "update-too-large",
      "update-too-small",
      "vanished-learning-rate",
      "vanishing-gradient",
      "wrong-mode",
      "zero-gradient",
  };
  return rules.count(rule) > 0;
}

}  // namespace

TEST_CASE("the catalogue is sorted, named in kebab-case and has a file for every rule", "[rules]") {
  std::multiset<std::string> files;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(std::string(GRADHEALTH_SOURCE_DIR) + "/lib/rules"))
    files.insert(entry.path().filename().string());
  std::string before;
  for (const Rule& rule : catalogue()) {
    CAPTURE(rule.info.id);
    CHECK(is_kebab_case(rule.info.id));
    CHECK(before < rule.info.id);
    before = rule.info.id;
    std::string file = rule.info.id;
    std::replace(file.begin(), file.end(), '-', '_');
    CHECK(files.count(file + ".cpp") == 1);
  }
  CHECK(catalogue().size() == 72);
  CHECK(find_rule(catalogue(), "dead-units") != nullptr);
  CHECK(find_rule(catalogue(), "dead-unit") == nullptr);
}

TEST_CASE("every rule is documented, its options too, and its effects are rules", "[rules]") {
  for (const Rule& rule : catalogue()) {
    CAPTURE(rule.info.id);
    for (const std::string& text : {rule.info.title, rule.info.meaning, rule.info.method, rule.info.limits})
      CHECK_FALSE(text.empty());
    CHECK_FALSE(rule.info.references.empty());
    std::set<std::string> names;
    for (const OptionInfo& option : rule.info.options) {
      CAPTURE(option.name);
      CHECK(is_kebab_case(option.name));
      CHECK(names.insert(option.name).second);
      CHECK_FALSE(option.meaning.empty());
      CHECK_FALSE(option.source.empty());
      CHECK_NOTHROW(rule.make_judge({{option.name, option.default_value}}));
    }
    for (const Effect& effect : rule.info.effects) {
      CAPTURE(effect.rule);
      CHECK(find_rule(catalogue(), effect.rule) != nullptr);
      CHECK(effect.rule != rule.info.id);
    }
    CHECK_THROWS_AS(rule.make_judge({{"no-such-option", 1}}), UsageError);
  }
}

TEST_CASE("a judge that has seen nothing says so, and so does one that sees empty records", "[rules]") {
  for (const Rule& rule : catalogue()) {
    CAPTURE(rule.info.id);
    const auto judge = rule.make_judge({});
    CHECK(test::is_not_evaluated(judge->outcome()));
    StepRecord record;
    for (record.step = 0; record.step < 50; ++record.step) judge->observe({}, record);
    CHECK(test::is_not_evaluated(judge->outcome()));
    CHECK_FALSE(std::get<NotEvaluated>(judge->outcome()).reason.empty());
    CHECK(judge->alarms() == 0);
  }
}

TEST_CASE("a few healthy steps are not enough to call a run healthy", "[rules]") {
  for (const Rule& rule : catalogue()) {
    CAPTURE(rule.info.id);
    CHECK(test::is_not_evaluated(test::judge(rule.info.id, test::SyntheticRun(), 4, test::learning)));
    const Outcome outcome = test::judge(rule.info.id, test::SyntheticRun(), 60, test::learning);
    if (needs_what_the_synthetic_run_lacks(rule.info.id))
      CHECK(test::is_not_evaluated(outcome));
    else
      CHECK(test::is_healthy(outcome));
  }
}

TEST_CASE("findings of a wreck are complete: evidence, advice with code, and an alarm before", "[rules]") {
  // Everything goes wrong at once, which makes every rule that can speak do so.
  for (const Rule& rule : catalogue()) {
    CAPTURE(rule.info.id);
    test::SyntheticRun run;
    const auto judge = rule.make_judge({});
    for (std::int64_t step = 0; step < 80; ++step) {
      StepRecord record = run.step(step, step < 30 ? 2.3 : 1e5 * static_cast<double>(step));
      for (std::size_t f = 0; f < 4; ++f) record.set(Quantity::kInputMean, f, 100);
      record.set(Quantity::kGradientNorm, 0, step < 30 ? 1e-7 : 1e7);
      record.set(Quantity::kGlobalGradientNorm, step < 30 ? 0.3 : 1e7);
      for (std::size_t a = 0; a < 7; ++a)
        record.set(Quantity::kActivationGradientNorm, a, std::pow(10.0, static_cast<double>(a) - 6));
      record.set(Quantity::kActivationDeadFraction, 1, 0.95);
      record.set(Quantity::kUpdateRatio, 2, 0);
      record.set(Quantity::kUpdateRatio, 0, step < 30 ? 1e-9 : 50);
      if (step == 79) {
        record.set(Quantity::kLossNonfinite, 1);
        for (const Quantity q : {Quantity::kInputNonfinite, Quantity::kActivationNonfinite,
                                 Quantity::kGradientNonfinite, Quantity::kWeightNonfinite})
          record.set(q, 0, 3);
      }
      const std::size_t alarms = judge->alarms();
      const bool was_unhealthy = std::holds_alternative<Unhealthy>(judge->outcome());
      judge->observe(run.run, record);
      if (!was_unhealthy && std::holds_alternative<Unhealthy>(judge->outcome())) CHECK(judge->alarms() > alarms);
    }
    if (is_silent_about_the_wreck(rule.info.id) || needs_what_the_synthetic_run_lacks(rule.info.id)) continue;
    const Outcome outcome = judge->outcome();
    REQUIRE(std::holds_alternative<Unhealthy>(outcome));
    test::collect_advice(outcome);
    for (const Finding& finding : std::get<Unhealthy>(outcome).findings) {
      CHECK(finding.rule == rule.info.id);
      CHECK_FALSE(finding.message.empty());
      CHECK_FALSE(finding.evidence.empty());
      CHECK(finding.first_step <= finding.last_step);
      REQUIRE_FALSE(finding.recommendations.empty());
      for (const Recommendation& advice : finding.recommendations) {
        CAPTURE(advice.code);
        CHECK(is_kebab_case(advice.id));
        CHECK_FALSE(advice.text.empty());
        CHECK_FALSE(advice.why.empty());
        CHECK_FALSE(advice.code.empty());
        CHECK(brackets_balance(advice.code));
        CHECK(advice.code.find("nan") == std::string::npos);
        CHECK(advice.code.find("inf)") == std::string::npos);
        if (advice.confidence < 0.5) CHECK(advice.text.find("guess") != std::string::npos);
      }
    }
  }
}

TEST_CASE("advice that is a guess says so", "[rules]") {
  CHECK(rules::clip_gradients(1.5, 1).text.find("guess") == std::string::npos);
  CHECK(rules::clip_gradients(std::nullopt, 1).text.find("guess") != std::string::npos);
  CHECK(rules::lower_learning_rate(0.1, 10, 0.6).code.find("set_lr(0.01)") != std::string::npos);
  CHECK(rules::lower_learning_rate(std::nullopt, 10, 0.6).code.find("get_lr() / 10.0") != std::string::npos);
}
