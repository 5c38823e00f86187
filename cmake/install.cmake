# cmake --install: the libraries, the header, the command, and how pkg-config and CMake find them.

include(CMakePackageConfigHelpers)
file(RELATIVE_PATH bin_to_lib ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set_target_properties(retort PROPERTIES INSTALL_RPATH $ORIGIN/retort)
if(TARGET retort_cli)
  set_target_properties(retort_cli PROPERTIES INSTALL_RPATH $ORIGIN/${bin_to_lib})
  install(TARGETS retort_cli)
endif()

# The man page and the shell's completion are what the command says of itself, so it must run here.
if(TARGET retort_cli AND NOT CMAKE_CROSSCOMPILING AND NOT RETORT_SANITIZE)
  set(said ${PROJECT_BINARY_DIR}/generated)
  add_custom_command(OUTPUT ${said}/retort.1 ${said}/retort.bash DEPENDS retort_cli
    COMMAND retort_cli help --man > ${said}/retort.1
    COMMAND retort_cli completion bash > ${said}/retort.bash)
  add_custom_target(retort_said ALL DEPENDS ${said}/retort.1 ${said}/retort.bash)
  install(FILES ${said}/retort.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${said}/retort.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME retort)
endif()
install(TARGETS retort retort_static EXPORT retort)
install(FILES include/retort.h TYPE INCLUDE)

set(RETORT_PC_PRIVATE -lcjson -lzip -lpng -ljpeg -lz -lprotobuf-c -lfyaml -lm -pthread)
if(RETORT_THREADS STREQUAL "openmp")
  list(APPEND RETORT_PC_PRIVATE -lgomp)
endif()
if(RETORT_ONEDNN_BUNDLED)
  install(PROGRAMS ${RETORT_ONEDNN_DIR}/lib/libdnnl.so.3 DESTINATION ${CMAKE_INSTALL_LIBDIR}/retort)
  install(DIRECTORY ${RETORT_ONEDNN_DIR}/doc/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/onednn)
  list(APPEND RETORT_PC_PRIVATE \${libdir}/retort/libdnnl.so.3)
elseif(RETORT_ONEDNN)
  list(APPEND RETORT_PC_PRIVATE -ldnnl)
endif()
list(JOIN RETORT_PC_PRIVATE " " RETORT_PC_PRIVATE)
file(RELATIVE_PATH pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(retort.pc.in retort.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/retort.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/retort)
configure_package_config_file(cmake/retortConfig.cmake.in retortConfig.cmake
  INSTALL_DESTINATION ${config_dir} PATH_VARS CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(retortConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/retortConfig.cmake ${PROJECT_BINARY_DIR}/retortConfigVersion.cmake
  DESTINATION ${config_dir})
install(EXPORT retort NAMESPACE retort:: FILE retortTargets.cmake DESTINATION ${config_dir})
