#include "run_file/schema.h"

namespace gradhealth::run_file {

std::string path_of(const QuantityInfo& quantity) {
  if (quantity.axis == Axis::kRun) return std::string(quantity.name);
  return std::string(name(quantity.axis)) + "/" + std::string(quantity.name);
}

std::string fit(std::string_view text, std::size_t width) {
  constexpr std::string_view kEllipsis = "…";
  if (text.size() <= width) return std::string(text);
  std::size_t end = width - kEllipsis.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;  // Not within a character.
  return std::string(text.substr(0, end)) + std::string(kEllipsis);
}

}  // namespace gradhealth::run_file
