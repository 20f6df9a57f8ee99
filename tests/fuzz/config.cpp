// Bytes as a configuration: parsed, and what it says taken by every rule.
#include <cstdint>
#include <string_view>

#include <gradhealth/config.h>
#include <gradhealth/errors.h>

#include "fuzz/require.h"
#include "hostile/outputs.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace gradhealth;
  try {
    const DiagnosisOptions options = parse_config({reinterpret_cast<const char*>(data), size}, "gradhealth.toml");
    for (const auto& [id, settings] : options.rules) {
      const Rule* rule = find_rule(catalogue(), id);
      fuzz::require(rule != nullptr, "only known rules are taken");
      RuleOptions all;
      for (const OptionInfo& option : rule->info.options) all[option.name] = option.default_value;
      for (const auto& [name, value] : settings.options) {
        fuzz::require(all.count(name) == 1, "only known options are taken");
        all[name] = value;
      }
      rule->make_judge(all);
    }
  } catch (const UsageError& error) {
    fuzz::require(std::string_view(error.what()).substr(0, 16) == "gradhealth.toml:",
                  "a complaint names file and place");
  }
  return 0;
}
