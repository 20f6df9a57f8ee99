#include "support/advice_collector.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

namespace gradhealth::test {

void collect_advice(const Outcome& outcome) {
  static const char* const path = std::getenv("GRADHEALTH_ADVICE_FILE");
  const auto* unhealthy = std::get_if<Unhealthy>(&outcome);
  if (path == nullptr || unhealthy == nullptr) return;
  static std::ofstream file(path);
  static std::set<std::string> known;
  for (const Finding& finding : unhealthy->findings)
    for (const Recommendation& advice : finding.recommendations)
      if (!advice.code.empty() && known.insert(advice.code).second)
        file << "// " << finding.rule << ": " << advice.id << "\nADVICE(" << known.size() << ") {{\n"
             << advice.code << "\n}}\n"
             << std::flush;
}

}  // namespace gradhealth::test
