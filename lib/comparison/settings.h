#pragma once

#include <vector>

#include <gradhealth/comparison.h>

namespace gradhealth::compared {

/// What the files know of how the runs were set up, where it differs: optimizer, learning rate, batch, model, libraries
/// and command line.
std::vector<ComparedSetting> differing_settings(const ModelReport& before, const ModelReport& after);

}  // namespace gradhealth::compared
