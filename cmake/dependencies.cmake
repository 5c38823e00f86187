# What retort is built on. scripts/setup installs what is missing.

# Debian's packages without a CMake file of their own: imports a target, or leaves it out if not found.
function(retort_find target header library)
  find_path(${target}_INCLUDE_DIR ${header})
  find_library(${target}_LIBRARY ${library})
  mark_as_advanced(${target}_INCLUDE_DIR ${target}_LIBRARY)
  if(${target}_INCLUDE_DIR AND ${target}_LIBRARY)
    add_library(${target} UNKNOWN IMPORTED GLOBAL)
    set_target_properties(${target} PROPERTIES
      IMPORTED_LOCATION ${${target}_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${${target}_INCLUDE_DIR})
  endif()
endfunction()

# Targets have the names that a linker knows: what is installed refers to them.
retort_find(cjson cjson/cJSON.h cjson)   # metadata, headers of safetensors, the command's JSON
retort_find(zip zip.h zip)               # .pth and .npz
retort_find(png png.h png)
retort_find(jpeg jpeglib.h jpeg)
retort_find(z zlib.h z)
retort_find(curl curl/curl.h curl)       # the command's downloads …
retort_find(archive archive.h archive)   # … unpacked …
retort_find(nettle nettle/sha2.h nettle) # … and checked
retort_find(protobuf-c protobuf-c/protobuf-c.h protobuf-c) # TensorBoard's messages
find_program(RETORT_PROTOC_C protoc-c)
retort_find(fyaml libfyaml.h fyaml)      # recipes
find_file(RETORT_CHART_JS chart.min.js   # the report's charts
  PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist NO_CMAKE_FIND_ROOT_PATH)
retort_find(cmocka cmocka.h cmocka)      # the tests
foreach(needed "cjson;libcjson-dev" "zip;libzip-dev" "png;libpng-dev" "jpeg;libjpeg62-turbo-dev" "z;zlib1g-dev"
               "curl;libcurl4-gnutls-dev" "archive;libarchive-dev" "nettle;nettle-dev" "protobuf-c;libprotobuf-c-dev"
               "fyaml;libfyaml-dev")
  list(GET needed 0 target)
  list(GET needed 1 package)
  if(NOT TARGET ${target})
    message(FATAL_ERROR "${target} is not installed: run scripts/setup --for build (Debian: ${package})")
  endif()
endforeach()

if(NOT RETORT_CHART_JS)
  message(FATAL_ERROR "Chart.js is not installed: run scripts/setup --for build (Debian: libjs-chart.js)")
endif()
if(NOT RETORT_PROTOC_C)
  message(FATAL_ERROR "protoc-c is not installed: run scripts/setup --for build (Debian: protobuf-c-compiler)")
endif()

set(retort_command_libraries cjson curl archive nettle z m)
set(retort_libraries cjson zip png jpeg z protobuf-c fyaml m)

find_package(Threads REQUIRED)
list(APPEND retort_libraries Threads::Threads)
if(RETORT_THREADS STREQUAL "openmp")
  find_package(OpenMP REQUIRED COMPONENTS C)
  list(APPEND retort_libraries OpenMP::OpenMP_C)
  target_compile_definitions(retort_flags INTERFACE RT_THREADS_OPENMP=1)
elseif(RETORT_THREADS STREQUAL "pthreads")
  target_compile_definitions(retort_flags INTERFACE RT_THREADS_PTHREADS=1)
else()
  message(FATAL_ERROR "RETORT_THREADS is '${RETORT_THREADS}'; it can be openmp or pthreads")
endif()

# oneDNN: the system's where it is new enough, else the copy that scripts/setup unpacks, which is then
# installed with retort, in a directory of its own so that it hides no other.
set(RETORT_ONEDNN_BUNDLED OFF)
if(RETORT_ONEDNN)
  find_package(dnnl 3.2 CONFIG QUIET)
  if(NOT TARGET DNNL::dnnl)
    set(RETORT_ONEDNN_DIR ${PROJECT_SOURCE_DIR}/build/deps/onednn)
    if(NOT EXISTS ${RETORT_ONEDNN_DIR}/lib/libdnnl.so.3)
      message(FATAL_ERROR "oneDNN >= 3.2 is neither installed nor in build/deps/onednn: "
        "run scripts/setup --for build, or configure with -DRETORT_ONEDNN=OFF (slow, reference kernels only)")
    endif()
    set(RETORT_ONEDNN_BUNDLED ON)
    add_library(DNNL::dnnl SHARED IMPORTED GLOBAL)
    set_target_properties(DNNL::dnnl PROPERTIES
      IMPORTED_LOCATION ${RETORT_ONEDNN_DIR}/lib/libdnnl.so.3 IMPORTED_SONAME libdnnl.so.3
      INTERFACE_INCLUDE_DIRECTORIES ${RETORT_ONEDNN_DIR}/include)
  endif()
  list(APPEND retort_libraries DNNL::dnnl)
  target_compile_definitions(retort_flags INTERFACE RT_WITH_DNN=1)
endif()
