#include "zoo/loop.h"

namespace gradhealth::zoo {

MonitorOptions quiet() {
  MonitorOptions options;
  options.messages = Messages::kNone;
  options.budget = 0;
  return options;
}

Result finish(Monitor& monitor) {
  monitor.close();
  Result result;
  result.diagnosis = monitor.diagnosis();
  return result;
}

}  // namespace gradhealth::zoo
