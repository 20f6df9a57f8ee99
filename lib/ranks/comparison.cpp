#include <gradhealth/ranks.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

namespace gradhealth {

const std::vector<Quantity>& compared_quantities() {
  static const std::vector<Quantity> quantities{Quantity::kLoss, Quantity::kLossNonfinite,
                                                Quantity::kGlobalGradientNorm, Quantity::kGradientNonfinite,
                                                Quantity::kWeightFingerprint};
  return quantities;
}

RankRow rank_row(const StepRecord& record) {
  RankRow row;
  row.present = true;
  row.loss = record.at(Quantity::kLoss);
  row.gradient_norm = record.at(Quantity::kGlobalGradientNorm);
  const std::vector<double>& counts = record.values(Quantity::kGradientNonfinite);
  if (std::any_of(counts.begin(), counts.end(), [](double count) { return count > 0; })) row.nonfinite = 1;
  if (record.at(Quantity::kLossNonfinite) > 0) row.nonfinite = 2;
  const std::vector<double>& fingerprints = record.values(Quantity::kWeightFingerprint);
  row.fingerprints.assign(fingerprints.begin(), fingerprints.end());
  return row;
}

void announce_ranks(std::int64_t world_size, Run& run) {
  std::vector<Subject>& ranks = run.of(Axis::kRank);
  while (static_cast<std::int64_t>(ranks.size()) < world_size)
    ranks.push_back({"rank " + std::to_string(ranks.size()), "", "rank", "", "", 1});
}

void add_rank(std::size_t rank, const RankRow& row, const RankRow& rank0, StepRecord& record) {
  if (!row.present) return;
  record.set(Quantity::kRankLoss, rank, row.loss);
  record.set(Quantity::kRankGradientNorm, rank, row.gradient_norm);
  record.set(Quantity::kRankNonfinite, rank, row.nonfinite);
  std::size_t compared = 0;
  std::size_t differing = 0;
  for (std::size_t i = 0; i < std::min(row.fingerprints.size(), rank0.fingerprints.size()); ++i) {
    if (std::isnan(row.fingerprints[i]) || std::isnan(rank0.fingerprints[i])) continue;
    ++compared;
    const bool differs = row.fingerprints[i] != rank0.fingerprints[i];
    differing += differs;
    const double before = record.at(Quantity::kReplicasDiffering, i);
    record.set(Quantity::kReplicasDiffering, i, (std::isnan(before) ? 0 : before) + differs);
  }
  if (compared > 0) record.set(Quantity::kRankParametersDiffering, rank, static_cast<double>(differing));
}

float fingerprint(const double* values, std::size_t count) {
  // FNV-1a over words: the order of the values counts, too.
  std::uint64_t hash = 14695981039346656037u;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t word;
    std::memcpy(&word, values + i, sizeof word);
    hash = (hash ^ word) * 1099511628211u;
    hash ^= hash >> 32;
  }
  return static_cast<float>((hash ^ (hash >> 24)) & 0xFFFFFFu);
}

}  // namespace gradhealth
