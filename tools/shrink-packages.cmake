# Run by cpack between installing and packing. What Debian's packages do without: debug information in static libraries
# (nine tenths of them), and uncompressed manual pages.
file(GLOB_RECURSE libraries ${CPACK_TEMPORARY_DIRECTORY}/*.a)
find_program(strip NAMES strip)
if(strip AND libraries)
  execute_process(COMMAND ${strip} --strip-debug ${libraries} COMMAND_ERROR_IS_FATAL ANY)
endif()
file(GLOB_RECURSE pages ${CPACK_TEMPORARY_DIRECTORY}/gradhealth.1)
if(pages)
  execute_process(COMMAND gzip -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)
endif()
