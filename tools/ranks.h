#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gradhealth/ranks.h>
#include <gradhealth/run.h>

#include "parts.h"

namespace gradhealth {

/// The ranks of one training, by rank; of a training in one process, that one.
using Ranks = std::vector<Parts>;

/// Puts the runs together that are ranks of one model, told by name. The rest keeps its order.
std::vector<Ranks> grouped_by_rank(std::vector<Parts> runs);

/// Whose training it is, for messages: "rank 2 of 4".
std::string rank_of(const Run& run);

/// The replicas of a training as one run: the lowest rank's, with every rank's loss and gradient norm beside it and the
/// number of ranks whose weights differ from its own. A step that the lowest rank has not recorded is left out.
class RankedRun {
 public:
  /// @param ranks must outlive this.
  explicit RankedRun(const Ranks& ranks);

  const Run& run() const { return run_; }
  /// Calls `visit` for every step in order. Memory is bounded however long the run: files are read once for each
  /// 128 MiB of what is compared.
  void for_each_step(const std::function<void(const StepRecord&)>& visit) const;

 private:
  /// What has been compared of some steps.
  struct Block;

  std::vector<std::int64_t> steps_of_first() const;
  std::size_t steps_in_block() const;
  void read(std::size_t place, Block& block) const;

  const Ranks& ranks_;
  std::vector<JoinedRun> joined_;  ///< In the places of the lowest rank's subjects.
  Run run_;
};

}  // namespace gradhealth
