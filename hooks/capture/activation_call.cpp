#include "hooks/capture/activation_call.h"

namespace gradhealth::hooks {

void complete(std::vector<ActivationCall>& calls, const Readback& readback) {
  for (ActivationCall& call : calls) {
    complete(call.values, readback);
    if (call.input) complete(*call.input, readback);
    for (const LateSums& late : call.late_gradients) call.gradient += sums_of(late, readback);
    call.late_gradients.clear();
  }
}

}  // namespace gradhealth::hooks
