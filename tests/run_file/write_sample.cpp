// Writes a sample run for the test that reads it with h5py: write_sample FILE [live].
#include <cstdlib>
#include <cstring>
#include <string>

#include <gradhealth/run_file.h>

#include "run_file/sample_run.h"

int main(int argc, char** argv) {
  using namespace gradhealth;
  if (argc < 2) return 2;
  Run run = test::sample_run();
  auto* writer = new RunWriter(argv[1], run);
  run.of(Axis::kActivation).push_back({"conv1", "conv1", "conv2d", "8x4x6x6", "float32", 4});
  run.of(Axis::kFeature).push_back({"channel 0", "", "conv2d", "8x1x8x8", "float32", 64});
  for (std::size_t bin = 0; bin < kInputBins; ++bin)
    run.of(Axis::kInputBin).push_back(
        {"channel 0, bin " + std::to_string(bin), "", "conv2d", "8x1x8x8", "float32", 64});
  for (std::int64_t step = 0; step < 25; ++step) writer->append(run, test::sample_row(run, step));
  writer->flush();
  if (argc > 2 && std::strcmp(argv[2], "live") == 0) std::_Exit(0);  // As if killed.
  writer->close();
  delete writer;
}
