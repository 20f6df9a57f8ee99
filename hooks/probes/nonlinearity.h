#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// Nonlinearity coefficient sqrt(E tr(J Cov_x Jᵀ) / tr Cov_f) of Philipp and Carbonell (arXiv 1806.00179) over the
/// samples of a batch: 1 for a linear network. NaN where the outputs do not vary. Of more than 128 inputs, or of large
/// ones, evenly spaced ones stand for all in the covariance.
/// @param inputs x, samples in the first dimension.
/// @param outputs f(x), samples in the first dimension.
/// @param pulled_back J_iᵀu_i of some samples, in the first dimension, for cotangents u whose outer products sum to the
/// identity: all unit vectors one after the other, or, in expectation, one standard normal vector.
double nonlinearity_coefficient(const at::Tensor& inputs, const at::Tensor& outputs,
                                const std::vector<at::Tensor>& pulled_back);

/// Every how many samples of `batch` one is to be taken, so that there are at most `most`, with at most four million
/// values in all where two samples have no more than that.
std::int64_t sample_stride(const at::Tensor& batch, std::int64_t most);

}  // namespace gradhealth::hooks
