#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gradhealth/ranks.h>

#include "rules/loss_cases.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

SyntheticRun run_of(std::int64_t ranks) {
  SyntheticRun run;
  announce_ranks(ranks, run.run);
  return run;
}

/// Equal weights; losses and norms that differ by a tenth, as those of other samples do.
class Replicas {
 public:
  explicit Replicas(std::size_t ranks) : rows_(ranks) {}

  std::function<void(std::vector<RankRow>&, std::int64_t step)> fault;

  void operator()(StepRecord& record) {
    std::normal_distribution<double> noise(1, 0.1);
    for (RankRow& row : rows_) {
      row = rank_row(record);
      row.loss *= noise(generator_);
      row.gradient_norm = reduced ? row.gradient_norm : row.gradient_norm * noise(generator_);
      row.fingerprints.assign(10, static_cast<float>(record.step));
    }
    if (fault) fault(rows_, record.step);
    for (std::size_t rank = 0; rank < rows_.size(); ++rank) add_rank(rank, rows_[rank], rows_.front(), record);
  }

  bool reduced = true;

 private:
  std::vector<RankRow> rows_;
  std::mt19937 generator_{3};
};

}  // namespace

TEST_CASE("equal replicas are healthy, and one process alone is not judged",
          "[rules][replica-desync][rank-divergence]") {
  for (const char* rule : {"replica-desync", "rank-divergence"}) {
    INFO(rule);
    CHECK(is_not_evaluated(judge(rule, SyntheticRun(), 60, learning)));
    for (const std::size_t ranks : {2, 3, 8}) {
      for (const bool reduced : {true, false}) {
        Replicas replicas(ranks);
        replicas.reduced = reduced;
        CHECK(is_healthy(judge(rule, run_of(static_cast<std::int64_t>(ranks)), 60, learning, replicas)));
      }
    }
    CHECK(is_not_evaluated(judge(rule, run_of(3), 1, learning, Replicas(3))));
  }
}

TEST_CASE("weights that differ at two steps are an error, with its ranks and parameters", "[rules][replica-desync]") {
  Replicas replicas(4);
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step >= 12) rows[2].fingerprints[3] += 1;
  };
  const Outcome outcome = judge("replica-desync", run_of(4), 60, learning, replicas);
  REQUIRE(is(outcome, Severity::kError));
  const Finding& finding = first_finding(outcome);
  CHECK(finding.first_step == 12);
  CHECK(finding.subject.name == run_of(4).run.of(Axis::kParameter)[3].name);
  CHECK(finding.message.find("rank 2 holds other weights than rank 0") != std::string::npos);
  CHECK(recommends(finding, "broadcast-parameters"));

  Replicas once(4);
  once.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step == 12) rows[2].fingerprints[3] += 1;
  };
  CHECK(is_healthy(judge("replica-desync", run_of(4), 60, learning, once)));
}

TEST_CASE("if all others are alike it is rank 0 that differs", "[rules][replica-desync]") {
  Replicas replicas(4);
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t) { rows[0].fingerprints[0] += 1; };
  const Outcome outcome = judge("replica-desync", run_of(4), 60, learning, replicas);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).message.find("rank 0 holds other weights than the rest") != std::string::npos);
}

TEST_CASE("gradients that differ, too, ask for a reduction first", "[rules][replica-desync]") {
  Replicas replicas(3);
  replicas.reduced = false;
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step > 0) rows[1].fingerprints.assign(10, -1.0F);
  };
  const Outcome outcome = judge("replica-desync", run_of(3), 60, learning, replicas);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).recommendations.front().id == "reduce-gradients");
}

TEST_CASE("replicas that are averaged now and then are an information", "[rules][replica-desync]") {
  Replicas replicas(3);
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step % 4 != 0) rows[1].fingerprints[0] += 1;
  };
  CHECK(is(judge("replica-desync", run_of(3), 60, learning, replicas), Severity::kInfo));
}

TEST_CASE("a loss that is not finite on one rank is that rank's, on all of them nobody's", "[rules][rank-divergence]") {
  Replicas replicas(3);
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step < 15) return;
    for (RankRow& row : rows) row.nonfinite = step == 15 ? 1 : 2;  // Reduced gradients are everybody's.
    rows[1].nonfinite = 2;
    rows[1].loss = NAN;
  };
  const Outcome outcome = judge("rank-divergence", run_of(3), 60, learning, replicas);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).subject.name == "rank 1");
  CHECK(first_finding(outcome).first_step == 15);

  Replicas all(3);
  all.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
    if (step >= 15)
      for (RankRow& row : rows) row.nonfinite = 2;
  };
  CHECK(is_healthy(judge("rank-divergence", run_of(3), 60, learning, all)));
}

TEST_CASE("a rank whose loss lies apart for long is a warning, for one step it is not", "[rules][rank-divergence]") {
  const auto factor = [](double by, bool lasting) {
    Replicas replicas(4);
    replicas.fault = [by, lasting](std::vector<RankRow>& rows, std::int64_t step) {
      if (lasting || step == 50) rows[3].loss *= by;
    };
    return judge("rank-divergence", run_of(4), 80, learning, replicas);
  };
  const Outcome outcome = factor(3, true);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).subject.name == "rank 3");
  CHECK(recommends(first_finding(outcome), "look-at-rank-data"));
  CHECK(is_healthy(factor(1.15, true)));
  CHECK(is_healthy(factor(30, false)));
}

TEST_CASE("of two ranks that lie apart none is named alone", "[rules][rank-divergence]") {
  Replicas replicas(2);
  replicas.fault = [](std::vector<RankRow>& rows, std::int64_t) { rows[1].loss *= 6; };
  const Outcome outcome = judge("rank-divergence", run_of(2), 80, learning, replicas);
  REQUIRE(is(outcome, Severity::kWarning));
  CHECK(first_finding(outcome).message.find("of the two ranks") != std::string::npos);
}

TEST_CASE("a rank that is not seen any more is an error", "[rules][rank-divergence]") {
  const auto lost = [](double seconds_a_step) {
    Replicas replicas(3);
    replicas.fault = [](std::vector<RankRow>& rows, std::int64_t step) {
      if (step >= 20) rows[2].present = false;
    };
    return judge("rank-divergence", run_of(3), 60, learning, [replicas, seconds_a_step](StepRecord& record) mutable {
      record.wall_time = seconds_a_step * static_cast<double>(record.step);
      replicas(record);
    });
  };
  const Outcome outcome = lost(1);
  REQUIRE(is(outcome, Severity::kError));
  CHECK(first_finding(outcome).subject.name == "rank 2");
  CHECK(recommends(first_finding(outcome), "look-at-process"));
  CHECK(is_healthy(lost(0.001)));  // Its file may be a moment behind.
}

TEST_CASE("a fingerprint shows any change of any value", "[ranks]") {
  std::vector<double> values{1.0, -2.0, 0.5, 0.0};
  const float before = fingerprint(values.data(), values.size());
  CHECK(fingerprint(values.data(), values.size()) == before);
  std::swap(values[0], values[1]);
  CHECK(fingerprint(values.data(), values.size()) != before);
  std::swap(values[0], values[1]);
  values[3] = -0.0;
  CHECK(fingerprint(values.data(), values.size()) != before);
  values[3] = 0;
  values[2] = std::nextafter(0.5, 1.0);
  CHECK(fingerprint(values.data(), values.size()) != before);
  CHECK(before < 16777216.0F);
}
