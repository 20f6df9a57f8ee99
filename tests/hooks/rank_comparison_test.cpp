#include <cmath>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <gradhealth/hooks.h>
#include <gradhealth/run.h>

#include "hooks/recording/rank_comparison.h"
#include "support/catch.h"

using namespace gradhealth;
using hooks::RankComparison;

namespace {

/// Two ranks; the other one's messages are what `other` makes of this one's. Answers come when they are let through.
class Wire final : public RankExchange {
 public:
  void start(const std::vector<double>& mine) override {
    if (fails_at == sent++) throw std::runtime_error("connection closed by peer");
    waiting.push_back({mine, other(mine)});
  }
  std::optional<std::vector<std::vector<double>>> finished() override {
    if (waiting.empty() || let_through == 0) return std::nullopt;
    --let_through;
    auto first = std::move(waiting.front());
    waiting.pop_front();
    return first;
  }

  std::function<std::vector<double>(std::vector<double>)> other = [](std::vector<double> mine) { return mine; };
  std::deque<std::vector<std::vector<double>>> waiting;
  int let_through = 1000;
  int sent = 0;
  int fails_at = -1;
};

class Fixture {
 public:
  explicit Fixture(std::int64_t rank = 0)
      : comparison(
            Ranks{2, rank, wire}, 2, 0, [](std::int64_t step) { return step < 5 || step % 10 == 0; },
            [this](StepRecord& row) { taken.push_back(row); },
            [this](const std::string& reason) { failures.push_back(reason); }) {}

  void add(std::int64_t step) {
    StepRecord row;
    row.step = step;
    row.set(Quantity::kLoss, 1.5);
    row.set(Quantity::kWeightFingerprint, 0, 7);
    row.set(Quantity::kWeightFingerprint, 1, 8);
    comparison.add(row);
  }
  std::vector<std::int64_t> steps() const {
    std::vector<std::int64_t> steps;
    for (const StepRecord& row : taken) steps.push_back(row.step);
    return steps;
  }

  std::shared_ptr<Wire> wire = std::make_shared<Wire>();
  std::vector<StepRecord> taken;
  std::vector<std::string> failures;
  RankComparison comparison;
};

using Steps = std::vector<std::int64_t>;

}  // namespace

TEST_CASE("rows get what the other rank has sent, in their order", "[ranks]") {
  Fixture f;
  f.wire->other = [](std::vector<double> message) {
    if (message.size() > 2 && message[0] == 1) message.back() = 9;  // Other weights at step 1.
    return message;
  };
  for (const std::int64_t step : {0, 1, 2}) f.add(step);
  REQUIRE(f.steps() == Steps{0, 1, 2});
  CHECK(f.taken[0].at(Quantity::kRankParametersDiffering, 1) == 0);
  CHECK(f.taken[1].at(Quantity::kRankParametersDiffering, 1) == 1);
  CHECK(f.taken[1].at(Quantity::kReplicasDiffering, 1) == 1);
  CHECK(f.taken[2].at(Quantity::kRankLoss, 1) == 1.5);
}

TEST_CASE("rows wait for the other ranks, and go on without them at the end", "[ranks]") {
  Fixture f;
  f.wire->let_through = 2;                                    // The greeting and step 0.
  for (const std::int64_t step : {0, 1, 7, 10}) f.add(step);  // Nobody else records step 7, which waits for 1 only.
  CHECK(f.steps() == Steps{0});
  f.wire->let_through = 1;
  f.add(11);
  CHECK(f.steps() == Steps{0, 1, 7});  // Step 10 comes after 2, 3 and 4, which this rank did not record.
  f.comparison.finish();
  CHECK(f.steps() == Steps{0, 1, 7, 10, 11});
  CHECK(std::isnan(f.taken.back().at(Quantity::kRankLoss, 1)));
}

TEST_CASE("every rank sends something for every common step, recorded or not", "[ranks]") {
  Fixture f(1);
  f.add(0);
  f.add(33);
  CHECK(f.wire->sent == 1 + 5 + 3);  // The greeting; 0 to 4; 10, 20 and 30.
  CHECK(f.steps() == Steps{0, 33});  // Only rank 0 holds rows back.
}

TEST_CASE("what goes wrong ends the comparison, says why once, and loses no row", "[ranks]") {
  const auto failure = [](Fixture& f, const Steps& steps) {
    for (const std::int64_t step : steps) f.add(step);
    CHECK(f.steps() == steps);
    REQUIRE(f.failures.size() == 1);
    return f.failures.front();
  };
  {
    Fixture f;
    f.wire->fails_at = 3;
    CHECK(failure(f, {0, 1, 2, 3}) == "connection closed by peer");
  }
  {
    Fixture f;
    f.wire->other = [](std::vector<double> message) {
      if (message.size() == 2) ++message[0];
      return message;
    };
    CHECK(failure(f, {0, 1}).find("different numbers of parameters") != std::string::npos);
  }
  {
    Fixture f;
    f.wire->other = [](std::vector<double> message) {
      if (message.size() > 2) ++message[0];
      return message;
    };
    CHECK(failure(f, {0, 1}).find("not at the same step") != std::string::npos);
  }
  {
    Fixture f;
    f.wire->let_through = 0;
    Steps steps;
    for (std::int64_t step = 0; step < 1000; step += 10) steps.push_back(step);
    CHECK(failure(f, steps).find("do not answer") != std::string::npos);
  }
}
