# Debian's cross compiler; programs run in qemu. Libraries that aren't part of the compiler's packages
# come from build/deps/aarch64, where scripts/setup unpacks them.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(unpacked ${CMAKE_CURRENT_LIST_DIR}/../build/deps/aarch64)
set(libraries ${unpacked}/usr/lib/aarch64-linux-gnu)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu
  -E LD_LIBRARY_PATH=${libraries}:${unpacked}/lib/aarch64-linux-gnu)
# What the libraries themselves are linked with, as far as it is there.
set(CMAKE_EXE_LINKER_FLAGS_INIT
  "-Wl,-rpath-link,${libraries}:${unpacked}/lib/aarch64-linux-gnu -Wl,--allow-shlib-undefined")
set(CMAKE_SHARED_LINKER_FLAGS_INIT ${CMAKE_EXE_LINKER_FLAGS_INIT})

set(CMAKE_FIND_ROOT_PATH ${unpacked} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# Headers that differ by machine (jconfig.h, curl's).
set(CMAKE_C_FLAGS_INIT "-isystem ${unpacked}/usr/include/aarch64-linux-gnu")
