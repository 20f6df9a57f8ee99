#include "hooks/coverage_cases.h"

namespace gradhealth::test {
namespace {

namespace nn = torch::nn;

Walk lstm() {
  nn::LSTM net(nn::LSTMOptions(4, 5).num_layers(2).bidirectional(true));
  const torch::Tensor input = torch::randn({6, 3, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    const auto [output, state] = net(input);
    const auto& [h, c] = state;
    return ByHand{loss_of(output) + loss_of(h) + loss_of(c), {{"lstm", output}, {"lstm:h_n", h}, {"lstm:c_n", c}}};
  };
  return walk_of({{"lstm", net.ptr()}}, by_hand);
}

/// Only the last output is used, as classifiers do.
Walk lstm_classifier() {
  nn::LSTM net(nn::LSTMOptions(4, 5).batch_first(true));
  nn::Linear head(5, 2);
  const torch::Tensor input = torch::randn({3, 6, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    const torch::Tensor output = std::get<0>(net(input));
    const torch::Tensor tanh = output.select(1, -1).tanh();
    const torch::Tensor scores = head(tanh);
    return ByHand{loss_of(scores), {{"lstm", output}, {"lstm:tanh", tanh}, {"head", scores}}};
  };
  return walk_of({{"lstm", net.ptr()}, {"head", head.ptr()}}, by_hand);
}

/// The sequence itself is not used, as in encoders of sequence-to-sequence models.
Walk lstm_encoder() {
  nn::LSTM net(nn::LSTMOptions(4, 5));
  nn::Linear head(5, 2);
  const torch::Tensor input = torch::randn({6, 3, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    const torch::Tensor h = std::get<0>(std::get<1>(net(input)));
    const torch::Tensor scores = head(h.squeeze(0));
    return ByHand{loss_of(scores), {{"lstm:h_n", h}, {"head", scores}}};
  };
  return walk_of({{"lstm", net.ptr()}, {"head", head.ptr()}}, by_hand);
}

Walk packed_lstm() {
  nn::LSTM net(nn::LSTMOptions(4, 5));
  const torch::Tensor input = torch::randn({6, 3, 4});
  const torch::Tensor lengths = torch::tensor({6, 4, 1}, torch::kInt64);
  const std::function<ByHand()> by_hand = [=]() mutable {
    const auto packed = nn::utils::rnn::pack_padded_sequence(input, lengths);
    const torch::Tensor output = std::get<0>(net->forward_with_packed_input(packed)).data();
    return ByHand{loss_of(output), {{"lstm", output}}};
  };
  return walk_of({{"lstm", net.ptr()}}, by_hand);
}

Walk gru_and_rnn() {
  nn::GRU gru(nn::GRUOptions(4, 5).num_layers(2));
  nn::RNN rnn(nn::RNNOptions(5, 3));
  const torch::Tensor input = torch::randn({6, 3, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    const auto [sequence, gru_state] = gru(input);
    const auto [output, rnn_state] = rnn(sequence);
    return ByHand{loss_of(output) + loss_of(gru_state) + loss_of(rnn_state),
                  {{"gru", sequence}, {"gru:h_n", gru_state}, {"rnn", output}, {"rnn:h_n", rnn_state}}};
  };
  return walk_of({{"gru", gru.ptr()}, {"rnn", rnn.ptr()}}, by_hand);
}

Walk lstm_cell() {
  nn::LSTMCell cell(4, 5);
  const torch::Tensor input = torch::randn({3, 2, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    ByHand pass;
    torch::Tensor h = torch::zeros({2, 5});
    torch::Tensor c = torch::zeros({2, 5});
    for (int t = 0; t < 3; ++t) {
      std::tie(h, c) = cell(input[t], std::make_tuple(h, c));
      const std::string name = t == 0 ? "cell" : "cell#" + std::to_string(t);
      pass.activations.push_back({name, h});
      pass.activations.push_back({name + ":c", c});
    }
    pass.loss = loss_of(h) + loss_of(c);
    return pass;
  };
  return walk_of({{"cell", cell.ptr()}}, by_hand);
}

template <typename Cell>
Walk simple_cell(Cell cell) {
  const torch::Tensor input = torch::randn({3, 2, 4});
  const std::function<ByHand()> by_hand = [=]() mutable {
    ByHand pass;
    torch::Tensor h = torch::zeros({2, 5});
    for (int t = 0; t < 3; ++t) {
      h = cell(input[t], h);
      pass.activations.push_back({t == 0 ? "cell" : "cell#" + std::to_string(t), h});
    }
    pass.loss = loss_of(h);
    return pass;
  };
  return walk_of({{"cell", cell.ptr()}}, by_hand);
}

}  // namespace

std::vector<CoverageCase> recurrent_cases() {
  return {
      {"LSTM", "one activation for all layers and times; `h_n`, `c_n` where the loss depends on them", lstm},
      {"LSTM, last output used", "", lstm_classifier},
      {"LSTM, state used", "", lstm_encoder},
      {"LSTM, packed sequence", "", packed_lstm},
      {"GRU, RNN", "", gru_and_rnn},
      {"LSTMCell", "each call is its own record", lstm_cell},
      {"GRUCell", "each call is its own record", [] { return simple_cell(nn::GRUCell(4, 5)); }},
      {"RNNCell", "each call is its own record", [] { return simple_cell(nn::RNNCell(4, 5)); }},
  };
}

}  // namespace gradhealth::test
