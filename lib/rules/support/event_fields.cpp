#include "rules/support/event_fields.h"

namespace gradhealth::rules {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

Fields fields_of(const std::string& text) {
  Fields fields;
  for (const std::string& pair : split(text, ' '))
    if (const auto equals = pair.find('='); equals != std::string::npos)
      fields.try_emplace(pair.substr(0, equals), pair.substr(equals + 1));
  return fields;
}

std::string field(const Fields& fields, std::string_view key) {
  const auto found = fields.find(key);
  return found == fields.end() ? "" : found->second;
}

}  // namespace gradhealth::rules
