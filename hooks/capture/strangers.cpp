#include "hooks/capture/strangers.h"

#include <utility>

#include <fmt/format.h>
#include <torch/nn/module.h>

#include "hooks/run_description.h"

namespace gradhealth::hooks {
namespace {

std::string description(const Stranger& stranger) {
  return fmt::format("{} after {} reads a tensor of {} that requires a gradient and is none of the model's parameters",
                     stranger.op, stranger.behind, stranger.shape);
}

}  // namespace

StrangerWatch::StrangerWatch(std::weak_ptr<torch::nn::Module> module) : module_(std::move(module)) {}

std::vector<Event> StrangerWatch::meet(const std::vector<Stranger>& strangers, std::int64_t step,
                                       WatchedParameters& parameters) {
  std::vector<const Stranger*> unknown;
  for (const Stranger& stranger : strangers)
    if (met_.insert(description(stranger)).second) unknown.push_back(&stranger);
  if (unknown.empty()) return {};
  std::vector<Event> events;
  if (const std::shared_ptr<torch::nn::Module> module = module_.lock()) {
    const WatchedParameters::Adopted adopted = parameters.adopt(parameters_of(*module));
    for (const std::string& name : adopted.replaced)
      events.push_back({step, "replaced-parameter", name, "the model has another tensor under this name now"});
    for (const std::string& name : adopted.added)
      events.push_back({step, "added-parameter", name, "registered after the monitor was attached"});
    if (!events.empty()) return events;
  }
  for (const Stranger* stranger : unknown) {
    if (!stranger->replaces.empty())
      events.push_back({step, "replaced-parameter", stranger->replaces,
                        description(*stranger) + "; this parameter has its shape and is not used"});
    else if (stranger->inside)
      events.push_back({step, "unregistered-parameter", stranger->behind, description(*stranger)});
  }
  return events;
}

}  // namespace gradhealth::hooks
