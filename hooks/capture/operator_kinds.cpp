#include "hooks/capture/operator_kinds.h"

#include <algorithm>
#include <array>

namespace gradhealth::hooks {
namespace {

constexpr std::array<std::string_view, 32> kActivationOperators{
    "celu",  "clamp",      "clamp_max",   "clamp_min",   "elu",      "exp",        "expm1", "gelu",
    "glu",   "hardshrink", "hardsigmoid", "hardswish",   "hardtanh", "leaky_relu", "log",   "log10",
    "log1p", "log2",       "log_sigmoid", "log_softmax", "mish",     "relu",       "relu6", "rsqrt",
    "selu",  "sigmoid",    "silu",        "softmax",     "softplus", "sqrt",       "tanh",  "threshold"};

constexpr std::array<std::string_view, 34> kKeepingOperators{"_reshape_alias",
                                                             "_to_copy",
                                                             "_unsafe_view",
                                                             "alias",
                                                             "broadcast_tensors",
                                                             "chunk",
                                                             "clone",
                                                             "contiguous",
                                                             "detach",
                                                             "expand",
                                                             "expand_as",
                                                             "flatten",
                                                             "index",
                                                             "index_select",
                                                             "masked_select",
                                                             "movedim",
                                                             "narrow",
                                                             "permute",
                                                             "reshape",
                                                             "reshape_as",
                                                             "select",
                                                             "slice",
                                                             "split",
                                                             "squeeze",
                                                             "swapaxes",
                                                             "t",
                                                             "to",
                                                             "transpose",
                                                             "type_as",
                                                             "unbind",
                                                             "unflatten",
                                                             "unsqueeze",
                                                             "view",
                                                             "view_as"};

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& sorted, std::string_view op) {
  return std::binary_search(sorted.begin(), sorted.end(), op);
}

}  // namespace

bool is_activation(std::string_view op) { return is_one_of(kActivationOperators, op); }

bool counts_channels(std::string_view op) {
  for (std::string_view prefix : {"conv", "_conv", "batch_norm", "instance_norm", "group_norm"})
    if (op.substr(0, prefix.size()) == prefix) return true;
  return false;
}

std::string_view further_output(std::string_view op, std::size_t index) {
  if (op == "lstm") return index == 1 ? "h_n" : "c_n";
  if (op == "gru" || op == "rnn_tanh" || op == "rnn_relu") return "h_n";
  if (op == "lstm_cell") return "c";
  return {};
}

bool is_elementwise(std::string_view op) {
  return op == "add" || op == "sub" || op == "rsub" || op == "mul" || op == "div";
}

bool lacks_bias(std::string_view op) { return op == "matmul" || op == "mm" || op == "bmm" || op == "linear"; }

bool keeps_values(std::string_view op) { return is_one_of(kKeepingOperators, op); }

}  // namespace gradhealth::hooks
