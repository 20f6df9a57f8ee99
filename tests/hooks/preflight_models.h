#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <torch/torch.h>

#include <gradhealth/hooks_preflight.h>

#include "support/catch.h"

/// Models that a preflight looks at, and what is expected of it.
namespace gradhealth::test {

struct Batch {
  torch::Tensor data;
  torch::Tensor target;
};

inline const auto kCrossEntropy = [](const torch::Tensor& output, const torch::Tensor& target) {
  return torch::cross_entropy_loss(output, target);
};
inline const auto kSquaredError = [](const torch::Tensor& output, const torch::Tensor& target) {
  return torch::mse_loss(output, target);
};

/// Word indices to one class.
struct SequenceNetImpl : torch::nn::Module {
  torch::nn::Embedding embedding{50, 24};
  torch::nn::LSTM lstm{torch::nn::LSTMOptions(24, 32).num_layers(2).batch_first(true)};
  torch::nn::Linear head{32, 5};

  SequenceNetImpl() {
    register_module("embedding", embedding);
    register_module("lstm", lstm);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& words) {
    return head(std::get<0>(lstm(embedding(words))).select(1, words.size(1) - 1));
  }
};
TORCH_MODULE(SequenceNet);

struct AttentionNetImpl : torch::nn::Module {
  torch::nn::Embedding embedding{50, 32};
  torch::nn::TransformerEncoder encoder{
      torch::nn::TransformerEncoderLayer(torch::nn::TransformerEncoderLayerOptions(32, 4).dim_feedforward(64)), 2};
  torch::nn::Linear head{32, 50};

  AttentionNetImpl() {
    register_module("embedding", embedding);
    register_module("encoder", encoder);
    register_module("head", head);
  }
  torch::Tensor forward(const torch::Tensor& words) { return head(encoder(embedding(words))).flatten(0, 1); }
};
TORCH_MODULE(AttentionNet);

template <typename Activation>
torch::nn::Sequential chain(std::int64_t inputs, std::int64_t width, int hidden, std::int64_t outputs) {
  torch::nn::Sequential net;
  for (int i = 0; i < hidden; ++i) {
    net->push_back(torch::nn::Linear(i == 0 ? inputs : width, width));
    net->push_back(Activation());
  }
  net->push_back(torch::nn::Linear(width, outputs));
  return net;
}

inline Batch classes(std::vector<std::int64_t> shape, std::int64_t count) {
  const torch::Tensor data = torch::randn(shape);
  return {data, torch::randint(count, {shape[0]})};
}

/// Everything that a preflight might leave changed.
inline std::vector<torch::Tensor> state_of(const torch::nn::Module& net) {
  std::vector<torch::Tensor> state;
  for (const torch::Tensor& parameter : net.parameters()) {
    state.push_back(parameter.detach().clone());
    state.push_back(parameter.grad().defined() ? parameter.grad().clone() : torch::Tensor());
  }
  for (const torch::Tensor& buffer : net.buffers()) state.push_back(buffer.clone());
  state.push_back(at::globalContext().defaultGenerator(at::kCPU).get_state());
  for (const auto& module : net.modules(/*include_self=*/false)) state.push_back(torch::tensor(module->is_training()));
  return state;
}

inline void check_identical(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].defined() == b[i].defined());
    if (a[i].defined()) CHECK(torch::equal(a[i], b[i]));
  }
}

inline const Finding* find(const std::vector<DiagnosedFinding>& findings, const std::string& rule) {
  for (const DiagnosedFinding& each : findings) {
    if (each.finding.rule == rule) return &each.finding;
    if (const Finding* below = find(each.consequences, rule)) return below;
  }
  return nullptr;
}

inline void check_told(const PreflightReport& report, const std::string& rule) {
  INFO(report);
  CHECK_FALSE(report.healthy());
  const Finding* finding = find(report.diagnosis.roots, rule);
  REQUIRE(finding != nullptr);
  CHECK(finding->severity > Severity::kInfo);
  CHECK(report.text().find(finding->message) != std::string::npos);
}

}  // namespace gradhealth::test
