#include "hooks/capture/gradient_hook.h"

#include <chrono>
#include <utility>

#include "hooks/capture/step_capture.h"

namespace gradhealth::hooks {

GradientHook::GradientHook(std::weak_ptr<StepCapture> capture, int call, std::uint32_t output)
    : capture_(std::move(capture)), call_(call), output_(output) {}

torch::autograd::variable_list GradientHook::operator()(const torch::autograd::variable_list& gradients) {
  if (const std::shared_ptr<StepCapture> capture = capture_.lock()) {
    try {
      const auto start = std::chrono::steady_clock::now();
      if (output_ < gradients.size()) capture->add_gradient(call_, gradients[output_]);
      capture->add_time((std::chrono::steady_clock::now() - start).count());
    } catch (const std::exception& error) {  // One that leaves would come out of the trainer's backward().
      capture->fail(error.what());
    } catch (...) {
      capture->fail("an unknown exception while reading a gradient");
    }
  }
  return gradients;
}

}  // namespace gradhealth::hooks
