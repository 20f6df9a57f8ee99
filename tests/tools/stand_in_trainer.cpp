// A trainer without a network: stand_in_trainer healthy|broken|nothing|failing|once MARK|--steps N writes run.h5
// accordingly.
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>

#include "tools/runs.h"

int main(int argc, char** argv) {
  const std::string how = argc > 1 ? argv[1] : "";
  if (how == "healthy" || how == "--steps") runs::healthy("run.h5");
  if (how == "broken") runs::broken("run.h5");
  if (how == "failing") {
    runs::healthy("run.h5");
    std::cerr << "the data set is missing\n";
    return 3;
  }
  // The first time only, as a trainer whose recording was switched off since.
  if (how == "once" && argc > 2 && !std::filesystem::exists(argv[2])) {
    runs::healthy("run.h5");
    std::ofstream(argv[2]) << "done";
  }
  return how.empty() ? 2 : 0;
}
