#include "run_file/stored_text.h"

#include <algorithm>
#include <cstdint>

#include <fmt/format.h>

namespace gradhealth::run_file {
namespace {

constexpr std::string_view kCut = "\u2026";
constexpr std::string_view kReplacement = "\ufffd";

bool continues(unsigned byte) { return (byte & 0xc0) == 0x80; }

/// Bytes of the valid UTF-8 sequence at the front of `text`, or 0.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) -> unsigned { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0; };
  const unsigned first = byte(0), second = byte(1);
  if (first == 0) return 0;
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4 || !continues(byte(1))) return 0;
  if (first < 0xe0) return 2;
  // Overlong forms, surrogates and code points beyond U+10FFFF are no UTF-8.
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return 0;
  if ((first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return 0;
  if (!continues(byte(2))) return 0;
  if (first < 0xf0) return 3;
  return continues(byte(3)) ? 4 : 0;
}

std::string valid_utf8(std::string_view text) {
  std::string valid;
  valid.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = sequence_length(text);
    valid.append(length > 0 ? text.substr(0, length) : kReplacement);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return valid;
}

std::string_view cut(std::string_view valid, std::size_t width) {
  if (valid.size() <= width) return valid;
  while (width > 0 && continues(static_cast<unsigned char>(valid[width]))) --width;
  return valid.substr(0, width);
}

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string stored_text(std::string_view text, std::size_t width) {
  std::string valid = valid_utf8(text);
  if (valid.size() <= width) return valid;
  if (width < kCut.size()) return std::string(cut(valid, width));
  return std::string(cut(valid, width - kCut.size())).append(kCut);
}

std::string stored_name(std::string_view name, std::size_t width) {
  std::string valid = valid_utf8(name);
  if (valid.size() <= width && valid == name) return valid;
  const std::string tail = fmt::format("{}#{:016x}", kCut, fnv1a(name));
  return std::string(cut(valid, width - std::min(width, tail.size()))).append(tail);
}

}  // namespace gradhealth::run_file
