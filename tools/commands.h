#pragma once

namespace CLI {
class App;
}

namespace gradhealth {

/// Exit codes of every subcommand; `gradhealth --help` documents them.
enum ExitCode : int {
  kExitOk = 0,
  kExitFindings = 1,
  kExitCannotJudge = 2,
  kExitDefect = 3,
};

/// Each adds its subcommand. Running it writes its exit code to `exit_code`.
void add_check_command(CLI::App& app, int& exit_code);
void add_complete_command(CLI::App& app, int& exit_code);  ///< For shells; hidden.
void add_config_command(CLI::App& app, int& exit_code);
void add_diff_command(CLI::App& app, int& exit_code);
void add_explain_command(CLI::App& app, int& exit_code);
void add_export_command(CLI::App& app, int& exit_code);
void add_man_command(CLI::App& app, int& exit_code);  ///< For the build; hidden.
void add_recover_command(CLI::App& app, int& exit_code);
void add_report_command(CLI::App& app, int& exit_code);
void add_rules_command(CLI::App& app, int& exit_code);
void add_watch_command(CLI::App& app, int& exit_code);

}  // namespace gradhealth
