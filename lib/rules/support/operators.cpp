#include "rules/support/operators.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace gradhealth::rules {
namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

std::string operator_name(const std::string& kind) {
  std::string name = kind.substr(kind.rfind(':') == std::string::npos ? 0 : kind.rfind(':') + 1);
  if (!name.empty() && name.back() == '_') name.pop_back();
  return name;
}

bool gives_exact_zeros(const std::string& kind) {
  // relu6 runs as hardtanh, threshold and clamp_min are how ReLU is often written by hand.
  static constexpr std::array<std::string_view, 6> kNames{"clamp", "clamp_min", "hardtanh",
                                                          "relu",  "relu6",     "threshold"};
  const std::string name = operator_name(kind);
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

bool is_embedding(const std::string& kind) { return contains(kind, "embedding"); }

bool is_norm(const std::string& kind) { return contains(kind, "norm"); }

bool is_attention(const std::string& kind) { return contains(kind, "attention") || contains(kind, "transformer"); }

}  // namespace gradhealth::rules
