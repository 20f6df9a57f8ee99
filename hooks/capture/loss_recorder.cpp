#include "hooks/capture/loss_recorder.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace gradhealth::hooks {
namespace {

/// A trainer that makes every step look different shall not fill the file.
constexpr std::size_t kMostEvents = 64;

/// In nats; nothing of no counts.
std::optional<double> entropy(const std::vector<std::int64_t>& counts) {
  double total = 0;
  double sum = 0;
  for (const std::int64_t count : counts) {
    if (count == 0) continue;
    const double n = static_cast<double>(count);
    total += n;
    sum += n * std::log(n);
  }
  if (total == 0) return std::nullopt;
  return std::max(std::log(total) - sum / total, 0.0);
}

void count(const std::vector<std::int32_t>& classes, std::vector<std::int64_t>& counts) {
  for (const std::int32_t index : classes) {
    const auto place = static_cast<std::size_t>(index);
    if (place >= counts.size()) counts.resize(place + 1);
    ++counts[place];
  }
}

/// The step's loss: the first named operator, otherwise the first difference that became one.
const Comparison* loss_among(const std::vector<Comparison>& comparisons, const TrainingCalls& training) {
  const Comparison* by_hand = nullptr;
  for (const Comparison& comparison : comparisons) {
    if (!training.has(comparison.call)) continue;
    if (!comparison.by_hand) return &comparison;
    if (!by_hand && comparison.reduced && comparison.counts) by_hand = &comparison;
  }
  return by_hand;
}

TargetSums pooled(const std::vector<const TargetSums*>& all) {
  TargetSums pool;
  for (const TargetSums* one : all) {
    pool.floating = one->floating;
    pool.values += one->values;
    pool.classes.insert(pool.classes.end(), one->classes.begin(), one->classes.end());
  }
  return pool;
}

void record_predictions(const TableSums& predictions, StepRecord& row) {
  const ValueSums all = predictions.all();
  if (all.count() == 0) return;
  row.set(Quantity::kPredictionMean, all.mean());
  row.set(Quantity::kPredictionStd, all.std());
  row.set(Quantity::kPredictionMin, all.min());
  row.set(Quantity::kPredictionMax, all.max());
  if (const std::optional<double> spread = predictions.spread()) row.set(Quantity::kPredictionSpread, *spread);
}

void record_modes(const std::vector<Mode>& modes, const TrainingCalls& training, StepRecord& row) {
  double norms[2] = {};
  double dropouts[2] = {};
  for (const Mode& mode : modes)
    if (training.has(mode.call)) ++(mode.kind == Mode::Kind::kNorm ? norms : dropouts)[mode.training ? 1 : 0];
  if (modes.empty()) return;
  row.set(Quantity::kNormsTraining, norms[1]);
  row.set(Quantity::kNormsEvaluation, norms[0]);
  row.set(Quantity::kDropoutsTraining, dropouts[1]);
  row.set(Quantity::kDropoutsEvaluation, dropouts[0]);
}

void record_evaluation(const EvaluationSums& sums, StepRecord& row) {
  if (sums.passes == 0) return;
  row.set(Quantity::kEvalSamples, static_cast<double>(sums.samples));
  row.set(Quantity::kEvalNormsTraining, static_cast<double>(sums.norms_training));
  row.set(Quantity::kEvalDropoutsTraining, static_cast<double>(sums.dropouts_training));
  if (sums.values == 0) return;
  const double count = static_cast<double>(sums.values);
  const double mean = sums.sum / count;
  row.set(Quantity::kEvalInputMean, mean);
  row.set(Quantity::kEvalInputStd, std::sqrt(std::max(sums.sum_squares / count - mean * mean, 0.0)));
}

}  // namespace

bool LossRecorder::is_new(const std::string& key) { return told_.size() < kMostEvents && told_.insert(key).second; }

void LossRecorder::tell(const Comparison& loss, const TrainingCalls& training, StepRecord& row) {
  const std::string subject = loss.is_output ? training.name(static_cast<std::size_t>(loss.call)) : "";
  if (!is_new("loss-operator " + subject + " " + loss.key + " " + loss.produced_by)) return;
  std::string text = "op=" + loss.op + " prediction=" + loss.prediction + " target=" + loss.target;
  if (!loss.reduction.empty()) text += " reduction=" + loss.reduction;
  if (!loss.produced_by.empty()) text += " produced_by=" + loss.produced_by;
  row.events.push_back({row.step, "loss-operator", subject, text});
}

void LossRecorder::tell(const OperatorPattern& pattern, const TrainingCalls& training, StepRecord& row) {
  const std::string& subject = training.name(static_cast<std::size_t>(pattern.call));
  if (!is_new("operator-pattern " + subject + " " + pattern.key)) return;
  std::string text = "pattern=" + pattern.pattern + " op=" + pattern.op + " left=" + pattern.left;
  if (!pattern.right.empty()) text += " right=" + pattern.right;
  text += " output=" + pattern.output;
  if (pattern.along >= 0) text += " along=" + std::to_string(pattern.along);
  row.events.push_back({row.step, "operator-pattern", subject, text});
}

void LossRecorder::record_targets(const TargetSums& targets, std::int64_t classes, StepRecord& row) {
  if (classes > 0) row.set(Quantity::kTargetClasses, static_cast<double>(classes));
  if (targets.values.count() == 0) return;
  row.set(Quantity::kTargetMin, targets.values.min());
  row.set(Quantity::kTargetMax, targets.values.max());
  if (targets.floating) {
    row.set(Quantity::kTargetMean, targets.values.mean());
    row.set(Quantity::kTargetStd, targets.values.std());
  }
  if (targets.classes.empty()) return;
  std::vector<std::int64_t> in_batch;
  count(targets.classes, in_batch);
  count(targets.classes, class_counts_);
  if (const std::optional<double> nats = entropy(in_batch)) row.set(Quantity::kTargetBatchEntropy, *nats);
  if (const std::optional<double> nats = entropy(class_counts_)) row.set(Quantity::kTargetEntropy, *nats);
}

void LossRecorder::record(const StepFacts& facts, const std::vector<ActivationCall>& calls,
                          const TrainingCalls& training, StepRecord& row) {
  record_modes(facts.modes, training, row);
  record_evaluation(facts.evaluation, row);
  const Comparison* loss = loss_among(facts.comparisons, training);
  if (!calls.empty()) loss_is_named_ = loss && !loss->by_hand;
  std::vector<const TargetSums*> targets;
  if (loss) {
    TableSums predictions;
    for (const Comparison& other : facts.comparisons) {
      if (!training.has(other.call)) continue;
      const bool same = other.key == loss->key && other.reduced >= loss->reduced;
      if (same && other.target_sums) targets.push_back(&*other.target_sums);
      if (same && other.prediction_sums) predictions += *other.prediction_sums;
      if (other.counts && other.by_hand == loss->by_hand && (!other.by_hand || other.reduced))
        tell(other, training, row);
    }
    record_predictions(predictions, row);
  }
  if (!facts.given_targets.empty()) targets.clear();
  for (const TargetSums& given : facts.given_targets) targets.push_back(&given);
  record_targets(pooled(targets), loss ? loss->classes : 0, row);
  for (const OperatorPattern& pattern : facts.patterns) {
    if (!training.has(pattern.call)) continue;
    if (pattern.needs_loss &&
        (pattern.comparison < 0 || !facts.comparisons[static_cast<std::size_t>(pattern.comparison)].reduced))
      continue;
    tell(pattern, training, row);
  }
}

}  // namespace gradhealth::hooks
