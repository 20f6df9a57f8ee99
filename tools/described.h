#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}

namespace gradhealth {

/// What the command line accepts, for those who describe it elsewhere: shell completion and the manual.

/// The subcommands that the help shows, in its order.
std::vector<const CLI::App*> commands_of(const CLI::App& app);
/// Options without and with a dash, --help included.
std::vector<const CLI::Option*> positionals_of(const CLI::App& app);
std::vector<const CLI::Option*> options_of(const CLI::App& app);
bool takes_value(const CLI::Option& option);
/// "WHEN"; empty for a flag.
std::string value_name(const CLI::Option& option);
/// The values that it is limited to; empty if it is not.
std::vector<std::string> choices_of(const CLI::Option& option);

}  // namespace gradhealth
