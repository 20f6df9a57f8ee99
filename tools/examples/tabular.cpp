// Prices of flats from a table, as a regression.
//   example_tabular broken|fixed [RUN.h5]
// Broken: area, year, income and distance in the units of the table, and so is the price. Fixed: each column less its
// mean, over its standard deviation.
#include <iostream>
#include <string>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

struct Table {
  torch::Tensor flats;   ///< A row a flat: m², year, income in the district, metres to the station.
  torch::Tensor prices;  ///< One column.
};

Table table(std::int64_t rows) {
  const torch::Tensor area = 40 + 120 * torch::rand({rows, 1});
  const torch::Tensor year = 1900 + 120 * torch::rand({rows, 1});
  const torch::Tensor income = 20'000 + 60'000 * torch::rand({rows, 1});
  const torch::Tensor metres = 3'000 * torch::rand({rows, 1});
  const torch::Tensor square_metre = 1'500 + 0.05 * income + 15 * (year - 1900) - 0.8 * metres;
  return {torch::cat({area, year, income, metres}, 1), area * square_metre + 10'000 * torch::randn({rows, 1})};
}

int main(int argc, char** argv) {
  const std::string which = argc > 1 ? argv[1] : "";
  if (which != "broken" && which != "fixed") {
    std::cerr << "usage: example_tabular broken|fixed [RUN.h5]\n";
    return 2;
  }
  torch::manual_seed(1);
  const Table training = table(4096);
  const Table test = table(1024);
  torch::Tensor mean = torch::zeros({1, 4}), deviation = torch::ones({1, 4});
  torch::Tensor mean_price = torch::zeros({1}), deviation_price = torch::ones({1});
  if (which == "fixed") {  // Measured on the training set, used on both.
    mean = training.flats.mean(0, true);
    deviation = training.flats.std(0, true, true);
    mean_price = training.prices.mean();
    deviation_price = training.prices.std();
  }
  const auto input = [&](const torch::Tensor& flats) { return (flats - mean) / deviation; };

  torch::nn::Sequential net(torch::nn::Linear(4, 64), torch::nn::ReLU(), torch::nn::Linear(64, 64), torch::nn::ReLU(),
                            torch::nn::Linear(64, 1));
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9));
  gradhealth::Monitor monitor(*net, optimizer, argc > 2 ? argv[2] : "tabular-" + which + ".h5");
  for (int step = 0; step < 1000; ++step) {
    const torch::Tensor rows = torch::randint(training.flats.size(0), {64});
    const torch::Tensor target = (training.prices.index_select(0, rows) - mean_price) / deviation_price;
    optimizer.zero_grad();
    const torch::Tensor loss = torch::mse_loss(net->forward(input(training.flats.index_select(0, rows))), target);
    monitor.backward(loss);
    monitor.step(loss);
    optimizer.step();
    if (step % 100 == 0) std::cout << "step " << step << "  loss " << loss.item<float>() << '\n';
  }

  const torch::NoGradGuard no_grad;
  const torch::Tensor predicted = net->forward(input(test.flats)) * deviation_price + mean_price;
  std::cout << "wrong by " << (predicted - test.prices).abs().mean().item<float>()
            << " on average, of prices that differ by " << test.prices.std().item<float>() << '\n';
}
