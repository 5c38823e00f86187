# How everything is compiled: C17 on POSIX, warnings, instruction sets, sanitizers.

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})

# What is shipped runs on every x86-64-v2 machine. The SIMD files are compiled once for each row here,
# and the best that the machine has is chosen at run time.
set(RETORT_ISAS base)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(RETORT_ISAS base avx2 avx512 avx512vnni avx512bf16)
  set(RETORT_BASELINE -march=x86-64-v2)
  set(RETORT_ISA_base -march=x86-64-v2)
  set(RETORT_ISA_avx2 -march=x86-64-v3)
  set(RETORT_ISA_avx512 -march=x86-64-v4)
  set(RETORT_ISA_avx512vnni -march=x86-64-v4 -mavx512vnni)
  set(RETORT_ISA_avx512bf16 -march=x86-64-v4 -mavx512bf16 -mavx512vnni)
  set(RETORT_AMX -march=x86-64-v4 -mamx-tile -mamx-bf16)
endif()

add_library(retort_flags INTERFACE)
target_compile_definitions(retort_flags INTERFACE _GNU_SOURCE RT_VERSION="${PROJECT_VERSION}")
target_compile_options(retort_flags INTERFACE -fno-math-errno
  -Wall -Wextra -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes
  -Wno-sign-conversion              # sizes and indices mix; -Wconversion still says where bits are lost
  -Wno-unused-parameter             # the rows of a table share one signature …
  -Wno-missing-field-initializers   # … and leave out what they don't need
  $<$<BOOL:${RETORT_WERROR}>:-Werror>)

if(RETORT_SANITIZE)
  set(sanitize -fsanitize=${RETORT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
  add_compile_options(${sanitize})
  add_link_options(${sanitize})
endif()

function(retort_compile target)  # with the project's flags and those that follow
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  target_link_libraries(${target} PRIVATE retort_flags)
  target_compile_options(${target} PRIVATE ${ARGN})
endfunction()
