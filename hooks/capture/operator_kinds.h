#pragma once

#include <cstddef>
#include <string_view>

/// What is known of operators by their names, which come without namespace and without the underscore of in-place ones.
namespace gradhealth::hooks {

/// Parameterless operators whose outputs are activations. Others (pooling, views, dropout, sums, and pow, which is part
/// of most hand-written losses) are followed only.
bool is_activation(std::string_view op);

/// Whether the output's units are its channels.
bool counts_channels(std::string_view op);

/// What an operator returns beside the activation; empty for what is none.
std::string_view further_output(std::string_view op, std::size_t index);

/// Operators that a penalty combines a parameter with a constant by, such as w - w0.
bool is_elementwise(std::string_view op);

/// Products that a bias is added to by an operator of its own: linear layers with inputs of three dimensions.
bool lacks_bias(std::string_view op);

/// Operators whose output has its input's values, all or some of them, in another shape, type or place.
bool keeps_values(std::string_view op);

}  // namespace gradhealth::hooks
