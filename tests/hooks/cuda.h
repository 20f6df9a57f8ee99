#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#include <torch/torch.h>

/// For the tests on a real device.
namespace gradhealth::test {

inline const torch::Device kGpu(torch::kCUDA, 0);

/// tests/hooks/CMakeLists.txt has CTest look for this line.
inline bool without_devices(std::size_t devices = 1) {
  const std::size_t found = torch::cuda::is_available() ? torch::cuda::device_count() : 0;
  if (found < devices) std::printf("not run: %zu CUDA devices of %zu\n", found, devices);
  return found < devices;
}

inline bool close(double value, double reference, double tolerance = 1e-5) {
  return std::fabs(value - reference) <= tolerance * std::max(std::fabs(reference), 1e-12);
}

inline double norm_of(const torch::Tensor& tensor) { return tensor.to(torch::kFloat64).norm().item<double>(); }

inline torch::nn::Sequential mlp(std::int64_t width = 64) {
  return torch::nn::Sequential(torch::nn::Linear(20, width), torch::nn::ReLU(), torch::nn::Linear(width, width),
                               torch::nn::Tanh(), torch::nn::Linear(width, 3));
}

/// Work that keeps the device busy long after it has been queued.
inline void keep_busy() {
  const torch::Tensor x = torch::full({4096, 4096}, 1e-4, kGpu);
  torch::Tensor y = x;
  for (int i = 0; i < 200; ++i) y = y.matmul(x);
}

}  // namespace gradhealth::test
