#pragma once

#include <cstdint>

#include <torch/torch.h>

#include "zoo/settings.h"

namespace gradhealth::zoo {

/// A data set, divided once and for all; inputs healthy, before a fault is applied.
struct Data {
  torch::Tensor train_x, train_y, test_x, test_y;
  std::int64_t classes = 0;  ///< 0: regression.
};

/// The data set of that name, made from the seed; images are the same for every seed.
/// "blobs", "circles", "images", "units", "waves", "sequences", "documents".
/// @throws std::runtime_error for another name, or where Debian's dataset-fashion-mnist is missing.
Data make_data(const std::string& name, std::uint64_t seed);

/// What the settings make of the data: faults first, then the normalisations that mend them.
Data prepare(Data data, const Settings& settings);

}  // namespace gradhealth::zoo
