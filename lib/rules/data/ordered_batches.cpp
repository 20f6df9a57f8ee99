#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/loss_evidence.h"
#include "rules/support/loss_harm.h"
#include "rules/support/new_finding.h"
#include "rules/support/recommendations.h"
#include "rules/support/rule_support.h"
#include "rules/support/tally.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "ordered-batches";
constexpr double kBin = 0.02;  ///< Nats; entropies of batches are counted in bins, since the data's is known last.

class OrderedBatches final : public Judge {
 public:
  explicit OrderedBatches(const RuleOptions& options)
      : ratio_(options.at("ratio")),
        share_(options.at("share")),
        batch_(options.at("batch")),
        classes_(options.at("classes")),
        entropy_(options.at("entropy")),
        jump_(options.at("jump")),
        min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    harm_.observe(run, record);
    observe_jump();
    const double entropy = record.at(Quantity::kTargetBatchEntropy);
    const double data = record.at(Quantity::kTargetEntropy);
    if (std::isnan(entropy) || std::isnan(data)) return;
    seen_ = true;
    data_ = data;
    if (!(record.at(Quantity::kBatchSize) >= batch_) || !(record.at(Quantity::kTargetClasses) >= classes_)) return;
    if (count_++ == 0) first_step_ = record.step;
    last_step_ = record.step;
    last_ = entropy;
    latest_batch_ = record.at(Quantity::kBatchSize);
    const double bin = std::floor(std::max(entropy, 0.0) / kBin);
    ++bins_[static_cast<std::size_t>(std::min(bin, static_cast<double>(bins_.size() - 1)))];
    alarm_.set(alarm_level(severity()));
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (!seen_) return NotEvaluated{"no entropy of class targets was recorded"};
    if (severity()) return unhealthy({finding()});
    if (count_ == 0)
      return NotEvaluated{
          fmt::format("no step had {:.0f} samples and {:.0f} classes, with which order shows", batch_, classes_)};
    if (static_cast<double>(count_) < min_steps_) return too_few_steps(count_, min_steps_);
    return Healthy{};
  }

 private:
  /// A loss that had come down and jumps back above its start: the next class begins.
  void observe_jump() {
    const LossTrack& loss = harm_.loss();
    if (loss.count() < 8 || std::isnan(loss.latest())) return;
    if (loss.latest() > loss.start() + jump_ * std::abs(loss.start()) && loss.recent() < loss.start()) ++jumps_;
  }

  double uniform_share() const {
    const double limit = ratio_ * data_;
    std::size_t uniform = 0;
    for (std::size_t i = 0; i < bins_.size() && (static_cast<double>(i) + 1) * kBin <= limit; ++i) uniform += bins_[i];
    return static_cast<double>(uniform) / static_cast<double>(count_);
  }

  bool harmful() const { return harm_.stands_still() || harm_.rose() || jumps_ >= 2; }

  std::optional<Severity> severity() const {
    // Data of nearly one class give batches of one class in any order.
    if (static_cast<double>(count_) < min_steps_ || !(data_ >= entropy_)) return std::nullopt;
    if (!(uniform_share() >= share_)) return std::nullopt;
    return harmful() ? Severity::kError : Severity::kWarning;
  }

  Finding finding() const {
    Finding finding = new_finding(kId, *severity(), 0.9, {}, {first_step_, last_step_}, {});
    finding.message = fmt::format(
        "Batches hold samples of hardly more than one class: in {} % of {} recorded steps the targets' entropy was "
        "below "
        "{} nats, while over all steps it is {} (the latest batch: {}).",
        number(100 * uniform_share()), count_, number(ratio_ * data_), number(data_), number(last_));
    finding.evidence.push_back(evidence("share of the batches with less than a quarter of the targets' entropy",
                                        uniform_share(), "≥", share_, Quantity::kTargetBatchEntropy));
    if (harm_.stands_still() || harm_.rose()) {
      finding.message += fmt::format(" It does harm: {}.", harm_.words());
      finding.evidence.push_back(loss_evidence(harm_));
    } else if (harmful()) {
      finding.message +=
          fmt::format(" It does harm: the loss jumped above its start {} times after it had fallen.", jumps_);
      finding.evidence.push_back(
          evidence("jumps of the loss above its start", static_cast<double>(jumps_), "≥", 2, Quantity::kLoss));
    }
    finding.recommendations.push_back(shuffle_data(latest_batch_));
    return finding;
  }

  double ratio_;
  double share_;
  double batch_;
  double classes_;
  double entropy_;
  double jump_;
  double min_steps_;
  LossHarm harm_;
  Alarm alarm_;
  std::array<std::size_t, 512> bins_{};
  bool seen_ = false;
  double data_ = NAN;
  double last_ = NAN;
  double latest_batch_ = NAN;
  std::size_t count_ = 0;
  std::size_t jumps_ = 0;
  std::int64_t first_step_ = 0;
  std::int64_t last_step_ = 0;
};

}  // namespace

Rule ordered_batches() {
  RuleInfo info;
  info.id = kId;
  info.title = "Batches are sorted by class";
  info.meaning =
      "The data come in the order of their classes, so that a batch shows one class only. Gradients then pull the "
      "model "
      "towards one class after the other; the loss falls within a class and jumps at the next.";
  info.method =
      "Compares the entropy of each batch's class frequencies with that of all targets seen. A warning if nearly all "
      "batches have less than a quarter of it; an error if the loss does not fall, blows up, or jumps above its start "
      "again and again.";
  info.limits =
      "Needs class indices as targets, batches of at least 8 samples and 3 classes. Data of nearly one class and "
      "sorted "
      "numbers are not judged.";
  info.options = {
      {"ratio", 0.25, "Entropy of a batch over that of all targets below which it is of one class.",
       "Eight random samples of ten classes have 0.7."},
      {"share", 0.8, "Share of the batches that are of one class.",
       "A sorted set has mixed batches only where classes meet."},
      {"batch", 8, "Samples of a batch from which its entropy says something.", "Fewer are of one class by chance."},
      {"classes", 3, "Classes from which batches are judged.", "With two, batches of one class are too common."},
      {"entropy", 0.5, "Entropy of all targets, in nats, from which batches are judged.",
       "Below it, one class has more than 80 %."},
      {"jump", 0.2, "Rise over its start, relative to it, at which a loss that had fallen has jumped.",
       "Beyond the noise of single batches."},
      min_steps_option(20),
  };
  info.references = {"Bengio, Practical recommendations for gradient-based training of deep architectures, 2012"};
  info.effects = {
      {"diverging-loss"}, {"loss-spike"}, {"no-better-than-constant"}, {"oscillating-loss"}, {"plateaued-loss"}};
  return make_rule<OrderedBatches>(std::move(info));
}

}  // namespace gradhealth::rules
