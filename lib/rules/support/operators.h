#pragma once

#include <string>

/// What an operator's name says about it. Names come with or without "aten::" and a trailing "_".
namespace gradhealth::rules {

/// "aten::relu_" and "relu" are "relu".
std::string operator_name(const std::string& kind);

/// Gives exactly 0 over a range of its input, with derivative 0 there.
bool gives_exact_zeros(const std::string& kind);

bool is_embedding(const std::string& kind);
bool is_norm(const std::string& kind);
bool is_attention(const std::string& kind);

}  // namespace gradhealth::rules
