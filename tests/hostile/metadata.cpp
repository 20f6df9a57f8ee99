#include "hostile/metadata.h"

#include <algorithm>
#include <array>

namespace gradhealth::hostile {
namespace {

constexpr std::size_t kLongestBlock = 4096;
/// How the blocks begin; the first one is the superblock.
constexpr std::array<std::string_view, 14> kSignatures{"\x89HDF", "OHDR", "OCHK", "FRHP", "FHDB", "FHIB", "BTHD",
                                                       "BTLF",    "BTIN", "FAHD", "EAHD", "EAIB", "EASB", "EADB"};

std::uint32_t rotate(std::uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

std::uint32_t word(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4 && at + i < bytes.size(); ++i)
    value |= std::uint32_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  return value;
}

}  // namespace

std::uint32_t metadata_checksum(std::string_view bytes) {
  std::uint32_t a = 0xDEADBEEF + static_cast<std::uint32_t>(bytes.size()), b = a, c = a;
  if (bytes.empty()) return c;
  while (bytes.size() > 12) {
    a += word(bytes, 0), b += word(bytes, 4), c += word(bytes, 8);
    a -= c, a ^= rotate(c, 4), c += b;
    b -= a, b ^= rotate(a, 6), a += c;
    c -= b, c ^= rotate(b, 8), b += a;
    a -= c, a ^= rotate(c, 16), c += b;
    b -= a, b ^= rotate(a, 19), a += c;
    c -= b, c ^= rotate(b, 4), b += a;
    bytes.remove_prefix(12);
  }
  a += word(bytes, 0), b += word(bytes, 4), c += word(bytes, 8);
  c ^= b, c -= rotate(b, 14);
  a ^= c, a -= rotate(c, 11);
  b ^= a, b -= rotate(a, 25);
  c ^= b, c -= rotate(b, 16);
  a ^= c, a -= rotate(c, 4);
  b ^= a, b -= rotate(a, 14);
  c ^= b, c -= rotate(b, 24);
  return c;
}

std::vector<MetadataBlock> metadata_blocks(std::string_view file) {
  std::vector<MetadataBlock> blocks;
  std::vector<std::size_t> begins;
  for (const std::string_view signature : kSignatures)
    for (std::size_t at = file.find(signature); at != std::string_view::npos; at = file.find(signature, at + 1))
      begins.push_back(at);
  std::sort(begins.begin(), begins.end());
  for (const std::size_t begin : begins) {
    const std::size_t last = std::min(file.size(), begin + kLongestBlock);
    // How long a block is stands in many places; where the checksum is right, it ends.
    for (std::size_t end = begin + 12; end <= last; ++end) {
      if (metadata_checksum(file.substr(begin, end - 4 - begin)) != word(file, end - 4)) continue;
      blocks.push_back({begin, end});
      break;
    }
  }
  return blocks;
}

void seal(std::string& file, const MetadataBlock& block) {
  const std::uint32_t sum = metadata_checksum(std::string_view(file).substr(block.begin, block.end - 4 - block.begin));
  for (std::size_t i = 0; i < 4; ++i) file[block.end - 4 + i] = static_cast<char>(sum >> (8 * i) & 0xFF);
}

}  // namespace gradhealth::hostile
