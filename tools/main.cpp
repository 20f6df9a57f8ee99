#include <cstdlib>
#include <iostream>

#include "command_line.h"
#include "confined.h"

int main(int argc, char** argv) {
  const int exit_code = gradhealth::run_confined([&] {
    const int code = gradhealth::run_command_line(argc, argv);
    std::cout.flush();
    std::cerr.flush();
    return code;
  });
  // Without exit handlers: HDF5's would complain on stderr about what a damaged file has left open in it.
  std::_Exit(exit_code);
}
