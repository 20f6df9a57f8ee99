#include "hooks/preflight/one_pass.h"

#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/module.h>

#include <gradhealth/errors.h>

#include "hooks/capture/activation_recorder.h"
#include "hooks/capture/loss_recorder.h"
#include "hooks/capture/observer.h"
#include "hooks/capture/parameter_recorder.h"
#include "hooks/capture/step_capture.h"
#include "hooks/capture/strangers.h"
#include "hooks/capture/training_calls.h"
#include "hooks/capture/watched_parameters.h"
#include "hooks/preflight/untouched.h"
#include "hooks/probes/prober.h"
#include "hooks/run_description.h"
#include "hooks/steps/loss_watch.h"
#include "hooks/steps/state_watch.h"

namespace gradhealth::hooks {
namespace {

/// Shows operators to a capture within its scope.
class Observation {
 public:
  explicit Observation(std::shared_ptr<StepCapture> capture) : capture_(std::move(capture)) { observe(capture_); }
  ~Observation() {
    try {
      stop_observing(capture_);
    } catch (...) {  // Its weak references are ignored once it is gone.
    }
  }
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;

 private:
  std::shared_ptr<StepCapture> capture_;
};

/// Everything a step's recording consists of, for the one step there is.
class Pass {
 public:
  explicit Pass(torch::nn::Module& model)
      : model_(model),
        buffers_(buffers_of(model)),
        parameters_(parameters_of(model)),
        parameter_recorder_(parameters_, result_.run),
        prober_(parameters_),
        capture_(std::make_shared<StepCapture>(parameters_.table(), parameters_.list(), std::string())) {
    if (const std::string foreign = parameter_recorder_.foreign_device(); !foreign.empty())
      throw UsageError("preflight: " + foreign + ", and models are looked at on the CPU and on CUDA devices only");
    capture_->keep_ends();
  }

  OnePass take(const std::function<at::Tensor()>& closure) {
    const std::shared_ptr<const ParameterList> watched = parameters_.list();
    const Untouched untouched(model_, *watched, buffers_);
    const at::Tensor loss = run(closure);
    const at::NoGradGuard no_grad;
    const at::DisableRecordFunctionGuard no_record;
    record(loss);
    return std::move(result_);
  }

 private:
  /// Forward, probe and backward; leaves the gradients with the parameters.
  at::Tensor run(const std::function<at::Tensor()>& closure) {
    const Observation observation(capture_);
    const at::AutoGradMode gradients(true);
    const at::RecordFunctionGuard observed(true);
    const at::Tensor loss = closure();
    if (!loss.defined() || loss.numel() != 1) throw UsageError("preflight: the loss is not one number");
    if (!loss.requires_grad()) return loss;
    {
      const at::NoGradGuard no_grad;
      const at::DisableRecordFunctionGuard no_record;
      prober_.probe(*capture_, {ProbeTarget::Kind::kLoss, loss}, {}, 0);
    }
    differentiate(loss);
    return loss;
  }

  /// Not backward(), which would add to the gradients of other leaves as well, such as inputs.
  void differentiate(const at::Tensor& loss) {
    std::vector<at::Tensor> inputs;
    for (const WatchedParameter& parameter : parameters_.all())
      if (parameter.tensor.requires_grad()) inputs.push_back(parameter.tensor);
    if (inputs.empty()) return;
    const std::vector<at::Tensor> gradients =
        torch::autograd::grad({loss}, inputs, /*grad_outputs=*/{}, /*retain_graph=*/false, /*create_graph=*/false,
                              /*allow_unused=*/true);
    for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].mutable_grad() = gradients[i];
  }

  void record(const at::Tensor& loss) {
    StepRecord& row = result_.row;
    std::vector<ActivationCall> calls = capture_->finish();
    if (const std::string error = capture_->error(); !error.empty())
      throw std::runtime_error("preflight: the pass could not be observed: " + error);
    StepFacts facts = capture_->take_facts();
    ParameterReadings readings;
    Readback& readback = *capture_->readback();
    parameter_recorder_.read(readings, ParameterRecorder::Weights::kWhole, readback);
    readback.start();
    readback.wait();
    const double value = loss_value(loss);
    row.set(Quantity::kLoss, value);
    row.set(Quantity::kLossNonfinite, std::isfinite(value) ? 0 : 1);
    complete(calls, readback);
    const TrainingCalls training(calls);
    LossRecorder().record(facts, calls, training, row);
    ActivationRecorder().record(std::move(calls), training, facts.given_inputs, result_.run, row);
    parameter_recorder_.record(readings, readback, row);
    StateWatch(buffers_, nullptr).record(parameters_, StateWatch::Detail::kAll, row);
    prober_.record(row);
    meet_strangers();
  }

  void meet_strangers() {
    // The model is not asked again: what it registers during the pass is told too.
    StrangerWatch watch{std::weak_ptr<torch::nn::Module>()};
    for (Event& event : watch.meet(capture_->strangers(), 0, parameters_))
      result_.row.events.push_back(std::move(event));
  }

  torch::nn::Module& model_;
  OnePass result_;
  NamedTensors buffers_;
  WatchedParameters parameters_;
  ParameterRecorder parameter_recorder_;
  Prober prober_;
  std::shared_ptr<StepCapture> capture_;
};

}  // namespace

OnePass look_once(torch::nn::Module& model, const std::function<at::Tensor()>& loss) { return Pass(model).take(loss); }

}  // namespace gradhealth::hooks
