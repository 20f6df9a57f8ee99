// A trainer in a process of its own, without LibTorch:
//   live_trainer FILE STEPS MILLISECONDS ENDING [FAULT]
// ENDING: close (the run is finished), die (as if killed), stay (sleep until killed). From step FAULT on the first
// layer's gradient is not finite.
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <string>
#include <thread>

#include <gradhealth/run_file.h>

#include "support/synthetic_run.h"

int main(int argc, char** argv) {
  using namespace gradhealth;
  if (argc < 5) return 2;
  const std::int64_t steps = std::atoll(argv[2]);
  const std::chrono::milliseconds pause(std::atoi(argv[3]));
  const std::string ending = argv[4];
  const std::int64_t fault = argc > 5 ? std::atoll(argv[5]) : steps;
  test::SyntheticRun synthetic;
  synthetic.run.info.name = "";
  RunWriter writer(argv[1], synthetic.run);
  std::cout << writer.status().path.string() << std::endl;
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t step = 0; step < steps; ++step) {
    StepRecord record = synthetic.step(step, test::learning(step));
    record.wall_time = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (step >= fault) {
      record.set(Quantity::kGradientNorm, 0, std::numeric_limits<double>::quiet_NaN());
      record.set(Quantity::kGradientNonfinite, 0, 7);
    }
    writer.append(synthetic.run, record);
    std::this_thread::sleep_for(pause);
  }
  writer.flush();
  std::cout << "written" << std::endl;
  if (ending == "die") std::_Exit(9);
  while (ending == "stay") std::this_thread::sleep_for(std::chrono::seconds(1));
  writer.close();
}
