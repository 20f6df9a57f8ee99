#include "hooks/interventions/healthy_states.h"

#include <sstream>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>
#include <torch/optim/optimizer.h>
#include <torch/serialize.h>

#include "hooks/unobserved.h"

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostStates = 2;

}  // namespace

void HealthyStates::keep(std::int64_t step, const std::vector<at::Tensor>& tensors,
                         const torch::optim::Optimizer* optimizer) {
  const Unobserved unobserved;
  if (states_.size() == kMostStates) states_.pop_front();  // First, so that there is never a third copy.
  State state;
  state.step = step;
  state.tensors = tensors;
  for (const at::Tensor& tensor : tensors) state.copies.push_back(tensor.clone());
  if (optimizer) {
    torch::serialize::OutputArchive archive;
    optimizer->save(archive);
    std::ostringstream out;
    archive.save_to(out);
    state.optimizer = out.str();
  }
  states_.push_back(std::move(state));
}

std::optional<std::int64_t> HealthyStates::restore(std::int64_t onset, torch::optim::Optimizer* optimizer) {
  if (states_.empty()) return std::nullopt;
  const at::NoGradGuard no_grad;
  // To the monitor's own watch this is no update.
  const at::DisableRecordFunctionGuard no_record;
  if (states_.size() > 1 && states_.back().step >= onset) states_.pop_back();
  State& state = states_.back();
  for (std::size_t i = 0; i < state.tensors.size(); ++i) state.tensors[i].copy_(state.copies[i]);
  if (optimizer && !state.optimizer.empty()) {
    // Loading adds what was saved; what has come since would stay.
    optimizer->state().clear();
    std::istringstream in(state.optimizer);
    torch::serialize::InputArchive archive;
    archive.load_from(in);
    optimizer->load(archive);
  }
  return state.step;
}

}  // namespace gradhealth::hooks
