// Runs the README's trainer on a small model and looks at what it has recorded.
#include <torch/torch.h>

#include "trainer.h"

#include <gradhealth/run_file.h>

int main(int, char** argv) {
  torch::nn::Sequential net(torch::nn::Linear(4, 8), torch::nn::ReLU(), torch::nn::Linear(8, 3));
  std::vector<Batch> batches;
  for (int i = 0; i < 5; ++i) batches.push_back({torch::randn({16, 4}), torch::randint(3, {16})});
  train(net, batches, argv[1]);
  const gradhealth::RunReader reader(argv[1]);
  return reader.rows() == 5 && reader.run().of(gradhealth::Axis::kActivation).size() == 3 ? 0 : 1;
}
