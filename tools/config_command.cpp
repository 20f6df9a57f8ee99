#include <ostream>

#include <CLI/CLI.hpp>

#include <gradhealth/config.h>

#include "commands.h"
#include "output.h"

namespace gradhealth {

void add_config_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("config", "The configuration of the rules");
  command->add_flag("--print-default", "Print every rule with every option at its default, as TOML")->required();
  command->footer("Example:\n  gradhealth config --print-default > gradhealth.toml");
  command->callback([&exit_code] {
    write_stdout([](std::ostream& out) { out << default_config(); });
    exit_code = kExitOk;
  });
}

}  // namespace gradhealth
