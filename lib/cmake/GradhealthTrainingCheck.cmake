# Makes a training run a test of CTest:
#
#   gradhealth_add_training_check(
#     NAME <name>                  the test that judges the run
#     COMMAND <trainer> [<arg>…]   target or program, as for add_test()
#     [RUN <path>]                 what the trainer writes: file or directory, "run.h5" unless given
#     [CONFIG <file>]              configuration of the rules, relative to the source directory
#     [FAIL_ON error|warning|info]
#     [ARGS <arg>…]                further options of `gradhealth check`
#     [LABELS <label>…]            of all three tests
#     [TIMEOUT <seconds>])         of the training
#
# Makes three tests: "<name>.folder" empties and makes a folder, "<name>.train" runs the trainer in it, "<name>" judges
# what is there then. So a run of an earlier day is never judged; where the trainer fails, its own test fails and "<name>"
# counts as not run, which is a failure, too. `ctest -R <name>` runs all three. To set more properties (ENVIRONMENT,
# PROCESSORS, RESOURCE_LOCK), name the test: set_tests_properties("<name>.train" PROPERTIES …).
#
# The folder is gradhealth/<name> in the binary directory. RUN, and files that ARGS makes `check` write, are relative to
# it; paths among the trainer's arguments have to be absolute or relative to it, too.
#
# The command is the target gradhealth_cli where gradhealth is part of the build, else GRADHEALTH_EXECUTABLE, which
# find_package(gradhealth) looks for.
include_guard(GLOBAL)

function(gradhealth_add_training_check)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "NAME;RUN;CONFIG;FAIL_ON;TIMEOUT" "COMMAND;ARGS;LABELS")
  foreach(needed IN ITEMS NAME COMMAND)
    if("${arg_${needed}}" STREQUAL "")
      message(FATAL_ERROR "gradhealth_add_training_check: ${needed} is missing")
    endif()
  endforeach()
  if(arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "gradhealth_add_training_check(${arg_NAME}): unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_RUN)
    set(arg_RUN run.h5)
  endif()
  if(IS_ABSOLUTE "${arg_RUN}" OR "${arg_RUN}" MATCHES "(^|/)\\.\\.(/|$)")
    message(FATAL_ERROR "gradhealth_add_training_check(${arg_NAME}): RUN ${arg_RUN} is not inside the folder that the "
                        "trainer runs in; a run that an earlier training left there would be judged")
  endif()

  if(TARGET gradhealth_cli)
    set(command $<TARGET_FILE:gradhealth_cli>)
    # Also where gradhealth is added with EXCLUDE_FROM_ALL.
    if(NOT TARGET gradhealth_training_check_tool)
      add_custom_target(gradhealth_training_check_tool ALL)
      add_dependencies(gradhealth_training_check_tool gradhealth_cli)
    endif()
  elseif(GRADHEALTH_EXECUTABLE)
    set(command ${GRADHEALTH_EXECUTABLE})
  else()
    message(FATAL_ERROR "gradhealth_add_training_check(${arg_NAME}): the gradhealth command was not found. Build "
                        "gradhealth with GRADHEALTH_BUILD_TOOLS=ON, or set GRADHEALTH_EXECUTABLE")
  endif()

  set(options "")
  if(arg_CONFIG)
    get_filename_component(arg_CONFIG "${arg_CONFIG}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
    list(APPEND options --config "${arg_CONFIG}")
  endif()
  if(arg_FAIL_ON)
    list(APPEND options --fail-on "${arg_FAIL_ON}")
  endif()

  string(REGEX REPLACE "[^A-Za-z0-9_.-]" "_" folder "${arg_NAME}")
  if(NOT folder STREQUAL arg_NAME)
    string(SHA1 digest "${arg_NAME}")
    string(SUBSTRING "${digest}" 0 8 digest)
    string(APPEND folder "-${digest}")
  endif()
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/gradhealth/${folder})

  add_test(NAME "${arg_NAME}.folder"
           COMMAND ${CMAKE_COMMAND} "-DFOLDER=${folder}" -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/GradhealthFreshFolder.cmake")
  add_test(NAME "${arg_NAME}.train" COMMAND ${arg_COMMAND} WORKING_DIRECTORY "${folder}")
  add_test(NAME "${arg_NAME}" COMMAND ${command} check "${arg_RUN}" ${options} ${arg_ARGS} WORKING_DIRECTORY "${folder}")
  set_tests_properties("${arg_NAME}.folder" PROPERTIES FIXTURES_SETUP "${arg_NAME}.folder")
  set_tests_properties("${arg_NAME}.train" PROPERTIES
                       FIXTURES_REQUIRED "${arg_NAME}.folder" FIXTURES_SETUP "${arg_NAME}.run")
  set_tests_properties("${arg_NAME}" PROPERTIES FIXTURES_REQUIRED "${arg_NAME}.run")
  if(NOT "${arg_TIMEOUT}" STREQUAL "")
    set_tests_properties("${arg_NAME}.train" PROPERTIES TIMEOUT "${arg_TIMEOUT}")
  endif()
  if(arg_LABELS)
    set_tests_properties("${arg_NAME}.folder" "${arg_NAME}.train" "${arg_NAME}" PROPERTIES LABELS "${arg_LABELS}")
  endif()
endfunction()
