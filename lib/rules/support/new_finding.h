#pragma once

#include <cstdint>
#include <string>

#include <gradhealth/rules.h>

namespace gradhealth::rules {

/// Since when, and the last step at which it was seen.
struct Span {
  std::int64_t first = 0;
  std::int64_t last = 0;
};

/// A finding without evidence and advice yet.
Finding new_finding(const char* rule, Severity severity, double confidence, SubjectRef subject, Span steps,
                    std::string message);

}  // namespace gradhealth::rules
