#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "hostile/metadata.h"

namespace gradhealth::hostile {

/// A run file to spoil.
struct Base {
  std::string name;
  std::string bytes;
  std::vector<MetadataBlock> blocks{};
  std::string beside{};  ///< Bytes of "part.h5", the other file of the same run; empty if there is none.
};

/// One to eight faults in the bytes of `base`: bits, bytes, words and lengths, mostly in metadata and there mostly with
/// checksums made right; blocks swapped, repeated or zeroed; the end cut off. The same seed gives the same faults.
std::string mutant(const Base& base, std::uint64_t seed);

/// The same of text: characters, lines, brackets, numbers, nesting.
std::string mutant_text(const std::string& text, std::uint64_t seed);

}  // namespace gradhealth::hostile
