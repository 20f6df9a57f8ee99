#pragma once

#include <torch/torch.h>

namespace gradhealth::zoo {

/// A pole on a cart, sixteen at once; an episode ends when the pole falls.
struct Poles {
  torch::Tensor state = 0.05 * torch::randn({16, 4});

  /// @returns whether each pole fell.
  torch::Tensor step(const torch::Tensor& action) {
    const torch::Tensor force = action.to(torch::kFloat32) * 20 - 10;
    const torch::Tensor v = state.select(1, 1);
    const torch::Tensor angle = state.select(1, 2);
    const torch::Tensor w = state.select(1, 3);
    const torch::Tensor t = (force + 0.05 * w * w * angle.sin()) / 1.1;
    const torch::Tensor acceleration =
        (9.8 * angle.sin() - angle.cos() * t) / (0.5 * (4.0 / 3 - 0.1 * angle.cos().pow(2) / 1.1));
    const torch::Tensor push = t - 0.05 * acceleration * angle.cos() / 1.1;
    state = state + 0.02 * torch::stack({v, push, w, acceleration}, 1);
    const torch::Tensor fell = state.select(1, 0).abs().gt(2.4).logical_or(state.select(1, 2).abs().gt(0.21));
    state = torch::where(fell.unsqueeze(1), 0.05 * torch::randn({16, 4}), state);
    return fell;
  }
};

}  // namespace gradhealth::zoo
