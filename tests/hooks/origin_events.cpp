#include "hooks/origin_events.h"

#include <cmath>
#include <sstream>

#include <gradhealth/run_file.h>

#include "support/catch.h"

namespace gradhealth::test {
namespace {

Fields fields_of(const Event& event) {
  Fields fields{event.step, event.subject, event.text, {}};
  std::istringstream words(event.text);
  for (std::string word; words >> word;)
    if (const auto equals = word.find('='); equals != std::string::npos)
      fields.values.emplace(word.substr(0, equals), word.substr(equals + 1));
  return fields;
}

}  // namespace

std::string Fields::operator[](const std::string& key) const {
  const auto found = values.find(key);
  return found == values.end() ? "" : found->second;
}

Extent::Extent(const std::string& text) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ':');) parts.push_back(part);
  INFO(text);
  REQUIRE(parts.size() == 7);
  shape = parts[0];
  dtype = parts[1];
  min = parts[2] == "-" ? NAN : std::stod(parts[2]);
  max = parts[3] == "-" ? NAN : std::stod(parts[3]);
  nonfinite = std::stoll(parts[4]);
  nan = std::stoll(parts[5]);
  count = std::stoll(parts[6]);
}

Told::Told(const std::filesystem::path& path) {
  const RunReader reader(path);
  for (const Event& event : reader.events()) {
    if (event.kind == "nonfinite-origin") origins.push_back(fields_of(event));
    if (event.kind == "flight-recorder") before.push_back(fields_of(event));
    if (event.kind == "replay") replays.push_back(fields_of(event));
  }
}

}  // namespace gradhealth::test
