#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/record_function.h>

namespace gradhealth::hooks {

/// While one lives, operators of this thread are our own: neither differentiated nor shown to any observer. Costs 0.5 µs;
/// `Muted` is for what is done at every operator.
struct Unobserved {
  at::NoGradGuard no_grad;
  at::DisableRecordFunctionGuard no_record;
};

}  // namespace gradhealth::hooks
