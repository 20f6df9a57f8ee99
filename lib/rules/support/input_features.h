#pragma once

#include <optional>
#include <string>
#include <vector>

#include <gradhealth/rules.h>
#include <gradhealth/run.h>

#include "stats/moments.h"

namespace gradhealth::rules {

/// One feature of the input, over all steps seen.
struct InputFeature {
  Subject subject;
  stats::Moments values;
  stats::Moments integers;  ///< Share of whole numbers.
  double minimum = 0;
  double maximum = 0;
  bool seen = false;

  double rms() const;
  bool constant() const;
  /// Mostly zeros: counts, one-hot codes, padding. Their scale says little about typical samples.
  bool sparse() const;
};

/// The statistics of what enters the model, pooled over its steps.
class InputFeatures {
 public:
  void observe(const Run& run, const StepRecord& record);

  const std::vector<InputFeature>& all() const { return features_; }
  std::size_t steps() const { return steps_; }  ///< With input statistics.
  bool is_image() const;                        ///< Features are channels.
  const std::string& consumer() const;          ///< Operator that takes the input; empty if unknown.

  /// Lower bound of λ₁/dim, λ₁ the top eigenvalue of E[xxᵀ]: from the means and from the largest feature.
  double conditioning() const;
  double minimum() const;
  double maximum() const;
  /// Mean and standard deviation over all features together.
  stats::Moments pooled() const;
  /// 255, 4095 or 65535 when the values are pixels of that range; otherwise 1.
  double pixel_scale() const;

 private:
  std::vector<InputFeature> features_;
  std::size_t steps_ = 0;
};

/// The missing normalisation, with this run's means and deviations.
Recommendation normalize_input(const InputFeatures& input);

}  // namespace gradhealth::rules
