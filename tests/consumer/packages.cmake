# Builds the Debian packages, unpacks them and uses them:
#   cmake -Dsource=DIR -Dbuild=DIR -Dgenerator=NAME -Dlauncher=FILE -P packages.cmake
function(run output_variable)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${ARGN}\n${output}${errors}")
  endif()
  set(${output_variable} "${output}" PARENT_SCOPE)
endfunction()

function(expect text)
  foreach(part IN LISTS ARGN)
    string(FIND "${text}" "${part}" position)
    if(position EQUAL -1)
      message(FATAL_ERROR "no '${part}' in:\n${text}")
    endif()
  endforeach()
endfunction()

find_program(dpkg_deb dpkg-deb)
find_program(dpkg_shlibdeps dpkg-shlibdeps)
if(NOT dpkg_deb OR NOT dpkg_shlibdeps)
  message(STATUS "not run: dpkg-deb or dpkg-shlibdeps is missing")
  return()
endif()

set(place ${build}/consumer/packages)
file(REMOVE_RECURSE ${place})
get_filename_component(cmake_folder ${CMAKE_COMMAND} DIRECTORY)
run(ignored ${cmake_folder}/cpack -G DEB --config ${build}/CPackConfig.cmake -B ${place}/made)
file(GLOB tools ${place}/made/gradhealth_*.deb)
file(GLOB dev ${place}/made/libgradhealth-dev_*.deb)
run(said ${dpkg_deb} --info ${tools})
expect("${said}" "Package: gradhealth\n" "Depends: " "libhdf5" "libc6" "Section: science" "Maintainer: ")
run(said ${dpkg_deb} --info ${dev})
expect("${said}" "Package: libgradhealth-dev\n" "libhdf5-dev" "nlohmann-json3-dev" "Section: libdevel")
run(said ${dpkg_deb} --contents ${tools})
expect("${said}" "root/root" "./usr/bin/gradhealth\n" "./usr/share/man/man1/gradhealth.1.gz\n"
       "./usr/share/bash-completion/completions/gradhealth\n" "/_gradhealth\n" "./usr/share/doc/gradhealth/copyright\n")
if(said MATCHES "libgradhealth|include/|cmake")
  message(FATAL_ERROR "the tools' package holds what is the developers':\n${said}")
endif()

file(SIZE ${dev} size)
if(size GREATER 20000000)
  message(FATAL_ERROR "${dev} has ${size} bytes: with debug information?")
endif()

foreach(package IN ITEMS ${tools} ${dev})
  run(ignored ${dpkg_deb} -x ${package} ${place}/root)
endforeach()
run(said ${place}/root/usr/bin/gradhealth --version)
expect("${said}" "gradhealth " "runs with HDF5")

# Somebody else's project finds the unpacked package.
run(ignored ${CMAKE_COMMAND} -S ${source}/tests/consumer/core -B ${place}/build -G ${generator}
    -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER_LAUNCHER=${launcher} -DCMAKE_C_COMPILER_LAUNCHER=${launcher}
    -DCMAKE_PREFIX_PATH=${place}/root/usr)
file(STRINGS ${place}/build/CMakeCache.txt found REGEX "^gradhealth_DIR")
expect("${found}" "${place}/root/usr")
run(ignored ${CMAKE_COMMAND} --build ${place}/build)
run(ignored ${place}/build/consumer ${place}/run.h5)
run(said ${place}/root/usr/bin/gradhealth report ${place}/run.h5)
expect("${said}" "UNDECIDED")
