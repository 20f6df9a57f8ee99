// In what order the loop's parts are called, and what it keeps.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "hooks/models.h"
#include "hooks/recorded_loop.h"
#include "support/catch.h"

using namespace gradhealth;
using namespace gradhealth::test;

namespace {

namespace nn = torch::nn;
using Texts = std::vector<std::string>;

struct Loop {
  TemporaryDirectory directory;
  nn::Sequential net{nn::Linear(4, 3), nn::Tanh(), nn::Linear(3, 1)};
  torch::optim::SGD optimizer{net->parameters(), torch::optim::SGDOptions(0.01).momentum(0.9)};
  Monitor monitor{*net, optimizer, directory / "run.h5", every_step()};

  torch::Tensor loss() { return net->forward(torch::randn({7, 4})).square().mean(); }
  void zero_in_place() {
    for (torch::Tensor& parameter : net->parameters())
      if (parameter.grad().defined()) parameter.mutable_grad().zero_();
  }
  void drop() {
    for (torch::Tensor& parameter : net->parameters()) parameter.mutable_grad() = torch::Tensor();
  }
  Rows close() {
    monitor.close();
    REQUIRE(monitor.status().error.empty());
    return Rows(directory / "run.h5");
  }
};

Texts patterns(int steps, const std::function<void(Loop&, torch::Tensor)>& step) {
  Loop loop;
  for (int i = 0; i < steps; ++i) step(loop, loop.loss());
  return events_of(loop.close(), "loop-order");
}

}  // namespace

TEST_CASE("gradients that are zeroed between step() and the update are told once", "[hooks][loop-order]") {
  CHECK(patterns(4, [](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          loop.zero_in_place();
          loop.optimizer.step();
        }) == Texts{": pattern=cleared-before-update"});
  CHECK(patterns(12, [](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          loop.drop();
          loop.optimizer.step();
        }) == Texts{": pattern=cleared-before-update"});
}

TEST_CASE("gradients that are scaled after their update are told once", "[hooks][loop-order]") {
  CHECK(patterns(4, [](Loop& loop, const torch::Tensor& loss) {
          loop.optimizer.zero_grad();
          loss.backward();
          loop.monitor.step(loss);
          loop.optimizer.step();
          nn::utils::clip_grad_norm_(loop.net->parameters(), 1e-6);
        }) == Texts{": pattern=changed-after-update"});
}

TEST_CASE("loops in order are not told", "[hooks][loop-order]") {
  const auto clip = [](Loop& loop) { nn::utils::clip_grad_norm_(loop.net->parameters(), 1e-6); };
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loop.optimizer.zero_grad();
          loss.backward();
          clip(loop);
          loop.monitor.step(loss);
          loop.optimizer.step();
        }).empty());
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          clip(loop);
          loop.optimizer.step();
          loop.zero_in_place();
        }).empty());
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          loop.optimizer.step();
          loop.drop();
        }).empty());
  // What comes to lie where a dropped gradient lay is none, as a dropout's mask.
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          loop.optimizer.step();
          loop.drop();
          std::vector<torch::Tensor> others;
          for (int i = 0; i < 20; ++i)
            for (const torch::Tensor& parameter : loop.net->parameters())
              others.push_back(torch::ones_like(parameter.detach()).mul_(0.5));
        }).empty());
  // step() in the wrong place says nothing of the rest.
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.optimizer.step();
          loop.monitor.step(loss);
          loop.drop();
        }).empty());
  // A loss scaler that leaves out its first updates.
  int step = 0;
  CHECK(patterns(12, [&](Loop& loop, const torch::Tensor& loss) {
          loss.backward();
          loop.monitor.step(loss);
          if (++step > 6) loop.optimizer.step();
          loop.drop();
        }).empty());
}

TEST_CASE("graphs that something keeps are counted, those of the step itself are not", "[hooks][loop-order]") {
  Loop loop;
  std::vector<torch::Tensor> kept;
  torch::Tensor latest;  // As of a variable outside of the loop.
  for (int i = 0; i < 26; ++i) {
    loop.optimizer.zero_grad();
    latest = loop.loss();
    latest.backward();
    loop.monitor.step(latest);
    loop.optimizer.step();
    if (i >= 10) kept.push_back(latest);
  }
  const Rows rows = loop.close();
  CHECK(std::isnan(rows.rows[1].at(Quantity::kGraphsAlive)));
  CHECK(rows.rows[9].at(Quantity::kGraphsAlive) == 0);
  CHECK(rows.rows[13].at(Quantity::kGraphsAlive) == 1);  // That of step 10: those of 11 and 12 are young.
  CHECK(rows.rows[25].at(Quantity::kGraphsAlive) == 13);
}
