// SPDX-License-Identifier: ISC
#include "state/expectation.hpp"

namespace encsync::state {

std::string to_string(const Expectation& expectation) {
    Flow expected, master;
    expected.key = {expectation.tuple, expectation.master.zone, expectation.proto,
                    expectation.master.family};
    expected.reply = inverse(expected.key);
    master.key = expectation.master;
    master.reply = inverse(master.key);
    return to_string(expected) + " of " + to_string(master);
}

} // namespace encsync::state
