# An empty folder: cmake -DFOLDER=… -P GradhealthFreshFolder.cmake
file(REMOVE_RECURSE "${FOLDER}")
file(MAKE_DIRECTORY "${FOLDER}")
file(GLOB left LIST_DIRECTORIES true "${FOLDER}/*")
if(left OR NOT IS_DIRECTORY "${FOLDER}")
  message(FATAL_ERROR "${FOLDER} could not be emptied")
endif()
