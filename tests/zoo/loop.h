#pragma once

#include <cstdint>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

#include "zoo/data.h"
#include "zoo/training.h"

/// What the trainings with loops of their own have in common.
namespace gradhealth::zoo {

/// Says nothing, and records as many steps on every machine.
MonitorOptions quiet();
Result finish(Monitor& monitor);

/// The usual loop over batches of a data set.
template <typename Step>
void each_batch(const Data& data, std::int64_t steps, std::int64_t size, Step&& step) {
  torch::Tensor order;
  const std::int64_t batches = data.train_x.size(0) / size;
  for (std::int64_t i = 0; i < steps; ++i) {
    if (i % batches == 0) order = torch::randperm(data.train_x.size(0));
    const torch::Tensor batch = order.slice(0, i % batches * size, (i % batches + 1) * size);
    step(i, data.train_x.index_select(0, batch), data.train_y.index_select(0, batch));
  }
}

}  // namespace gradhealth::zoo
