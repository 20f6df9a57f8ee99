#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <gradhealth/run.h>

/// Replicas of one model that several processes (ranks) train, compared with each other step by step.
namespace gradhealth {

/// What is compared of one rank in one step.
struct RankRow {
  bool present = false;  ///< The rank has recorded the step.
  double loss = std::numeric_limits<double>::quiet_NaN();
  double gradient_norm = std::numeric_limits<double>::quiet_NaN();
  double nonfinite = 0;  ///< As Quantity::kRankNonfinite.
  /// By parameter, in the order of rank 0's run; NaN where it is not known.
  std::vector<float> fingerprints;
};

/// The quantities that `rank_row` looks at.
const std::vector<Quantity>& compared_quantities();
RankRow rank_row(const StepRecord& record);

/// Makes a subject of each rank, "rank 0" first.
void announce_ranks(std::int64_t world_size, Run& run);
/// Puts one rank's row into rank 0's record of the same step, beside rank 0's own. @param rank from 0.
void add_rank(std::size_t rank, const RankRow& row, const RankRow& rank0, StepRecord& record);

/// 24 bits that depend on every bit of the values, as a number that a float holds exactly.
float fingerprint(const double* values, std::size_t count);

}  // namespace gradhealth
