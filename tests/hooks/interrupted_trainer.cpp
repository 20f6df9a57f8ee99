// Trains until it is killed, and writes how many steps are committed: interrupted_trainer RUN_FILE
#include <csignal>
#include <cstdio>

#include <torch/torch.h>

#include <gradhealth/hooks.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::signal(SIGINT, SIG_DFL);  // A test runner may have had it ignored.
  torch::set_num_threads(1);
  torch::nn::Sequential net(torch::nn::Linear(3, 4), torch::nn::ReLU(), torch::nn::Linear(4, 1));
  torch::optim::SGD optimizer(net->parameters(), torch::optim::SGDOptions(0.01));
  gradhealth::MonitorOptions options;
  options.every = 1;
  options.messages = gradhealth::Messages::kNone;
  gradhealth::Monitor monitor(*net, optimizer, argv[1], options);
  std::int64_t committed = 0;
  while (true) {
    optimizer.zero_grad();
    const torch::Tensor loss = net->forward(torch::randn({8, 3})).pow(2).mean();
    loss.backward();
    monitor.step(loss);
    optimizer.step();
    if (monitor.status().committed_steps == committed) continue;
    committed = monitor.status().committed_steps;
    std::printf("%lld\n", static_cast<long long>(committed));
    std::fflush(stdout);
  }
}
