#pragma once

#include <array>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <gradhealth/run.h>
#include <gradhealth/run_file.h>

namespace gradhealth {

/// The files of one run, first part first.
using Parts = std::vector<RunReader>;

/// Puts each file that goes on from another one of the list behind that one. The rest keeps its order.
std::vector<Parts> joined(const std::vector<std::filesystem::path>& files);

/// Several parts as one run: subjects that a later part shares with an earlier one keep their place, by name.
class JoinedRun {
 public:
  /// @param known subjects that have their places already.
  explicit JoinedRun(const Parts& parts, const Run& known = {});

  const Run& run() const { return run_; }
  /// Findings are told under this name.
  void rename(std::string name) { run_.info.name = std::move(name); }
  /// Calls `visit` for every step in order. Steps of a part that the next one made again, from an earlier checkpoint,
  /// are left out: the weights that they led to were abandoned.
  void for_each_step(const std::function<void(const StepRecord&)>& visit, const Selection& selection = {}) const;

 private:
  using Places = std::array<std::vector<std::size_t>, kAxisCount>;  ///< In the joined run, of each subject of a part.

  const Parts& parts_;
  Run run_;
  std::vector<Places> places_;
};

}  // namespace gradhealth
