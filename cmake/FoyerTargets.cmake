# Helpers shared by the CMakeLists.txt of every folder.
#
# Sources are found by glob with CONFIGURE_DEPENDS: a new .c file needs no CMake edit, and an
# empty folder yields no target. Whoever links a layer therefore asks first whether it exists
# (foyer_link_layers).

# What every object of ours is compiled with. foyer_flags alone is for code that is loaded into
# foreign programs; foyer_private adds the sanitizers.
add_library(foyer_flags INTERFACE)
target_include_directories(foyer_flags INTERFACE
    "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/src")
target_compile_definitions(foyer_flags INTERFACE FOYER_VERSION="${PROJECT_VERSION}")
target_compile_options(foyer_flags INTERFACE -std=gnu17 -fvisibility=hidden)
if(FOYER_TOP_LEVEL)
    target_compile_options(foyer_flags INTERFACE
        -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla)
endif()
if(FOYER_WERROR)
    target_compile_options(foyer_flags INTERFACE -Werror)
endif()
# Fat objects: libfoyer.a serves linkers and compilers that know nothing of gcc's own form, too.
if(FOYER_LTO AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
    target_compile_options(foyer_flags INTERFACE -flto=auto -ffat-lto-objects)
    target_link_options(foyer_flags INTERFACE -flto=auto)
endif()

add_library(foyer_private INTERFACE)
target_link_libraries(foyer_private INTERFACE foyer_flags)
target_compile_definitions(foyer_private INTERFACE ${FOYER_FEATURES})
if(FOYER_FUZZ)
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(FATAL_ERROR "FOYER_FUZZ needs clang; use the preset `fuzz`")
    endif()
    set(foyer_sanitize_compile "fuzzer-no-link,${FOYER_SANITIZE}")
else()
    set(foyer_sanitize_compile "${FOYER_SANITIZE}")
endif()
if(FOYER_SANITIZE)
    target_compile_options(foyer_private INTERFACE
        -fsanitize=${foyer_sanitize_compile} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    target_link_options(foyer_private INTERFACE
        -fsanitize=${FOYER_SANITIZE} -fno-sanitize-recover=all)
endif()

# Static library `name` from the .c files of the current folder; main.c stays out, so that unit
# tests can link a program's code.
function(foyer_add_layer name)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
    list(FILTER sources EXCLUDE REGEX "/main\\.c$")
    if(NOT sources)
        return()
    endif()
    add_library(${name} STATIC ${sources})
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(${name} PRIVATE foyer_private)
    foyer_link_layers(${name} PUBLIC ${ARGN})
endfunction()

# Object library of one folder of libfoyer, compiled once for both the .a and the .so. What is left
# out (src/features.cmake) stays out.
function(foyer_add_core_objects name)
    file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.c")
    list(FILTER sources EXCLUDE REGEX "${FOYER_LEFT_OUT}")
    if(NOT sources)
        return()
    endif()
    add_library(${name} OBJECT ${sources})
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(${name} PRIVATE foyer_private)
    set_property(GLOBAL APPEND PROPERTY FOYER_CORE_OBJECTS $<TARGET_OBJECTS:${name}>)
endfunction()

# Links those of the named libraries that exist (see the head of this file).
function(foyer_link_layers target scope)
    foreach(layer IN LISTS ARGN)
        if(TARGET ${layer})
            target_link_libraries(${target} ${scope} ${layer})
        endif()
    endforeach()
endfunction()

set(FOYER_ALL_LAYERS foyer_cli_core foyer_daemon_core foyer_link foyer_ipc foyer_registry foyer)

# Executable `name` of our own code (tests, benchmarks, examples).
function(foyer_add_executable name)
    add_executable(${name} ${ARGN})
    target_link_libraries(${name} PRIVATE foyer_private)
    foyer_link_layers(${name} PRIVATE ${FOYER_ALL_LAYERS})
    target_link_libraries(${name} PRIVATE pthread m)
endfunction()
