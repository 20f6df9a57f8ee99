#include "diagnosis/suppressions.h"

#include <fnmatch.h>

#include <algorithm>
#include <cctype>
#include <string_view>

#include <fmt/format.h>

#include <gradhealth/errors.h>

namespace gradhealth::diagnosis {
namespace {

bool matches(const std::string& glob, const std::string& name) {
  return !name.empty() && fnmatch(glob.c_str(), name.c_str(), 0) == 0;
}

bool is_date(std::string_view text) {
  constexpr std::string_view kForm = "0000-00-00";
  return text.size() == kForm.size() && std::equal(text.begin(), text.end(), kForm.begin(), [](char c, char form) {
           return form == '-' ? c == '-' : std::isdigit(static_cast<unsigned char>(c)) != 0;
         });
}

bool applies(const Suppression& suppression, const Finding& finding) {
  if (suppression.rule != finding.rule) return false;
  return suppression.subject == "*" || matches(suppression.subject, finding.subject.module) ||
         matches(suppression.subject, finding.subject.name);
}

}  // namespace

bool concerns(const std::vector<std::string>& globs, const Finding& finding) {
  const SubjectRef& subject = finding.subject;
  if (globs.empty() || (subject.module.empty() && subject.name.empty())) return true;
  return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
    return matches(glob, subject.module) || matches(glob, subject.name);
  });
}

Suppressions::Suppressions(const DiagnosisOptions& options, const std::vector<Rule>& rules) {
  for (const Suppression& each : options.suppressions) {
    if (find_rule(rules, each.rule) == nullptr)
      throw UsageError(fmt::format("a suppression names the rule \"{}\", which does not exist", each.rule));
    if (each.reason.empty()) throw UsageError(fmt::format("the suppression of {} has no reason", each.rule));
    if (!each.expires.empty() && !is_date(each.expires))
      throw UsageError(fmt::format("the suppression of {} expires on \"{}\"; a date is written 2027-01-31", each.rule,
                                   each.expires));
    const bool expired = !each.expires.empty() && !options.today.empty() && each.expires < options.today;
    (expired ? expired_ : holding_).push_back(each);
  }
}

const Suppression* Suppressions::holding(const Finding& finding) const {
  const auto found =
      std::find_if(holding_.begin(), holding_.end(), [&](const Suppression& each) { return applies(each, finding); });
  return found == holding_.end() ? nullptr : &*found;
}

void Suppressions::add_expired(const Finding& finding, std::vector<Suppression>& to) const {
  const auto same = [](const Suppression& a, const Suppression& b) {
    return a.rule == b.rule && a.subject == b.subject && a.expires == b.expires;
  };
  for (const Suppression& each : expired_)
    if (applies(each, finding) &&
        std::none_of(to.begin(), to.end(), [&](const Suppression& known) { return same(known, each); }))
      to.push_back(each);
}

}  // namespace gradhealth::diagnosis
