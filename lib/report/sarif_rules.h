#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>

#include "report/json.h"

namespace gradhealth {

/// The rules of a SARIF file: the catalogue's, and after them those of one's own in the order in which they are asked
/// for.
class SarifRules {
 public:
  SarifRules();

  /// Where the rule is, or now will be.
  std::size_t index(const std::string& rule);
  Json take() { return std::move(rules_); }

  /// Descriptors of what is told beside results.
  static Json notifications();

 private:
  std::map<std::string, std::size_t> places_;
  Json rules_ = Json::array();
};

}  // namespace gradhealth
