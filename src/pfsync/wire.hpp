// SPDX-License-Identifier: ISC
// The wire of every dialect: numbers, sizes and offsets. FreeBSD's version 5 gives numbers 13 to
// 16 other meanings than OpenBSD's version 6, so a packet is always read by its version byte
// first.
#pragma once

#include "pfsync/common.hpp"
#include "pfsync/dialect.hpp"
#include "pfsync/freebsd.hpp"
#include "pfsync/openbsd.hpp"
