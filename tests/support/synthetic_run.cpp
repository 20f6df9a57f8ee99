#include "support/synthetic_run.h"

#include <cmath>
#include <stdexcept>

#include "support/advice_collector.h"

namespace gradhealth::test {

SyntheticRun::SyntheticRun(const SyntheticOptions& options) : options_(options), generator_(options.seed) {
  run.info.name = "net";
  run.info.optimizer = "SGD";
  run.info.momentum = 0.9;
  run.info.weight_decay = 0;
  const auto shape = std::to_string(options.width) + "x" + std::to_string(options.width);
  for (std::size_t i = 0; i < options.layers; ++i) {
    const std::string module = "fc" + std::to_string(i);
    run.of(Axis::kParameter)
        .push_back({module + ".weight", module, "weight", shape, "float32", options.width * options.width});
    run.of(Axis::kParameter).push_back({module + ".bias", module, "bias", "", "float32", options.width});
    run.of(Axis::kActivation).push_back({module, module, "addmm", "", "float32", options.width});
    if (i + 1 < options.layers)
      run.of(Axis::kActivation)
          .push_back({module + ":" + options.activation, module, options.activation, "", "float32", options.width});
  }
  for (std::size_t i = 0; i < options.features; ++i)
    run.of(Axis::kFeature).push_back({"feature " + std::to_string(i), "", options.input_operator, "", "float32", 1});
}

double SyntheticRun::noise() { return std::normal_distribution<double>()(generator_); }

void SyntheticRun::set_loop(StepRecord& record) {
  if (record.step == 0)
    record.events.push_back({0, "loss-operator", run.of(Axis::kActivation).back().name,
                             "op=cross_entropy_loss prediction=64x10:float32 target=64:int64 reduction=mean"});
  record.set(Quantity::kTargetMin, 0);
  record.set(Quantity::kTargetMax, 9);
  record.set(Quantity::kTargetClasses, 10);
  record.set(Quantity::kTargetEntropy, 2.3);
  record.set(Quantity::kTargetBatchEntropy, 2.2);
  record.set(Quantity::kPredictionMean, 0.1 * noise());
  record.set(Quantity::kPredictionStd, 1);
  record.set(Quantity::kPredictionMin, -3);
  record.set(Quantity::kPredictionMax, 3);
  record.set(Quantity::kPredictionSpread, 0.8);
  record.set(Quantity::kCarriedGradients, 0);
  record.set(Quantity::kUpdateGradientCosine, 0.6 + 0.05 * noise());
  record.set(Quantity::kGradientAlignment, 0.3 + 0.1 * noise());
  record.set(Quantity::kNormsTraining, 2);
  record.set(Quantity::kNormsEvaluation, 0);
  record.set(Quantity::kDropoutsTraining, 1);
  record.set(Quantity::kDropoutsEvaluation, 0);
  record.set(Quantity::kGraphsAlive, 0);
  record.set(Quantity::kBuffersNonfinite, 0);
  record.set(Quantity::kOptimizerStateNonfinite, 0);
  if (record.step % 50 != 0) return;
  record.set(Quantity::kEvalSamples, 64);
  record.set(Quantity::kEvalInputMean, 0.1 * noise());
  record.set(Quantity::kEvalInputStd, 1);
  record.set(Quantity::kEvalNormsTraining, 0);
  record.set(Quantity::kEvalDropoutsTraining, 0);
}

StepRecord SyntheticRun::step(std::int64_t step, double loss) {
  const auto wobble = [this](double value) { return value * std::exp(options_.noise * noise()); };
  StepRecord record;
  record.step = step;
  record.set(Quantity::kLoss, loss);
  record.set(Quantity::kLossNonfinite, std::isfinite(loss) ? 0 : 1);
  record.set(Quantity::kLearningRate, 0.1);
  record.set(Quantity::kBatchSize, 64);
  double squares = 0;
  for (std::size_t i = 0; i < run.of(Axis::kParameter).size(); ++i) {
    const double norm = wobble(0.2);
    squares += norm * norm;
    record.set(Quantity::kGradientNorm, i, norm);
    record.set(Quantity::kGradientMax, i, norm / 4);
    record.set(Quantity::kGradientNonfinite, i, 0);
    record.set(Quantity::kWeightNorm, i, wobble(5));
    record.set(Quantity::kWeightNonfinite, i, 0);
    record.set(Quantity::kUpdateRatio, i, wobble(4e-3));
    record.set(Quantity::kUnchangedFraction, i, 0);
    if (run.of(Axis::kParameter)[i].kind == "weight") record.set(Quantity::kRowSpread, i, 1);
  }
  record.set(Quantity::kGlobalGradientNorm, std::sqrt(squares));
  for (std::size_t i = 0; i < run.of(Axis::kActivation).size(); ++i) {
    record.set(Quantity::kActivationRms, i, wobble(1));
    record.set(Quantity::kActivationMax, i, wobble(4));
    record.set(Quantity::kActivationNonfinite, i, 0);
    const std::string& kind = run.of(Axis::kActivation)[i].kind;
    record.set(Quantity::kActivationZeroFraction, i, kind == "relu" ? wobble(0.5) : 0);
    if (step >= 19) record.set(Quantity::kActivationDeadFraction, i, 0.05);
    record.set(Quantity::kActivationGradientNorm, i, wobble(0.1));
    record.set(Quantity::kActivationGradientNonfinite, i, 0);
    record.set(Quantity::kCumulativeGrowth, i, 1);
    record.set(Quantity::kBackwardGain, i, 1);
    if (kind == "tanh" || kind == "sigmoid") record.set(Quantity::kActivationSaturatedFraction, i, 0.02);
  }
  set_loop(record);
  for (std::size_t i = 0; i < run.of(Axis::kFeature).size(); ++i) {
    record.set(Quantity::kInputMean, i, 0.1 * noise());
    record.set(Quantity::kInputStd, i, wobble(1));
    record.set(Quantity::kInputMin, i, -3);
    record.set(Quantity::kInputMax, i, 3);
    record.set(Quantity::kInputNonfinite, i, 0);
    record.set(Quantity::kInputIntegerFraction, i, 0);
  }
  return record;
}

std::int64_t nth_step(std::size_t n) { return static_cast<std::int64_t>(n < 20 ? n : 20 + (n - 20) * 10); }

double learning(std::int64_t step) { return 0.3 + 2.0 * std::exp(-static_cast<double>(step) / 60); }

namespace {

template <class Observer>
void feed(Observer& observer, SyntheticRun& run, std::size_t records, const Loss& loss, const Fault& fault) {
  for (std::size_t n = 0; n < records; ++n) {
    StepRecord record = run.step(nth_step(n), loss(nth_step(n)));
    if (fault) fault(record);
    observer.observe(run.run, record);
  }
}

}  // namespace

Outcome judge(const std::string& rule, SyntheticRun run, std::size_t records, const Loss& loss, const Fault& fault,
              const RuleOptions& options) {
  const Rule* found = find_rule(catalogue(), rule);
  if (found == nullptr) throw std::logic_error("no rule " + rule);
  const auto judge = found->make_judge(options);
  feed(*judge, run, records, loss, fault);
  Outcome outcome = judge->outcome();
  collect_advice(outcome);
  return outcome;
}

Diagnosis diagnose(SyntheticRun run, std::size_t records, const Loss& loss, const Fault& fault,
                   const DiagnosisOptions& options) {
  Diagnoser diagnoser(options);
  feed(diagnoser, run, records, loss, fault);
  return diagnoser.diagnosis();
}

bool is_healthy(const Outcome& outcome) { return std::holds_alternative<Healthy>(outcome); }
bool is_not_evaluated(const Outcome& outcome) { return std::holds_alternative<NotEvaluated>(outcome); }

const Finding& first_finding(const Outcome& outcome) { return std::get<Unhealthy>(outcome).findings.at(0); }

bool is(const Outcome& outcome, Severity severity) {
  const auto* unhealthy = std::get_if<Unhealthy>(&outcome);
  return unhealthy != nullptr && unhealthy->findings.at(0).severity == severity;
}

bool recommends(const Finding& finding, const std::string& id) {
  for (const Recommendation& each : finding.recommendations)
    if (each.id == id) return true;
  return false;
}

std::vector<Finding> flatten(const std::vector<DiagnosedFinding>& roots) {
  std::vector<Finding> all;
  for (const DiagnosedFinding& root : roots) {
    all.push_back(root.finding);
    for (Finding& below : flatten(root.consequences)) all.push_back(std::move(below));
  }
  return all;
}

}  // namespace gradhealth::test
