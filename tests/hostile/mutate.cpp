#include "hostile/mutate.h"

#include <algorithm>
#include <array>
#include <random>

namespace gradhealth::hostile {
namespace {

class Choice {
 public:
  explicit Choice(std::uint64_t seed) : generator_(seed) {}
  /// From 0 to `end` - 1.
  std::size_t below(std::size_t end) { return end == 0 ? 0 : static_cast<std::size_t>(generator_() % end); }
  bool percent(std::size_t chance) { return below(100) < chance; }
  std::uint64_t bits() { return generator_(); }

 private:
  std::mt19937_64 generator_;
};

/// Numbers at which lengths, counts and addresses go wrong.
constexpr std::array<std::uint64_t, 12> kOdd{
    0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1ull << 32, 1ull << 40, 0x7FFFFFFFFFFFFFFF, ~0ull};

void put(std::string& bytes, std::size_t at, std::size_t width, std::uint64_t value) {
  for (std::size_t i = 0; i < width && at + i < bytes.size(); ++i)
    bytes[at + i] = static_cast<char>(value >> (8 * i) & 0xFF);
}

void spoil_number(std::string& bytes, std::size_t at, Choice& choose) {
  const std::size_t width = std::size_t{1} << choose.below(4);
  switch (choose.below(5)) {
    case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << choose.below(8))); break;
    case 1: bytes[at] = static_cast<char>(choose.bits()); break;
    case 2: bytes[at] = static_cast<char>(bytes[at] + (choose.percent(50) ? 1 : -1)); break;
    case 3: put(bytes, at, width, kOdd[choose.below(kOdd.size())]); break;
    default: put(bytes, at, width, choose.bits()); break;
  }
}

void spoil_block(std::string& bytes, const MetadataBlock& block, Choice& choose) {
  // Behind the signature, in front of the checksum.
  for (std::size_t n = 1 + choose.below(3); n > 0; --n)
    spoil_number(bytes, block.begin + 4 + choose.below(block.end - block.begin - 8), choose);
  if (choose.percent(80)) seal(bytes, block);
}

void spoil_stretch(std::string& bytes, Choice& choose) {
  const std::size_t length = 1 + choose.below(std::min<std::size_t>(4096, bytes.size() / 2));
  const std::size_t from = choose.below(bytes.size() - length), to = choose.below(bytes.size() - length);
  switch (choose.below(3)) {
    case 0: std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(to), length, '\0'); break;
    case 1: bytes.replace(to, length, std::string(bytes, from, length)); break;
    default:
      if (from + length <= to || to + length <= from)
        std::swap_ranges(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                         bytes.begin() + static_cast<std::ptrdiff_t>(from + length),
                         bytes.begin() + static_cast<std::ptrdiff_t>(to));
  }
}

}  // namespace

std::string mutant(const Base& base, std::uint64_t seed) {
  Choice choose(seed);
  std::string bytes = base.bytes;
  // Mostly few: one that is refused at once hides the others.
  for (std::size_t faults = choose.percent(60) ? 1 : std::size_t{1} << choose.below(4); faults > 0; --faults) {
    const std::size_t kind = choose.below(100);
    if (kind < 60 && !base.blocks.empty())
      spoil_block(bytes, base.blocks[choose.below(base.blocks.size())], choose);
    else if (kind < 75)
      spoil_number(bytes, choose.below(bytes.size()), choose);
    else if (kind < 80)
      spoil_number(bytes, choose.below(std::min<std::size_t>(bytes.size(), 512)), choose);
    else if (kind < 95)
      spoil_stretch(bytes, choose);
    else {
      bytes.resize(1 + choose.below(bytes.size()));
      return bytes;
    }
  }
  return bytes;
}

std::string mutant_text(const std::string& text, std::uint64_t seed) {
  constexpr std::array<const char*, 24> kPieces{"[",
                                                "]",
                                                "[[",
                                                "{",
                                                "}",
                                                "\"",
                                                "\"\"\"",
                                                "'''",
                                                "=",
                                                ".",
                                                ",",
                                                "\n",
                                                "\r",
                                                "\\",
                                                "1e999",
                                                "-9223372036854775809",
                                                "nan",
                                                "inf",
                                                "0x",
                                                "\xff\xfe",
                                                "\xe2\x80\xae",
                                                "\x1b[31m",
                                                "2026-13-45",
                                                "[[suppressions]]\n"};
  Choice choose(seed);
  std::string out = text;
  for (std::size_t faults = std::size_t{1} << choose.below(6); faults > 0; --faults) {
    const std::size_t at = choose.below(out.size() + 1);
    const std::size_t length = choose.below(std::min<std::size_t>(64, out.size() - at + 1));
    switch (choose.below(7)) {
      case 0: out.insert(at, kPieces[choose.below(kPieces.size())]); break;
      case 1: out.erase(at, length); break;
      case 2: out.insert(at, out.substr(choose.below(out.size()), choose.below(200))); break;
      case 3:
        if (at < out.size()) out[at] = static_cast<char>(choose.bits());
        break;
      case 4:
        for (std::size_t n = std::size_t{1} << choose.below(12); n > 0; --n) out.insert(at, kPieces[choose.below(6)]);
        break;
      case 5: out.insert(at, 1, '\0'); break;
      default:
        if (choose.percent(20)) out.resize(at);
    }
  }
  return out;
}

}  // namespace gradhealth::hostile
