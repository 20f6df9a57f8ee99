#include <algorithm>
#include <utility>

#include <gradhealth/rules.h>

#include "rules/support/rule_support.h"

namespace gradhealth {
namespace {

using Look = std::function<std::optional<Finding>(const Run&, const StepRecord&)>;

bool same_subject(const SubjectRef& a, const SubjectRef& b) {
  return a.model == b.model && a.module == b.module && a.name == b.name;
}

class OwnJudge final : public Judge {
 public:
  OwnJudge(std::string id, Look look) : id_(std::move(id)), look_(std::move(look)) {}

  void observe(const Run& run, const StepRecord& record) override {
    ++steps_;
    std::optional<Finding> finding = look_(run, record);
    if (!finding) return;
    finding->rule = id_;
    finding->first_step = finding->last_step = record.step;
    const auto known = std::find_if(findings_.begin(), findings_.end(),
                                    [&](const Finding& each) { return same_subject(each.subject, finding->subject); });
    if (known == findings_.end()) {
      findings_.push_back(std::move(*finding));
      ++alarms_;
      return;
    }
    known->last_step = record.step;
    if (finding->severity <= known->severity) return;
    known->severity = finding->severity;
    ++alarms_;
  }

  Outcome outcome() const override {
    if (!findings_.empty()) return rules::unhealthy(findings_);
    if (steps_ == 0) return NotEvaluated{"no steps were recorded"};
    return Healthy{};
  }

  std::size_t alarms() const override { return alarms_; }

 private:
  std::string id_;
  Look look_;
  std::vector<Finding> findings_;
  std::size_t steps_ = 0;
  std::size_t alarms_ = 0;
};

}  // namespace

Rule make_rule(RuleInfo info, Look look) {
  Rule rule;
  rule.make_judge = [id = info.id, known = info.options, look = std::move(look)](const RuleOptions& given) {
    rules::resolve(id, known, given);
    return std::make_unique<OwnJudge>(id, look);
  };
  rule.info = std::move(info);
  return rule;
}

}  // namespace gradhealth
