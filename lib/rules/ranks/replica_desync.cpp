#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "rules/rules_list.h"
#include "rules/support/alarm.h"
#include "rules/support/new_finding.h"
#include "rules/support/rule_support.h"

namespace gradhealth::rules {
namespace {

constexpr const char* kId = "replica-desync";
constexpr double kSameNorm = 1e-6;  ///< Relative; the sums of equal gradients differ by less.

/// Ranks or parameters with a positive number.
std::vector<std::string> names_of_positive(const std::vector<double>& values, const std::vector<Subject>& subjects) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(values.size(), subjects.size()); ++i)
    if (values[i] > 0) names.push_back(subjects[i].name);
  return names;
}

class ReplicaDesync final : public Judge {
 public:
  explicit ReplicaDesync(const RuleOptions& options)
      : steps_(options.at("steps")), min_steps_(options.at("min-steps")) {}

  void observe(const Run& run, const StepRecord& record) override {
    const std::vector<double>& by_rank = record.values(Quantity::kRankParametersDiffering);
    // Rank 0 does not differ from itself: another one must have been compared.
    if (std::count_if(by_rank.begin(), by_rank.end(), [](double n) { return !std::isnan(n); }) < 2) return;
    ++compared_;
    last_ = record.step;
    const std::vector<double>& by_parameter = record.values(Quantity::kReplicasDiffering);
    const bool differ = std::any_of(by_parameter.begin(), by_parameter.end(), [](double n) { return n > 0; });
    if (!differ) {
      returns_ += streak_ > 0;
      streak_ = 0;
    } else {
      if (++total_ == 1) begin(run, record);
      ++streak_;
      observe_gradients(record);
      most_ = std::max(most_, static_cast<std::size_t>(std::count_if(by_parameter.begin(), by_parameter.end(),
                                                                     [](double n) { return n > 0; })));
    }
    alarm_.set(is_found() ? 1 : 0);
  }

  std::size_t alarms() const override { return alarm_.count(); }

  Outcome outcome() const override {
    if (compared_ == 0) return NotEvaluated{"no other rank's weights were compared"};
    if (is_found()) return unhealthy({finding()});
    if (static_cast<double>(compared_) < min_steps_) return too_few_steps(compared_, min_steps_);
    return Healthy{};
  }

 private:
  bool is_found() const { return static_cast<double>(total_) >= steps_; }
  /// Made equal again now and then, as local SGD does.
  bool is_averaged() const { return returns_ > 0; }

  void begin(const Run& run, const StepRecord& record) {
    first_ = record.step;
    from_start_ = compared_ == 1;
    parameters_ = names_of_positive(record.values(Quantity::kReplicasDiffering), run.of(Axis::kParameter));
    ranks_ = names_of_positive(record.values(Quantity::kRankParametersDiffering), run.of(Axis::kRank));
    world_size_ = run.of(Axis::kRank).size();
    known_parameters_ = run.of(Axis::kParameter).size();
    for (const Subject& parameter : run.of(Axis::kParameter))
      if (!parameters_.empty() && parameter.name == parameters_.front()) module_ = parameter.module;
  }

  void observe_gradients(const StepRecord& record) {
    const std::vector<double>& norms = record.values(Quantity::kRankGradientNorm);
    double least = INFINITY;
    double most = 0;
    for (const double norm : norms) {
      if (!std::isfinite(norm)) continue;
      least = std::min(least, norm);
      most = std::max(most, norm);
    }
    if (!(most > 0) || !std::isfinite(least)) return;
    ++gradients_;
    gradients_differ_ += most - least > kSameNorm * most;
  }

  /// As step() found them: reduced already, or not at all.
  bool gradients_differ() const { return gradients_differ_ * 2 > gradients_; }

  Finding finding() const {
    const bool others_alike = world_size_ > 2 && ranks_.size() + 1 == world_size_;
    const std::string who =
        others_alike ? "rank 0 holds other weights than the rest"
                     : list_of(ranks_, 4) + (ranks_.size() == 1 ? " holds" : " hold") + " other weights than rank 0";
    const SubjectRef subject{"", parameters_.size() == 1 ? module_ : "",
                             parameters_.size() == 1 ? parameters_.front() : ""};
    Finding finding =
        new_finding(kId, is_averaged() ? Severity::kInfo : Severity::kError, 0.95, subject, {first_, last_}, {});
    finding.message = fmt::format(
        "The replicas of the model are not the same: of {} ranks, {}, in {} of {} parameters since step {} ({}).",
        world_size_, who, parameters_.size(), known_parameters_, first_, list_of(parameters_, 3));
    if (is_averaged()) finding.message += " They are made equal again from time to time.";
    finding.evidence.push_back(evidence("parameters that differ between ranks", static_cast<double>(most_), ">", 0,
                                        Quantity::kReplicasDiffering, parameters_.front()));
    if (gradients_differ()) {
      finding.message += " Their gradients differ, too.";
      finding.recommendations = {reduce_gradients(0.9), broadcast_parameters(0.8)};
    } else {
      finding.message += " Their gradients have the same norm.";
      finding.recommendations = {broadcast_parameters(0.9), reduce_gradients(0.5)};
    }
    if (from_start_ && !gradients_differ()) finding.recommendations.pop_back();
    return finding;
  }

