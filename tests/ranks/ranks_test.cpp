#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <gradhealth/run_file.h>

#include "support/catch.h"
#include "tools/shell.h"

using nlohmann::json;

namespace {

/// Runs all ranks at once; exit codes are theirs, by rank.
std::vector<int> train(const Folder& folder, const std::string& fault, int ranks, int steps) {
  std::string command = "rm -rf run run.h5 store weights-*;";
  for (int rank = 0; rank < ranks; ++rank)
    command += fmt::format(" {{ '{}' {} {} {} . {} 2> err-{}; echo $? > code-{}; }} &", GRADHEALTH_RANK_TRAINER, fault,
                           rank, ranks, steps, rank, rank);
  folder.shell(command + " wait");
  std::vector<int> codes;
  for (int rank = 0; rank < ranks; ++rank) codes.push_back(std::stoi(read(folder / fmt::format("code-{}", rank))));
  return codes;
}

json report(const Folder& folder) { return json::parse(folder.gradhealth("report run --format json").out); }

/// The first finding of a rule, wherever it stands in the tree.
const json* find(const json& findings, const std::string& rule) {
  for (const json& finding : findings) {
    if (finding.at("rule") == rule) return &finding;
    if (const json* found = find(finding.at("consequences"), rule)) return found;
  }
  return nullptr;
}

bool passed(const json& document, const std::string& rule) {
  const json& rules = document.at("passed");
  return std::find(rules.begin(), rules.end(), rule) != rules.end();
}

}  // namespace

TEST_CASE("a healthy data-parallel training has equal replicas, live and from the files", "[ranks]") {
  const Folder folder;
  for (const std::string fault : {"healthy", "files-only"}) {
    REQUIRE(train(folder, fault, 3, 60) == std::vector<int>(3, 0));
    const std::vector<std::filesystem::path> files = gradhealth::run_files(folder / "run");
    REQUIRE(files.size() == 3);
    CHECK(files[1].filename() == "rank-1.h5");
    const gradhealth::RunReader first(files[0]);
    CHECK(first.run().info.world_size == 3);
    CHECK(gradhealth::RunReader(files[2]).run().info.rank == 2);
    std::size_t compared = 0;
    first.for_each_step([&](const gradhealth::StepRecord& row) {
      compared += row.at(gradhealth::Quantity::kRankParametersDiffering, 2) == 0;
    });
    CHECK(compared == (fault == "healthy" ? 60u : 0u));  // By the exchange, and otherwise not yet.
    const json document = report(folder);
    INFO(document.at("diagnoses").dump(1));
    CHECK(document.at("models").size() == 1);
    CHECK(document.at("models")[0].at("world_size") == 3);
    CHECK(document.at("finished") == true);
    CHECK(passed(document, "replica-desync"));
    CHECK(passed(document, "rank-divergence"));
  }
}

TEST_CASE("the monitor and its exchange leave the weights as they are", "[ranks]") {
  const Folder folder;
  REQUIRE(train(folder, "bare", 2, 40) == std::vector<int>(2, 0));
  const std::string bare = read(folder / "weights-1");
  REQUIRE_FALSE(bare.empty());
  REQUIRE(train(folder, "healthy", 2, 40) == std::vector<int>(2, 0));
  CHECK(read(folder / "weights-1") == bare);
  CHECK(read(folder / "weights-0") == bare);
}

TEST_CASE("weights that were not broadcast are found at the first steps", "[ranks]") {
  const Folder folder;
  REQUIRE(train(folder, "no-broadcast", 3, 40) == std::vector<int>(3, 0));
  CHECK(read(folder / "err-0").find("replica-desync") != std::string::npos);  // While it ran, on rank 0 …
  CHECK(read(folder / "err-1").find("replica-desync") == std::string::npos);  // … and nowhere else.
  const json document = report(folder);
  const json* found = find(document.at("diagnoses"), "replica-desync");
  REQUIRE(found);
  INFO(found->dump(1));
  CHECK(found->at("first_step") == 0);
  CHECK(found->at("severity") == "error");
  CHECK(found->at("recommendations")[0].at("id") == "broadcast-parameters");
  CHECK(found->at("message").get<std::string>().find("6 of 6 parameters") != std::string::npos);
}

TEST_CASE("a rank that does not use the reduced gradients is found, and named", "[ranks]") {
  const Folder folder;
  for (const std::string fault : {"no-reduce", "no-reduce-files-only"}) {
    REQUIRE(train(folder, fault, 2, 40) == std::vector<int>(2, 0));
    const json document = report(folder);
    const json* found = find(document.at("diagnoses"), "replica-desync");
    REQUIRE(found);
    INFO(found->dump(1));
    CHECK(found->at("first_step") == 1);  // The first update made them different.
    CHECK(found->at("message").get<std::string>().find("rank 1 holds other weights") != std::string::npos);
    CHECK(found->at("recommendations")[0].at("id") == "reduce-gradients");
    CHECK(folder.gradhealth("check run").exit_code == 1);
  }
}

TEST_CASE("a NaN in one rank's data is that rank's", "[ranks]") {
  const Folder folder;
  REQUIRE(train(folder, "nan-data", 3, 45) == std::vector<int>(3, 0));
  const json document = report(folder);
  INFO(document.at("diagnoses").dump(1));
  const json* found = find(document.at("diagnoses"), "rank-divergence");
  REQUIRE(found);
  CHECK(found->at("first_step") == 30);
  CHECK(found->at("subject_parts").at("name") == "rank 1");
  // That rank's file is judged, too, and has the cause.
  CHECK(document.at("models").size() == 2);
  const json* cause = find(document.at("diagnoses"), "nonfinite-input");
  REQUIRE(cause);
  CHECK(cause->at("subject_parts").at("model") == "rank 1 of 3");
}

TEST_CASE("one rank killed leaves the others' files whole, and is named", "[ranks]") {
  const Folder folder;
  const std::vector<int> codes = train(folder, "killed", 3, 60);
  CHECK(codes[1] == 128 + 9);
  CHECK(codes[0] == 3);  // The reduction has failed there.
  for (const int rank : {0, 1, 2}) {
    const gradhealth::RunReader file(folder / fmt::format("run/rank-{}.h5", rank));
    CHECK(file.rows() >= 29);
    CHECK(file.state() == (rank == 1 ? gradhealth::RunState::kUnfinished : gradhealth::RunState::kFinished));
  }
  const json document = report(folder);
  CHECK(document.at("finished") == false);
  const json& unfinished = document.at("models")[0].at("unfinished_ranks");
  REQUIRE(unfinished.size() == 1);
  CHECK(unfinished[0].get<std::string>().substr(0, 11) == "rank 1 of 3");
  CHECK(folder.gradhealth("check run").exit_code == 2);
}
