#include <cmath>
#include <string>

#include <gradhealth/comparison.h>

#include "comparison/curves.h"
#include "report/sample.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

const ComparedNumber& figure(const ModelComparison& model, const std::string& what) {
  for (const ComparedNumber& each : model.figures)
    if (each.what == what) return each;
  throw std::logic_error("no figure " + what);
}

}  // namespace

TEST_CASE("a run differs in nothing from itself", "[comparison]") {
  const Comparison same = compare(sample::unhealthy(), sample::unhealthy());
  REQUIRE(same.models.size() == 1);
  CHECK(same.models[0].resolved.empty());
  CHECK(same.models[0].appeared.empty());
  CHECK(same.models[0].remaining.size() == 3);
  CHECK(same.models[0].settings.empty());
  for (const ComparedNumber& each : same.models[0].figures) CHECK(each.before == each.after);
}

TEST_CASE("findings are resolved, remain or are new by rule and subject alone", "[comparison]") {
  const Report before =
      run_with({found("dead-units", Severity::kError, "a", 3), found("loss-spike", Severity::kWarning, ""),
                found("dead-units", Severity::kWarning, "b")});
  const Report after =
      run_with({found("dead-units", Severity::kWarning, "a", 70), found("growing-weight", Severity::kInfo, "a"),
                found("dead-units", Severity::kWarning, "c")});
  const ModelComparison model = compare(before, after).models.at(0);
  REQUIRE(model.remaining.size() == 1);
  CHECK(model.remaining[0].first_step == 70);
  REQUIRE(model.resolved.size() == 2);
  CHECK(model.resolved[0].rule == "loss-spike");
  CHECK(model.resolved[1].subject.module == "b");
  REQUIRE(model.appeared.size() == 2);
  CHECK(model.appeared[0].subject.module == "c");  // The more severe one first.
  CHECK(model.appeared[1].rule == "growing-weight");
}

TEST_CASE("consequences are compared as well as roots", "[comparison]") {
  const ModelComparison model = compare(sample::unhealthy(), sample::healthy()).models.at(0);
  CHECK(model.resolved.size() == 3);
  CHECK(model.remaining.empty());
}

TEST_CASE("figures are medians, and what was not recorded is none", "[comparison]") {
  Curves curves;
  curves.loss = [](int step) { return step < 90 ? 5.0 : 1.0 + 0.1 * (step % 2); };
  Report before = run_of(curves);
  const ModelComparison model = compare(before, run_of({})).models.at(0);
  CHECK(figure(model, "first loss").before == 5.0);
  CHECK(figure(model, "final loss").before == 1.0);
  CHECK(figure(model, "lowest loss").before == 1.0);
  CHECK(figure(model, "step time (s)").before == 0.01);
  REQUIRE(model.gradient_norms.size() == 2);
  CHECK(model.gradient_norms[1].after == 0.5);

  before.models[0].plots.gradient_norm.subjects[1] = "old.bias";
  const ModelComparison other = compare(before, run_of({})).models.at(0);
  REQUIRE(other.gradient_norms.size() == 3);
  CHECK_FALSE(other.gradient_norms[1].before);
  CHECK(other.gradient_norms[2].what == "old.bias");
  CHECK_FALSE(other.gradient_norms[2].after);
}

TEST_CASE("a run that ends in NaN has no final loss", "[comparison]") {
  Curves curves;
  curves.loss = [](int step) { return step < 99 ? 1.0 : NAN; };
  CHECK_FALSE(figure(compare(run_of(curves), run_of({})).models.at(0), "final loss").before);
}

TEST_CASE("settings that differ are told, also those that only one file knows", "[comparison]") {
  Report after = run_of({});
  after.models[0].run.info.momentum = 0.9;
  after.models[0].run.info.optimizer = "Adam";
  const std::vector<ComparedSetting> settings = compare(run_of({}), after).models.at(0).settings;
  REQUIRE(settings.size() == 2);
  CHECK(settings[0].before == "SGD");
  CHECK(settings[0].after == "Adam");
  CHECK(settings[1].what == "momentum");
  CHECK(settings[1].before.empty());
  CHECK(settings[1].after == "0.9");
}

TEST_CASE("models belong together by name, two single ones by any", "[comparison]") {
  const Report two = sample::adversarial();
  CHECK(compare(two, two).models.size() == 2);
  Report renamed = two;
  renamed.models[0].run.info.name = "other";
  const Comparison partly = compare(two, renamed);
  CHECK(partly.models.size() == 1);
  REQUIRE(partly.only_after.size() == 1);
  CHECK(partly.only_after[0] == "other");
  CHECK(partly.only_before.size() == 1);
  Report named = run_of({});
  named.models[0].run.info.name = "other";
  CHECK(compare(run_of({}), named).models.size() == 1);
}
