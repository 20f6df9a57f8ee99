#pragma once

/// For sources whose loops the compiler vectorises (-fopenmp-simd): bodies are inlined into a plain function and, where
/// the machine may have AVX2, into one compiled for it; `has_avx2` chooses at run time.
#if defined(__x86_64__) && defined(__GNUC__)
#define GRADHEALTH_DISPATCH_AVX2 1
#define GRADHEALTH_AVX2 __attribute__((target("avx2,fma")))
#else
#define GRADHEALTH_DISPATCH_AVX2 0
#endif

#define GRADHEALTH_INLINE [[gnu::always_inline]] inline

namespace gradhealth::hooks {

#if GRADHEALTH_DISPATCH_AVX2
inline bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
}
#endif

}  // namespace gradhealth::hooks
