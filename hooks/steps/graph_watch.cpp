#include "hooks/steps/graph_watch.h"

#include <algorithm>

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kSteps = 20;
constexpr std::ptrdiff_t kOwn = 2;

}  // namespace

std::optional<int> GraphWatch::observe(const std::vector<ActivationCall>& calls) {
  std::optional<int> alive;
  if (static_cast<std::ptrdiff_t>(graphs_.size()) > kOwn)
    alive = static_cast<int>(
        std::count_if(graphs_.begin(), graphs_.end() - kOwn, [](const auto& graph) { return !graph.expired(); }));
  const auto last = std::find_if(calls.rbegin(), calls.rend(), [](const ActivationCall& call) {
    return call.gradient_seen && !call.superseded && !call.node.expired();
  });
  graphs_.push_back(last == calls.rend() ? WeakNode() : last->node);
  if (graphs_.size() > kSteps) graphs_.pop_front();
  return alive;
}

}  // namespace gradhealth::hooks
