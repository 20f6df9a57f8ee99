#include "hooks/recording/rank_comparison.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <exception>
#include <limits>
#include <thread>
#include <utility>

#include <fmt/format.h>

namespace gradhealth::hooks {
namespace {

constexpr std::size_t kMostPending = 64;  ///< Exchanges that nobody has answered.
constexpr std::chrono::seconds kMostWait{2};
constexpr std::int64_t kGreeting = -1;
/// What precedes the fingerprints: step, present, loss, gradient norm, non-finite.
constexpr std::size_t kHead = 5;

}  // namespace

RankComparison::RankComparison(const Ranks& ranks, std::size_t parameters, std::int64_t first_step,
                               std::function<bool(std::int64_t)> is_common, Take take, Tell tell)
    : exchange_(ranks.exchange),
      rank_(ranks.rank),
      parameters_(parameters),
      next_(first_step),
      is_common_(std::move(is_common)),
      take_(std::move(take)),
      tell_(std::move(tell)) {}

RankComparison::Message RankComparison::message_of(std::int64_t step, const RankRow& row) const {
  Message message{static_cast<double>(step), row.present ? 1.0 : 0.0, row.loss, row.gradient_norm, row.nonfinite};
  message.insert(message.end(), row.fingerprints.begin(), row.fingerprints.end());
  // As long as everybody's, though parameters were added since.
  message.resize(kHead + parameters_, std::numeric_limits<double>::quiet_NaN());
  return message;
}

void RankComparison::give_up(const std::string& reason) {
  exchange_.reset();
  sent_.clear();
  for (Held& held : held_) held.waits = false;
  tell_(reason);
}

void RankComparison::send(const Message& message) {
  if (!exchange_) return;
  try {
    exchange_->start(message);
  } catch (const std::exception& error) {
    return give_up(error.what());
  }
  sent_.push_back(greeted_ ? static_cast<std::int64_t>(message.front()) : kGreeting);
  if (sent_.size() > kMostPending) give_up("the other ranks do not answer");
}

/// The steps before `step` that everybody sends and that this rank has not recorded.
void RankComparison::send_until(std::int64_t step) {
  if (!greeted_) {
    send({static_cast<double>(parameters_), static_cast<double>(next_)});
    greeted_ = true;
  }
  for (; next_ < step && exchange_; ++next_)
    if (is_common_(next_)) send(message_of(next_, {}));
}

void RankComparison::complete(const std::vector<Message>& messages) {
  const std::int64_t step = sent_.front();
  sent_.pop_front();
  const Message& own = messages.at(static_cast<std::size_t>(rank_));
  for (const Message& message : messages)
    if (message.front() != own.front() || (step == kGreeting && message != own))
      return give_up(step == kGreeting ? "the ranks' models have different numbers of parameters, or other first steps"
                                       : "the ranks are not at the same step");
  if (step == kGreeting || !holds_rows()) return;
  const auto held = std::find_if(held_.begin(), held_.end(), [&](const Held& each) { return each.row.step == step; });
  if (held == held_.end()) return;
  std::vector<RankRow> rows;
  for (const Message& message : messages) {
    RankRow row;
    row.present = message[1] > 0;
    row.loss = message[2];
    row.gradient_norm = message[3];
    row.nonfinite = message[4];
    row.fingerprints.assign(message.begin() + kHead, message.end());
    rows.push_back(std::move(row));
  }
  for (std::size_t rank = 0; rank < rows.size(); ++rank) add_rank(rank, rows[rank], rows.front(), held->row);
  held->waits = false;
}

void RankComparison::receive() {
  try {
    while (exchange_ && !sent_.empty()) {
      const auto messages = exchange_->finished();
      if (!messages) return;
      complete(*messages);
    }
  } catch (const std::exception& error) {
    give_up(error.what());
  }
}

void RankComparison::hand_on() {
  while (!held_.empty() && !held_.front().waits) {
    StepRecord row = std::move(held_.front().row);
    held_.pop_front();
    take_(row);
  }
}

void RankComparison::add(StepRecord& row) {
  send_until(row.step);
  const bool common = exchange_ && row.step == next_ && is_common_(row.step);
  if (common) {
    send(message_of(row.step, rank_row(row)));
    ++next_;
  }
  const bool waits = common && exchange_ && holds_rows();
  if (waits || !held_.empty()) held_.push_back({row, waits});
  receive();
  if (held_.empty() && !waits) return take_(row);
  hand_on();
}

void RankComparison::finish() {
  const auto until = std::chrono::steady_clock::now() + kMostWait;
  receive();
  // A rank that has nothing to put together has no reason to wait, but the others need its part to be sent.
  while (exchange_ && !sent_.empty() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    receive();
  }
  abandon();
}

void RankComparison::abandon() {
  exchange_.reset();
  for (Held& held : held_) held.waits = false;
  hand_on();
}

}  // namespace gradhealth::hooks
