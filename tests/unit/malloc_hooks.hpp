// SPDX-License-Identifier: ISC
// As in <sanitizer/allocator_interface.h>, which gcc does not install: functions that
// AddressSanitizer calls after each allocation and before each release. operator new uses them,
// too.
#pragma once

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*malloc_hook)(const volatile void*,
                                                                             std::size_t),
                                                         void (*free_hook)(const volatile void*));
extern "C" std::size_t __sanitizer_get_allocated_size(const volatile void* block);
#endif
