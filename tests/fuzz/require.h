#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

namespace gradhealth::fuzz {

/// Ends the fuzzer, which then keeps the input.
inline void require(bool fact, const std::string& what) {
  if (fact) return;
  std::fprintf(stderr, "not so: %s\n", what.c_str());
  std::abort();
}

/// @param wrong what is wrong with an output, or nothing.
inline void require_nothing(const std::string& wrong) { require(wrong.empty(), "nothing is wrong, but: " + wrong); }

}  // namespace gradhealth::fuzz
