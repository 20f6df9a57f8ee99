#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gradhealth/hooks.h>
#include <gradhealth/ranks.h>
#include <gradhealth/run.h>

namespace gradhealth::hooks {

/// Sends what is compared of this rank to all others, and on rank 0 puts theirs beside its own rows.
///
/// All ranks send the same messages in the same order, whatever they have recorded: one that says how many parameters
/// there are, then one for each step of the common schedule. Nobody waits: rank 0 holds its rows back until the others'
/// numbers are there, and goes on alone if they do not come.
class RankComparison {
 public:
  using Take = std::function<void(StepRecord&)>;

  using Tell = std::function<void(const std::string& reason)>;

  /// @param is_common whether all ranks send something for a step: a function of the step alone.
  /// @param take gets the rows that are complete, in their order. @param tell why the others are not asked any more, once.
  RankComparison(const Ranks& ranks, std::size_t parameters, std::int64_t first_step,
                 std::function<bool(std::int64_t)> is_common, Take take, Tell tell);

  /// Sends what is due, and hands on the rows that are complete. @throws what `take` throws, as all of these.
  void add(StepRecord& row);
  /// Waits for the others' numbers, two seconds at most, and hands on the rest.
  void finish();
  /// Hands on the rest at once, and asks nobody any more.
  void abandon();

 private:
  using Message = std::vector<double>;

  bool holds_rows() const { return rank_ == 0; }
  void send(const Message& message);
  void send_until(std::int64_t step);
  Message message_of(std::int64_t step, const RankRow& row) const;
  void receive();
  void complete(const std::vector<Message>& messages);
  void hand_on();
  void give_up(const std::string& reason);

  std::shared_ptr<RankExchange> exchange_;
  std::int64_t rank_;
  std::size_t parameters_;
  std::int64_t next_;  ///< The next step that may be common.
  std::function<bool(std::int64_t)> is_common_;
  Take take_;
  Tell tell_;
  bool greeted_ = false;
  struct Held {
    StepRecord row;
    bool waits;
  };
  std::deque<Held> held_;
  std::deque<std::int64_t> sent_;  ///< Steps whose exchange is not complete; -1: the greeting.
};

}  // namespace gradhealth::hooks
