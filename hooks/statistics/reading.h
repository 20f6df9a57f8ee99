#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace gradhealth::hooks {

/// How the numbers in a tensor are had.
enum class Reading : std::uint8_t {
  kNow,    ///< From memory: floating point on the CPU, dense or sparse.
  kLater,  ///< Summed up on its device and brought by a Readback: dense floating point on a CUDA (or ROCm) device.
  kNever,  ///< Anything else: undefined, integer, complex, sparse on a device, on a device not known here.
};

Reading reading_of(const at::Tensor& tensor);

/// Whether tensors of this device can be read at all.
bool is_known(const c10::Device& device);

/// For tests on machines that have no device: while one of these lives, dense CPU tensors are read as a device's are,
/// and every readback is ready only when it has been asked `polls` times.
class PretendedDevice {
 public:
  explicit PretendedDevice(int polls);
  ~PretendedDevice();
  PretendedDevice(const PretendedDevice&) = delete;
  PretendedDevice& operator=(const PretendedDevice&) = delete;

  static bool exists();
  static int polls();
};

}  // namespace gradhealth::hooks
