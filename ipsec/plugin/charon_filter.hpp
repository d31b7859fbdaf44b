// SPDX-License-Identifier: ISC
// The system calls that charon and its launcher may not use (seccomp(2)). charon is third-party
// code, so this is a deny list instead of an allow list; missing capabilities, its user and
// namespaces prevent the rest.
#pragma once

namespace encsync::supervisor {

// To be called with no_new_privs set, in a process of one thread. False: errno says why.
bool filter_charon();

} // namespace encsync::supervisor
