// SPDX-License-Identifier: ISC
// The system calls that charon and its launcher are refused. charon is another's program, so this
// names what it must not do, rather than all that it may: capabilities, user and namespaces have
// taken the rest from it. seccomp(2).
#pragma once

namespace encsync::supervisor {

// To be called with no_new_privs set, in a process of one thread. False: errno says why.
bool filter_charon();

} // namespace encsync::supervisor
