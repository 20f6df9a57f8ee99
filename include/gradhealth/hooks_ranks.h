#pragma once

#include <csignal>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <c10/util/intrusive_ptr.h>

#include <gradhealth/hooks.h>

/// Comparing the replicas of a data-parallel training while it runs, through c10d.
namespace gradhealth {

/// All-gathers over a c10d process group: c10d::ProcessGroup, or a backend such as c10d::ProcessGroupGloo. Has the
/// process ignore SIGPIPE where nobody has decided about it, so that another rank's death is an error here, not the
/// end.
template <class Group>
class GroupExchange final : public RankExchange {
 public:
  GroupExchange(c10::intrusive_ptr<Group> group, at::Device device) : group_(std::move(group)), device_(device) {
    // Gloo writes to the connection of a rank that has died: by default that signal ends the process. What it ignores
    // or handles already stays so.
    struct sigaction now {};
    if (sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
  }

  void start(const std::vector<double>& mine) override {
    Pending& pending = pending_.emplace_back();
    pending.input.push_back(at::tensor(mine, at::kDouble).to(device_));
    pending.outputs.emplace_back();
    for (int rank = 0; rank < group_->getSize(); ++rank) pending.outputs[0].push_back(at::empty_like(pending.input[0]));
    pending.work = group_->allgather(pending.outputs, pending.input);
  }

  std::optional<std::vector<std::vector<double>>> finished() override {
    if (pending_.empty() || !pending_.front().work->isCompleted()) return std::nullopt;
    Pending done = std::move(pending_.front());
    pending_.pop_front();
    done.work->wait();  // Returns at once; throws what has failed.
    std::vector<std::vector<double>> by_rank;
    for (const at::Tensor& output : done.outputs[0]) {
      const at::Tensor numbers = output.cpu();
      by_rank.emplace_back(numbers.template data_ptr<double>(), numbers.template data_ptr<double>() + numbers.numel());
    }
    return by_rank;
  }

 private:
  using Work = decltype(std::declval<Group&>().allgather(std::declval<std::vector<std::vector<at::Tensor>>&>(),
                                                         std::declval<std::vector<at::Tensor>&>()));
  struct Pending {
    std::vector<at::Tensor> input;
    std::vector<std::vector<at::Tensor>> outputs;
    Work work;
  };

  c10::intrusive_ptr<Group> group_;
  at::Device device_;
  std::deque<Pending> pending_;
};

/// For MonitorOptions::ranks: rank and size of the group, and a comparison of the replicas over it.
///
///     auto own = c10::make_intrusive<c10d::ProcessGroupGloo>(prefix_store, rank, size, options);
///     gradhealth::Monitor monitor(*net, optimizer, "run/", {.ranks = gradhealth::ranks_of(own)});
///
/// @param group of the monitor's own: ranks that mix the monitor's messages with the trainer's would pair them wrongly.
/// Its timeout is the longest time that the end of a process may wait for a rank that hangs.
/// @param device where the group exchanges tensors: the CPU for Gloo and MPI, the rank's GPU for NCCL.
template <class Group>
Ranks ranks_of(c10::intrusive_ptr<Group> group, at::Device device = at::kCPU) {
  Ranks ranks;
  ranks.rank = group->getRank();
  ranks.world_size = group->getSize();
  ranks.exchange = std::make_shared<GroupExchange<Group>>(std::move(group), device);
  return ranks;
}

}  // namespace gradhealth
