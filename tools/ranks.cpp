#include "ranks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

namespace gradhealth {

namespace {

constexpr std::size_t kBlockBytes = 128u << 20;

const RunInfo& info_of(const Parts& parts) { return parts.front().run().info; }

std::size_t rank_number(const Parts& parts) { return static_cast<std::size_t>(info_of(parts).rank); }

}  // namespace

struct RankedRun::Block {
  std::vector<std::int64_t> steps;
  std::vector<RankRow> first;     ///< Of the lowest rank, by step.
  std::vector<StepRecord> found;  ///< What is to be added to its record, by step.
};

std::vector<Ranks> grouped_by_rank(std::vector<Parts> runs) {
  std::vector<Ranks> grouped;
  for (Parts& parts : runs) {
    const RunInfo& info = info_of(parts);
    const auto same_model = [&](const Ranks& ranks) {
      const RunInfo& other = info_of(ranks.front());
      const auto same_rank = [&](const Parts& known) { return info_of(known).rank == info.rank; };
      // A rank that is there twice belongs to another attempt.
      return info.world_size > 1 && other.world_size == info.world_size && other.name == info.name &&
             std::none_of(ranks.begin(), ranks.end(), same_rank);
    };
    const auto known = std::find_if(grouped.begin(), grouped.end(), same_model);
    if (known == grouped.end())
      grouped.emplace_back().push_back(std::move(parts));
    else
      known->push_back(std::move(parts));
  }
  for (Ranks& ranks : grouped)
    std::sort(ranks.begin(), ranks.end(),
              [](const Parts& a, const Parts& b) { return info_of(a).rank < info_of(b).rank; });
  return grouped;
}

std::string rank_of(const Run& run) { return fmt::format("rank {} of {}", run.info.rank, run.info.world_size); }

RankedRun::RankedRun(const Ranks& ranks) : ranks_(ranks) {
  joined_.reserve(ranks.size());
  joined_.emplace_back(ranks.front());
  run_ = joined_.front().run();
  if (ranks.size() == 1) return;
  announce_ranks(run_.info.world_size, run_);
  Run known;
  known.of(Axis::kParameter) = run_.of(Axis::kParameter);
  for (std::size_t i = 1; i < ranks.size(); ++i) joined_.emplace_back(ranks[i], known);
}

std::vector<std::int64_t> RankedRun::steps_of_first() const {
  std::vector<std::int64_t> steps;
  Selection selection;
  selection.quantities = {Quantity::kLossNonfinite};
  joined_.front().for_each_step([&](const StepRecord& record) { steps.push_back(record.step); }, selection);
  return steps;
}

std::size_t RankedRun::steps_in_block() const {
  // Three numbers a rank; a fingerprint and a count a parameter.
  const std::size_t step = sizeof(RankRow) + sizeof(StepRecord) + 4 * sizeof(double) * run_.of(Axis::kRank).size() +
                           (sizeof(float) + sizeof(double)) * run_.of(Axis::kParameter).size();
  return std::max<std::size_t>(kBlockBytes / step, 1);
}

/// Compares the rank at this place with the lowest one.
void RankedRun::read(std::size_t place, Block& block) const {
  const std::size_t rank = rank_number(ranks_[place]);
  Selection selection;
  selection.quantities = compared_quantities();
  selection.from_step = block.steps.front();
  selection.until_step = block.steps.back() + 1;
  std::size_t at = 0;
  joined_[place].for_each_step(
      [&](const StepRecord& record) {
        while (at < block.steps.size() && block.steps[at] < record.step) ++at;
        if (at == block.steps.size() || block.steps[at] != record.step) return;
        RankRow row = rank_row(record);
        if (place == 0) block.first[at] = row;
        add_rank(rank, row, block.first[at], block.found[at]);
      },
      selection);
}

void RankedRun::for_each_step(const std::function<void(const StepRecord&)>& visit) const {
  if (ranks_.size() == 1) return joined_.front().for_each_step(visit);
  const std::vector<std::int64_t> steps = steps_of_first();
  const std::size_t length = steps_in_block();
  StepRecord merged;
  for (std::size_t begin = 0; begin < steps.size(); begin += length) {
    const std::size_t end = std::min(begin + length, steps.size());
    Block block;
    block.steps.assign(steps.begin() + static_cast<std::ptrdiff_t>(begin),
                       steps.begin() + static_cast<std::ptrdiff_t>(end));
    block.first.resize(block.steps.size());
    block.found.resize(block.steps.size());
    for (std::size_t place = 0; place < ranks_.size(); ++place) read(place, block);
    Selection selection;
    selection.from_step = begin == 0 ? selection.from_step : block.steps.front();
    selection.until_step = block.steps.back() + 1;
    std::size_t at = 0;
    joined_.front().for_each_step(
        [&](const StepRecord& record) {
          merged = record;
          for (const QuantityInfo& quantity : quantities()) {
            if (quantity.axis != Axis::kRank && quantity.id != Quantity::kReplicasDiffering) continue;
            const std::vector<double>& values = block.found[at].values(quantity.id);
            merged.assign(quantity.id, values.data(), values.size());
          }
          ++at;
          visit(merged);
        },
        selection);
  }
}

}  // namespace gradhealth
