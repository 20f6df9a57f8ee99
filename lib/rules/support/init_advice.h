#pragma once

#include <string>
#include <vector>

#include <gradhealth/rules.h>
#include <gradhealth/run.h>

/// Advice on initial weights, as LibTorch code with this run's numbers.
namespace gradhealth::rules {

/// Scale of a weight's elements against its fan-in: standard deviation times sqrt(fan-in). He initialisation has √2,
/// LibTorch's default 0.577. NaN for a weight without a shape.
/// @param weight `kind` of the module's operator tells transposed convolutions from others.
double init_gain(const Subject& weight, const std::string& operator_kind, double weight_norm);

/// The operator adds up products of its inputs with the weight, so that the weight's scale decides the output's.
bool sums_products(const std::string& operator_kind);

/// Sizes of a shape such as "16x1x3x3"; empty if it is none.
std::vector<std::int64_t> sizes_of(const std::string& shape);

/// Glorot initialisation, for tanh and sigmoid.
Recommendation glorot_init(const std::vector<std::string>& weights);

struct WeightGain {
  std::string weight;
  double gain = 1;  ///< To multiply the initial weights by.
};
/// Every weight by its own gain, as measured.
Recommendation scale_init(const std::vector<WeightGain>& gains);

/// Random weights instead of equal ones.
Recommendation random_init(const std::string& weight);

}  // namespace gradhealth::rules
