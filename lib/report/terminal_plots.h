#pragma once

#include <cstddef>
#include <string>

#include "report/summary.h"

namespace gradhealth {

/// Loss and global gradient norm of a model over its steps as lines of text, with the step marked at which the model's
/// most important finding begins. Nothing if neither was recorded.
std::string terminal_plots(const ModelReport& model, const Summary& summary, std::size_t width, Charset charset);

}  // namespace gradhealth
