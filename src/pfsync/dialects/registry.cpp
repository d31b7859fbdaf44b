// SPDX-License-Identifier: ISC
#include "pfsync/dialect.hpp"

namespace encsync::pfsync {

extern const DialectTraits kOpenbsd, kFreebsd1301, kFreebsd1400, kFreebsd1500;

constinit const std::array<const DialectTraits*, kDialects> detail::kTraits =
    std::to_array({&kOpenbsd, &kFreebsd1301, &kFreebsd1400, &kFreebsd1500});

} // namespace encsync::pfsync
