#include "hooks/recorded_loop.h"

#include "support/catch.h"

namespace gradhealth::test {

Rows record_steps(torch::nn::Module& module, int steps, const std::function<torch::Tensor(int)>& loss_at,
                  const MonitorOptions& options) {
  TemporaryDirectory directory;
  torch::optim::SGD optimizer(module.parameters(), torch::optim::SGDOptions(0.01));
  Monitor monitor(module, optimizer, directory / "run.h5", options);
  for (int step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const torch::Tensor loss = loss_at(step);
    loss.backward();
    monitor.step(loss);
    optimizer.step();
  }
  monitor.close();
  REQUIRE(monitor.status().error.empty());
  return Rows(directory / "run.h5");
}

std::vector<std::string> events_of(const Rows& rows, const std::string& kind) {
  std::vector<std::string> texts;
  for (const StepRecord& row : rows.rows)
    for (const Event& event : row.events)
      if (event.kind == kind) texts.push_back(event.subject + ": " + event.text);
  return texts;
}

}  // namespace gradhealth::test
