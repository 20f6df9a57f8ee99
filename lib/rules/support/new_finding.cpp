#include "rules/support/new_finding.h"

#include <algorithm>
#include <utility>

namespace gradhealth::rules {

Finding new_finding(const char* rule, Severity severity, double confidence, SubjectRef subject, Span steps,
                    std::string message) {
  Finding finding;
  finding.rule = rule;
  finding.severity = severity;
  finding.confidence = confidence;
  finding.subject = std::move(subject);
  finding.first_step = steps.first;
  finding.last_step = std::max(steps.first, steps.last);
  finding.message = std::move(message);
  return finding;
}

}  // namespace gradhealth::rules
