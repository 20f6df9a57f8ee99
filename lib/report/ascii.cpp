#include <algorithm>
#include <iterator>

#include <fmt/format.h>

#include "report/escape.h"

namespace gradhealth {
namespace {

struct Spelling {
  std::string_view symbol;
  std::string_view ascii;
};

/// What rules, advice and units are written with.
constexpr Spelling kSpellings[] = {
    {"≥", ">="}, {"≤", "<="},    {"≈", "~"},     {"≠", "!="},    {"×", "x"},   {"·", "*"},     {"√", "sqrt "},
    {"‖", "||"}, {"²", "^2"},    {"³", "^3"},    {"₀", "0"},     {"₁", "1"},   {"₂", "2"},     {"ᵀ", "^T"},
    {"∂", "d"},  {"Δ", "d"},     {"∞", "inf"},   {"°", " deg"},  {"−", "-"},   {"–", "-"},     {"—", "--"},
    {"→", "->"}, {"←", "<-"},    {"…", "..."},   {"★", "*"},     {"“", "\""},  {"”", "\""},    {"‘", "'"},
    {"’", "'"},  {"α", "alpha"}, {"β", "beta"},  {"γ", "gamma"}, {"η", "eta"}, {"θ", "theta"}, {"λ", "lambda"},
    {"µ", "u"},  {"μ", "mu"},    {"σ", "sigma"}, {"χ", "chi"},   {"▲", "^"}};

}  // namespace

std::string ascii(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::optional<CodePoint> c = decode(text);
    const std::size_t bytes = c ? c->bytes : 1;
    const std::string_view symbol = text.substr(0, bytes);
    const auto* const known = std::find_if(std::begin(kSpellings), std::end(kSpellings),
                                           [&](const Spelling& each) { return each.symbol == symbol; });
    if (known != std::end(kSpellings))
      out += known->ascii;
    else if (c && c->value < 0x80)
      out += text[0];
    else
      out += fmt::format("\\u{{{:x}}}", c ? c->value : static_cast<unsigned char>(text[0]));
    text.remove_prefix(bytes);
  }
  return out;
}

}  // namespace gradhealth