  static Recommendation broadcast_parameters(double confidence) {
    Recommendation advice;
    advice.id = "broadcast-parameters";
    advice.text = "Give all ranks rank 0's parameters and buffers, once, before the first step.";
    advice.why =
        "Equal gradients keep replicas equal only if they begin equal; each process draws its own initial values.";
    advice.code =
        "torch::NoGradGuard no_grad;\n"
        "for (torch::Tensor& tensor : net->parameters()) {\n"
        "  std::vector<torch::Tensor> one{tensor};\n"
        "  process_group->broadcast(one)->wait();\n"
        "}\n"
        "for (torch::Tensor& tensor : net->buffers()) {\n"
        "  std::vector<torch::Tensor> one{tensor};\n"
        "  process_group->broadcast(one)->wait();\n"
        "}";
    advice.confidence = confidence;
    return advice;
  }

  Recommendation reduce_gradients(double confidence) const {
    Recommendation advice;
    advice.id = "reduce-gradients";
    advice.text = "Average every gradient over all ranks between backward() and the optimizer's step().";
    advice.why =
        "LibTorch has no DistributedDataParallel for C++: whatever is not reduced by hand stays with its rank.";
    advice.code = fmt::format(
        "loss.backward();\n"
        "for (torch::Tensor& parameter : net->parameters()) {{\n"
        "  // On every rank, in the same order: a rank that leaves one out pairs all others wrongly.\n"
        "  if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);\n"
        "  std::vector<torch::Tensor> one{{parameter.grad()}};\n"
        "  process_group->allreduce(one)->wait();\n"
        "  parameter.mutable_grad().div_({});\n"
        "}}\n"
        "optimizer.step();",
        world_size_);
    advice.confidence = confidence;
    advice.values = {{"ranks", {static_cast<double>(world_size_)}}};
    return advice;
  }

  double steps_;
  double min_steps_;
  Alarm alarm_;
  std::size_t compared_ = 0;
  std::size_t total_ = 0;    ///< Steps at which something differed,
  std::size_t streak_ = 0;   ///< without interruption until now,
  std::size_t returns_ = 0;  ///< and how often that ended.
  std::size_t most_ = 0;
  std::size_t gradients_ = 0;
  std::size_t gradients_differ_ = 0;
  std::size_t world_size_ = 0;
  std::size_t known_parameters_ = 0;
  bool from_start_ = false;
  std::int64_t first_ = 0;
  std::int64_t last_ = 0;
  std::string module_;
  std::vector<std::string> parameters_;
  std::vector<std::string> ranks_;
};

}  // namespace

Rule replica_desync() {
  RuleInfo info;
  info.id = kId;
  info.title = "Replicas have different weights";
  info.meaning =
      "The processes of a data-parallel training no longer hold the same weights. Their averaged gradients belong to "
      "no "
      "model at all, and what is saved in the end is one of several: training gets worse, or not as good as it should, "
      "without any other sign.";
  info.method =
      "Each rank takes a fingerprint of a sample of every parameter's elements before the update. Where any differs "
      "from rank 0's at two recorded steps, that is an error; an information where they became equal again in between. "
      "Whether the ranks' gradient norms differ tells a missing reduction from a different start.";
  info.limits =
      "Elements outside the sample are not compared (1,024 of a larger parameter). Models of which each rank holds "
      "another part under the same name look like this: disable the rule there.";
  info.options = {
      {"steps", 2, "Recorded steps at which something differs.", "One could be read beside an update."},
      min_steps_option(2),
  };
  info.references = {
      "TrainCheck: Jiang et al., Training with confidence: catching silent errors in deep learning "
      "training with automated proactive checks, OSDI 2025",
      "BigScience, BLOOM-176B chronicles: layer norm weights that differed between ranks"};
  info.effects = {
      {"no-better-than-constant"}, {"plateaued-loss"}, {"diverging-loss"}, {"oscillating-loss"}, {"rank-divergence"}};
  return make_rule<ReplicaDesync>(std::move(info));
}

}  // namespace gradhealth::rules
