#include <chrono>
#include <sstream>
#include <string>

#include "support/catch.h"
#include "tools/progress.h"
#include "tools/runs.h"
#include "tools/shell.h"

using gradhealth::Progress;
using std::chrono::milliseconds;

TEST_CASE("progress appears after a second, changes ten times a second and is wiped", "[tools]") {
  const Progress::Clock::time_point start{};
  std::ostringstream out;
  {
    Progress progress(&out, "run.h5", 200, start);
    progress.advance(start + milliseconds(999));
    CHECK(out.str().empty());
    progress.advance(start + milliseconds(1001));
    CHECK(out.str() == "\rreading run.h5 [" + std::string(30, ' ') + "]   1 %");
    const std::size_t first = out.str().size();
    progress.advance(start + milliseconds(1100));
    CHECK(out.str().size() == first);
    for (int i = 0; i < 97; ++i) progress.advance(start + milliseconds(1100));
    progress.advance(start + milliseconds(1102));
    CHECK(out.str().substr(first) == "\rreading run.h5 [" + std::string(15, '#') + std::string(15, ' ') + "]  50 %");
    // A live run may have gained rows since it was opened.
    for (int i = 0; i < 200; ++i) progress.advance(start + milliseconds(1103));
    progress.advance(start + milliseconds(2000));
    CHECK(out.str().find("] 100 %") != std::string::npos);
  }
  CHECK(out.str().substr(out.str().size() - 4) == "\r\x1b[K");
}

TEST_CASE("a fast load tells nothing, and a name cannot steer the terminal", "[tools]") {
  const Progress::Clock::time_point start{};
  std::ostringstream fast;
  { Progress(&fast, "run.h5", 0, start).advance(start + milliseconds(10)); }
  CHECK(fast.str().empty());
  std::ostringstream out;
  { Progress(&out, "\x1b[31m\n", 0, start).advance(start + milliseconds(1500)); }
  CHECK(out.str().rfind("\rreading \\x1b[31m\\n [", 0) == 0);
  { Progress(nullptr, "run.h5", 1, start).advance(start + milliseconds(1500)); }
}
