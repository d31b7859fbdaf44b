// SPDX-License-Identifier: ISC
// The wire of every dialect: numbers, sizes and offsets. Version 5 gives numbers 13 to 16 other
// meanings than version 6, so a packet is always read by its version byte first.
#pragma once

#include "pfsync/common.hpp"
#include "pfsync/dialect.hpp"
#include "pfsync/dialects/openbsd.hpp"
