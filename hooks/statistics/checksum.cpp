#include "hooks/statistics/checksum.h"

#include <cstring>

namespace gradhealth::hooks {

std::uint64_t checksum(const void* data, std::size_t bytes) {
  const char* memory = static_cast<const char*>(data);
  const std::size_t words = bytes / sizeof(std::uint32_t);
  // The squares tell apart what keeps the sum, such as two words that change by the same amount up and down.
  std::uint32_t sum = 0;
  std::uint32_t squares = 0;
#pragma omp simd reduction(+ : sum, squares)
  for (std::size_t i = 0; i < words; ++i) {
    std::uint32_t word;
    std::memcpy(&word, memory + i * sizeof word, sizeof word);
    sum += word;
    squares += word * word;
  }
  std::uint32_t rest = 0;
  std::memcpy(&rest, memory + words * sizeof rest, bytes % sizeof rest);
  sum += rest;
  return std::uint64_t{sum} << 32 | squares;
}

}  // namespace gradhealth::hooks
