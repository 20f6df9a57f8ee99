#include <cmath>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include <gradhealth/report.h>

#include "report/wrap.h"
#include "support/catch.h"
#include "support/synthetic_run.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

std::vector<std::string> frame(const std::vector<WatchState>& states, std::size_t width, std::size_t height,
                               Charset charset = Charset::kUnicode) {
  std::ostringstream out;
  TerminalOptions options;
  options.width = width;
  options.charset = charset;
  write_watch_frame(out, states, options, height);
  std::vector<std::string> lines;
  std::istringstream in(out.str());
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

bool contains(const std::vector<std::string>& lines, const std::string& part) {
  for (const std::string& line : lines)
    if (line.find(part) != std::string::npos) return true;
  return false;
}

WatchState watched(std::int64_t steps) {
  SyntheticRun synthetic;
  WatchCollector collector;
  for (std::int64_t step = 0; step < steps; ++step) {
    StepRecord record = synthetic.step(step, learning(step));
    record.wall_time = 0.25 * static_cast<double>(step);
    record.set(Quantity::kUpdateRatio, 4, 0.5);
    collector.observe(synthetic.run, record);
  }
  WatchState state = collector.state();
  state.name = "run.h5";
  state.phase = WatchPhase::kRecording;
  return state;
}

Finding finding(const std::string& subject, std::int64_t step) {
  Finding found;
  found.rule = "nonfinite-gradient";
  found.severity = Severity::kError;
  found.subject.name = subject;
  found.first_step = step;
  return found;
}

}  // namespace

TEST_CASE("the collector keeps the latest numbers, the speed and who stands out", "[report]") {
  const WatchState state = watched(50);
  CHECK(state.rows == 50);
  CHECK(state.step == 49);
  CHECK(state.loss == learning(49));
  REQUIRE(state.steps_per_second.has_value());
  CHECK(std::abs(*state.steps_per_second - 4) < 1e-9);
  REQUIRE(state.worst.size() == 5);
  CHECK(state.worst[0].name == "fc2.weight");
  CHECK_FALSE(WatchCollector().state().loss.has_value());
}

TEST_CASE("missing and NaN are two things on the screen as well", "[report]") {
  SyntheticRun synthetic;
  WatchCollector collector;
  StepRecord record = synthetic.step(0, 1);
  record.set(Quantity::kLoss, std::numeric_limits<double>::quiet_NaN());
  record.set(Quantity::kLossNonfinite, 1);
  record.set(Quantity::kGradientNorm, 2, std::numeric_limits<double>::quiet_NaN());
  record.set(Quantity::kGradientNonfinite, 2, 3);
  collector.observe(synthetic.run, record);
  WatchState state = collector.state();
  state.phase = WatchPhase::kRecording;
  CHECK(contains(frame({state}, 80, 23), "loss NaN"));
  REQUIRE_FALSE(state.worst.empty());
  CHECK(state.worst[0].name == "fc1.weight");
  CHECK(contains(frame({state}, 80, 23), "NaN"));
  // A later row that holds nothing changes nothing.
  StepRecord nothing;
  nothing.step = 1;
  collector.observe(synthetic.run, nothing);
  CHECK(std::isnan(collector.state().loss.value()));
  StepRecord better;
  better.step = 2;
  better.set(Quantity::kLoss, 2.5);
  collector.observe(synthetic.run, better);
  CHECK(collector.state().loss == 2.5);
}

TEST_CASE("a frame stays within the terminal, whatever its size and the names", "[report]") {
  WatchState state = watched(80);
  state.name = "a very long name/with größe \x1b[2J and \xff bytes/run.h5";
  for (WatchState::Parameter& parameter : state.worst) parameter.name = "\x1b[31mencoder.größe." + std::string(90, 'x');
  for (int i = 0; i < 40; ++i) state.findings.push_back(finding("layer\n::error::" + std::to_string(i), i));
  for (const std::size_t width : {20, 40, 79, 200})
    for (const std::size_t height : {1, 2, 5, 12, 17, 23, 50})
      for (const Charset charset : {Charset::kUnicode, Charset::kAscii}) {
        CAPTURE(width, height);
        const std::vector<std::string> lines = frame({state}, width, height, charset);
        CHECK(lines.size() <= height);
        for (const std::string& line : lines) {
          CHECK(display_width(line) <= width);
          CHECK(line.find('\x1b') == std::string::npos);
          if (charset == Charset::kAscii)
            for (const char c : line) CHECK(static_cast<unsigned char>(c) < 128);
        }
      }
  // The latest findings are those that are shown.
  const std::vector<std::string> lines = frame({state}, 79, 23);
  CHECK(contains(lines, "since step 39"));
  CHECK(contains(lines, "earlier findings"));
  CHECK_FALSE(contains(lines, "since step 0,"));
}

TEST_CASE("a frame says what is going on", "[report]") {
  WatchState state = watched(10);
  CHECK(contains(frame({state}, 79, 23), "run.h5  recording"));
  CHECK(contains(frame({state}, 79, 23), "4 steps/s"));
  state.phase = WatchPhase::kStalled;
  state.idle_seconds = 90;
  CHECK(contains(frame({state}, 79, 23), "no new steps since 90 s; the trainer may be dead"));
  CHECK_FALSE(contains(frame({state}, 79, 23), "steps/s"));
  state.phase = WatchPhase::kFinished;
  state.verdict = Verdict::kHealthy;
  CHECK(contains(frame({state, state}, 79, 23), "run.h5  finished: HEALTHY"));
  WatchState nothing;
  nothing.name = "run.h5";
  CHECK(frame({nothing}, 79, 23)[0] == "run.h5  waiting for the run to begin");
}
