#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

constexpr const char* kRule = "unmasked-padding";

/// Sequences of length 12, embedded and attended to.
struct Encoder {
  SyntheticRun run;
  std::size_t embedding = 0;
  std::size_t attention = 0;
};

Encoder encoder(const std::string& attention_shape = "8x12x12") {
  Encoder made;
  std::vector<Subject>& activations = made.run.run.of(Axis::kActivation);
  made.embedding = activations.size();
  activations.push_back({"embed", "embed", "embedding", "4x12x32", "float32", 32});
  made.attention = activations.size();
  activations.push_back({"attention:softmax", "attention", "softmax", attention_shape, "float32", 12});
  return made;
}

Outcome judge_with(double padding, double masked, std::size_t records = 60, Encoder made = encoder()) {
  const auto [embedding, attention] = std::pair(made.embedding, made.attention);
  return judge(kRule, made.run, records, learning, [=](StepRecord& record) {
    if (!std::isnan(padding)) record.set(Quantity::kPaddingFraction, embedding, padding);
    if (!std::isnan(masked)) record.set(Quantity::kMaskedFraction, attention, masked);
  });
}

}  // namespace

TEST_CASE("attention that takes in padding is told with both shares", "[rules][unmasked-padding]") {
  const Outcome outcome = judge_with(0.3, 0);
  REQUIRE(is(outcome, Severity::kWarning));
  const Finding& finding = first_finding(outcome);
  CHECK(finding.subject.name == "attention:softmax");
  CHECK(finding.first_step == 0);
  REQUIRE(finding.evidence.size() == 2);
  CHECK_THAT(finding.evidence[0].observed, Catch::Matchers::WithinRel(0.3, 1e-6));
  CHECK(finding.evidence[0].subject == "embed");
  CHECK(recommends(finding, "mask-padding"));
}

TEST_CASE("a mask of the padding, or of more, is healthy", "[rules][unmasked-padding]") {
  CHECK(is_healthy(judge_with(0.3, 0.3)));
  CHECK(is_healthy(judge_with(0.3, 0.46)));  // A causal mask.
  // Near misses: a quarter of the padding, and padding of a twentieth.
  CHECK(is_healthy(judge_with(0.4, 0.101)));
  CHECK(is(judge_with(0.4, 0.099), Severity::kWarning));
  CHECK(is(judge_with(0.051, 0), Severity::kWarning));
  CHECK(is_not_evaluated(judge_with(0.049, 0)));
}

TEST_CASE("without padding, an embedding or attention there is nothing to judge", "[rules][unmasked-padding]") {
  CHECK(is_not_evaluated(judge_with(NAN, 0)));
  CHECK(is_not_evaluated(judge_with(0.3, NAN)));
  CHECK(is_not_evaluated(judge(kRule, SyntheticRun(), 60, learning)));
  CHECK(is_not_evaluated(judge_with(0.3, 0, 60, encoder("4x10"))));     // A classifier's softmax …
  CHECK(is_not_evaluated(judge_with(0.3, 0, 60, encoder("4x12x10"))));  // … also one at every position.
  CHECK(is_not_evaluated(judge_with(0.3, 0.3, 9)));
  CHECK(is_not_evaluated(judge_with(0.3, 0, 9)));
}
