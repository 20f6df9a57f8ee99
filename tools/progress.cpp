#include "progress.h"

#include <algorithm>
#include <ostream>

#include <fmt/format.h>

#include <gradhealth/report.h>

namespace gradhealth {

using std::chrono::milliseconds;

Progress::Progress(std::ostream* out, const std::string& run, std::int64_t rows, Clock::time_point now)
    : out_(out), run_(printable(run)), rows_(std::max<std::int64_t>(rows, 1)), next_(now + milliseconds(1000)) {}

Progress::~Progress() {
  if (shown_) *out_ << "\r\x1b[K" << std::flush;
}

void Progress::advance() {
  if (out_ != nullptr) advance(Clock::now());
}

void Progress::advance(Clock::time_point now) {
  ++done_;
  if (out_ == nullptr || now < next_) return;
  next_ = now + milliseconds(100);
  shown_ = true;
  constexpr std::int64_t cells = 30;
  const std::int64_t done = std::min(done_, rows_);
  const auto full = static_cast<std::size_t>(cells * done / rows_);
  // A name that wraps could not be wiped.
  const std::string name = run_.size() > 30 ? "the run" : run_;
  *out_ << fmt::format("\rreading {} [{}{}] {:3} %", name, std::string(full, '#'),
                       std::string(static_cast<std::size_t>(cells) - full, ' '), 100 * done / rows_)
        << std::flush;
}

}  // namespace gradhealth
