# Runs the project's tests as somebody would, and looks at how each of them ended.
function(expect name ended)
  execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${place}/build --output-on-failure -R "^${name}$"
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  foreach(line IN LISTS ARGN)
    if(NOT output MATCHES "${line}")
      message(FATAL_ERROR "${name}: no line like \"${line}\" in\n${output}")
    endif()
  endforeach()
  if(ended STREQUAL "passes" AND NOT result EQUAL 0)
    message(FATAL_ERROR "${name} fails\n${output}")
  elseif(ended STREQUAL "fails" AND result EQUAL 0)
    message(FATAL_ERROR "${name} passes\n${output}")
  endif()
endfunction()

# In script mode it is not known.
get_filename_component(CMAKE_CTEST_COMMAND ${CMAKE_COMMAND} DIRECTORY)
set(CMAKE_CTEST_COMMAND ${CMAKE_CTEST_COMMAND}/ctest)

expect("healthy" passes "healthy[.]folder [. ]+ +Passed" "healthy[.]train [. ]+ +Passed" "healthy [. ]+ +Passed")
expect("small-training" passes)
if(NOT EXISTS ${place}/build/gradhealth/small-training/result.xml)
  message(FATAL_ERROR "ARGS did not reach the command")
endif()
expect("broken run" fails "broken run[.]train [. ]+ +Passed" "broken run [. ]+\\*\\*\\*Failed" "gradhealth: UNHEALTHY  run.h5")
# Exit code 0 of the judge on what the failed trainer left would hide it.
expect("failing" fails "failing[.]train [. ]+\\*\\*\\*Failed" "failing [. ]+\\*\\*\\*Not Run" "the data set is missing")
expect("silent" fails "silent[.]train [. ]+ +Passed" "silent [. ]+\\*\\*\\*Failed" "run.h5")
expect("stale" passes)
expect("stale" fails "stale[.]train [. ]+ +Passed" "stale [. ]+\\*\\*\\*Failed")

execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${place}/build -N -L nightly OUTPUT_VARIABLE output)
if(NOT output MATCHES "Total Tests: 3")
  message(FATAL_ERROR "the label is not that of three tests\n${output}")
endif()
execute_process(COMMAND ${CMAKE_CTEST_COMMAND} --test-dir ${place}/build --show-only=json-v1 -R "^healthy.train$"
                OUTPUT_VARIABLE output)
if(NOT output MATCHES "\"TIMEOUT\",[^}]*77")
  message(FATAL_ERROR "the training has no time limit\n${output}")
endif()
foreach(path IN ITEMS /tmp/run.h5 ../run.h5 a/../../run.h5)
  execute_process(COMMAND ${CMAKE_COMMAND} -DOUTSIDE=${path} ${place}/build
                  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(result EQUAL 0 OR NOT output MATCHES "RUN ${path} is not inside")
    message(FATAL_ERROR "RUN ${path} is taken\n${output}")
  endif()
endforeach()
