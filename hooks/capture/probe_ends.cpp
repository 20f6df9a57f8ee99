#include "hooks/capture/probe_ends.h"

#include <vector>

#include <ATen/ATen.h>

#include "hooks/statistics/tensor_sums.h"

namespace gradhealth::hooks {

void ProbeEnds::keep_first(std::string_view op, const c10::OperatorName& name,
                           c10::ArrayRef<const c10::IValue> arguments,
                           const std::function<bool(const at::Tensor&)>& is_parameter) {
  // A pass whose graph is gone was not the one that will be probed.
  first_repeats = !first_node.expired();
  if (first_repeats) return;
  first.reset();
  input.reset();
  if (!can_replay(op)) return;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (!arguments[i].isTensor()) continue;
    const at::Tensor& tensor = arguments[i].toTensor();
    if (!readable(tensor) || tensor.dim() == 0 || is_parameter(tensor)) continue;
    first.emplace(name, std::vector<c10::IValue>(arguments.begin(), arguments.end()), i);
    input = first->input();
    input_version = static_cast<std::int64_t>(input._version());
    return;
  }
}

void ProbeEnds::keep_first_output(std::string_view op, const at::Tensor& first_output) {
  if (first_repeats) return;
  first_node = first_output.grad_fn();
  first_output_nr = static_cast<std::uint32_t>(first_output.output_nr());
  if (op != "embedding") return;
  input = first_output.detach();
  input_version = static_cast<std::int64_t>(first_output._version());
}

void ProbeEnds::keep_output(int call, const at::Tensor& last_output) {
  output = last_output.detach();
  output_version = static_cast<std::int64_t>(last_output._version());
  output_call = call;
}

bool ProbeEnds::stale() const {
  return (input.defined() && static_cast<std::int64_t>(input._version()) != input_version) ||
         (output.defined() && static_cast<std::int64_t>(output._version()) != output_version);
}

}  // namespace gradhealth::hooks
