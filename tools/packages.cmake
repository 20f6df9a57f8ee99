# `cpack -G DEB` in the build folder: the packages gradhealth and libgradhealth-dev.
if(NOT PROJECT_IS_TOP_LEVEL OR BUILD_SHARED_LIBS OR NOT GRADHEALTH_BUILD_TOOLS)
  return()  # With a shared core the command would need a third package.
endif()

set(CPACK_PACKAGE_NAME gradhealth)
set(CPACK_PACKAGE_VENDOR gradhealth)
set(CPACK_PACKAGE_CONTACT "The gradhealth developers <gradhealth@localhost>")
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL tools dev)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/shrink-packages.cmake)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME gradhealth)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_TOOLS_DESCRIPTION
  "Reads the run files that gradhealth's hooks record, finished or not: report, check,\nwatch, diff, recover, export.")

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libgradhealth-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
# What a static core needs to be linked.
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS
  "libboost-dev, libfmt-dev, libhdf5-dev, libpugixml-dev, libtomlplusplus-dev, nlohmann-json3-dev")
if(GRADHEALTH_BUILD_HOOKS)
  set(CPACK_DEBIAN_DEV_PACKAGE_RECOMMENDS libtorch-dev)
endif()
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS gradhealth)
set(CPACK_COMPONENT_DEV_DESCRIPTION
  "Headers, static libraries and the CMake package, for programs that record run files or\nread them.")

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE RENAME copyright
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/gradhealth COMPONENT tools)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE RENAME copyright
        DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/libgradhealth-dev COMPONENT dev)
include(CPack)
