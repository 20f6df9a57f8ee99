#include "hostile/bases.h"

#include <algorithm>
#include <limits>

#include <gradhealth/run_file.h>

#include "hostile/process.h"
#include "run_file/sample_run.h"
#include "support/synthetic_run.h"

namespace gradhealth::hostile {
namespace {

enum class Ending { kClosed, kAlive };

std::string finish(RunWriter& writer, Ending ending) {
  ending == Ending::kClosed ? writer.close() : writer.flush();
  return content_of(writer.status().path);
}

std::string sample(const std::filesystem::path& path, Ending ending) {
  const Run run = test::sample_run();
  RunWriter writer(path, run);
  for (std::int64_t step = 0; step < 40; ++step) writer.append(run, test::sample_row(run, step));
  return finish(writer, ending);
}

/// A small network whose gradients turn NaN after 12 steps.
std::string unhealthy(const std::filesystem::path& path, Ending ending, std::int64_t first_step = 0,
                      const std::string& continues = {}) {
  test::SyntheticOptions options;
  options.layers = options.features = 2;
  test::SyntheticRun synthetic(options);
  synthetic.run.info.first_step = first_step;
  synthetic.run.info.continues = continues;
  RunWriter writer(path, synthetic.run);
  for (std::int64_t step = first_step; step < first_step + 40; ++step) {
    StepRecord record = synthetic.step(step, test::learning(step));
    if (step >= first_step + 12) {
      record.set(Quantity::kGradientNorm, 0, std::numeric_limits<double>::quiet_NaN());
      record.set(Quantity::kGradientNonfinite, 0, 7);
    }
    if (step == first_step + 12) {
      record.events.push_back({step, "nonfinite-origin", "fc0",
                               "source=operator op=log place=after:fc0 pass=forward step=12 how=traced "
                               "input=64x10:float32:0:1.5:0:0:640 output=64x10:float32:0:1.5:3:1:640"});
      record.events.push_back({step, "flight-recorder", "fc0", "op=relu order=-1 output=64x10:float32:0:1.5:0:0:640"});
      record.events.push_back({step, "operator-pattern", "fc1", "pattern=log-of-softmax op=log output=64x10"});
    }
    writer.append(synthetic.run, record);
  }
  writer.append(Event{first_step + 40, "intervention", "", "action=stopped rule=nonfinite-gradient"});
  return finish(writer, ending);
}

}  // namespace

std::vector<Base> written_bases(const std::filesystem::path& directory) {
  const std::string first = unhealthy(directory / "run.h5", Ending::kAlive);
  const std::string later = unhealthy(directory / "later.h5", Ending::kClosed, 25, "run.h5");
  const std::string earlier = unhealthy(directory / "part.h5", Ending::kAlive);
  const std::string last = unhealthy(directory / "last.h5", Ending::kClosed, 25, "part.h5");
  std::vector<Base> bases{{"closed", sample(directory / "closed.h5", Ending::kClosed)},
                          {"alive", sample(directory / "alive.h5", Ending::kAlive)},
                          {"unhealthy", unhealthy(directory / "unhealthy.h5", Ending::kClosed)},
                          {"continued", first, {}, later},
                          {"continuing", last, {}, earlier}};
  for (Base& base : bases) base.blocks = metadata_blocks(base.bytes);
  return bases;
}

std::vector<std::filesystem::path> structured_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".h5") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

Base structured_base(const std::filesystem::path& file) { return {file.stem().string(), content_of(file)}; }

}  // namespace gradhealth::hostile
