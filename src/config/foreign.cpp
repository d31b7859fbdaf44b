// SPDX-License-Identifier: ISC
#include "config/options.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>

namespace encsync::config {

namespace {

struct Foreign {
    std::string_view name;
    std::string_view reason;
};

constexpr std::string_view kOtherCertificates =
    "a peer's certificate is checked against rightca, and ours is leftcert";
constexpr std::string_view kFixedSelectors =
    "encsync's tunnels carry pfsync between the two firewalls and nothing else";
constexpr std::string_view kAlwaysTries = "encsync tries its peers for ever";
constexpr std::string_view kOnlyIkev2 = "encsync speaks IKEv2 only";

// Unsupported keywords for which the error gives a reason.
constexpr std::array kReasons = {
    Foreign{"rightcert", kOtherCertificates},
    Foreign{"leftca", kOtherCertificates},
    Foreign{"leftsendcert", kOtherCertificates},
    Foreign{"rightsendcert", kOtherCertificates},
    Foreign{"leftsigkey", "encsync keeps its keys itself: see encsync keys init"},
    Foreign{"rightsigkey", "encsync trusts keys by encsync keys trust FILE"},
    Foreign{"leftrsasigkey", "encsync keeps its keys itself: see encsync keys init"},
    Foreign{"rightrsasigkey", "encsync trusts keys by encsync keys trust FILE"},
    Foreign{"leftsubnet", kFixedSelectors},
    Foreign{"rightsubnet", kFixedSelectors},
    Foreign{"leftprotoport", kFixedSelectors},
    Foreign{"rightprotoport", kFixedSelectors},
    Foreign{"leftsourceip", kFixedSelectors},
    Foreign{"rightsourceip", kFixedSelectors},
    Foreign{"leftauth", "use authby"},
    Foreign{"rightauth", "use authby"},
    Foreign{"keylife", "use lifetime"},
    Foreign{"rekeymargin", "use margintime"},
    Foreign{"leftikeport", "use ikeport in 'config setup'"},
    Foreign{"rightikeport", "use ikeport in 'config setup', the same on all nodes"},
    Foreign{"forceencaps", "encsync always wraps ESP in UDP"},
    Foreign{"keyingtries", kAlwaysTries},
    Foreign{"dpdaction", kAlwaysTries},
    Foreign{"closeaction", kAlwaysTries},
    Foreign{"rekey", "encsync always rekeys; see lifetime"},
    Foreign{"reauth", "see encsync keys rotate"},
    Foreign{"aggressive", kOnlyIkev2},
    Foreign{"xauth", kOnlyIkev2},
    Foreign{"charondebug", "use loglevel"},
    Foreign{"fragmentation", "encsync always allows it"},
    Foreign{"mobike", "firewalls do not roam"},
};

constexpr std::array<std::string_view, 64> kOthers = {"aaa_identity",    "ah",
                                                      "cachecrls",       "charonstart",
                                                      "compress",        "dumpdir",
                                                      "eap_identity",    "inactivity",
                                                      "ikedscp",         "installpolicy",
                                                      "interfaces",      "keep_alive",
                                                      "lifebytes",       "marginbytes",
                                                      "marginpackets",   "mark",
                                                      "mark_in",         "mark_out",
                                                      "me_peerid",       "mediated_by",
                                                      "mediation",       "modeconfig",
                                                      "nat_traversal",   "overridemtu",
                                                      "plutostart",      "ppk_id",
                                                      "ppk_required",    "rekeyfuzz",
                                                      "replay_window",   "reqid",
                                                      "set_mark_in",     "set_mark_out",
                                                      "strictcrlpolicy", "tfc",
                                                      "uniqueids",       "virtual_private",
                                                      "xauth_identity",  "leftallowany",
                                                      "rightallowany",   "leftauth2",
                                                      "rightauth2",      "leftca2",
                                                      "rightca2",        "leftcert2",
                                                      "rightcert2",      "leftcertpolicy",
                                                      "rightcertpolicy", "leftdns",
                                                      "rightdns",        "leftfirewall",
                                                      "rightfirewall",   "leftgroups",
                                                      "rightgroups",     "leftgroups2",
                                                      "rightgroups2",    "lefthostaccess",
                                                      "righthostaccess", "leftid2",
                                                      "rightid2",        "leftnexthop",
                                                      "rightnexthop",    "leftupdown",
                                                      "rightupdown",     "sha256_96"};

} // namespace

std::string foreign_keyword(std::string_view name) {
    for (const Foreign& foreign : kReasons)
        if (foreign.name == name)
            return fmt::format("'{}' is a strongSwan keyword that encsync does not use: {}", name,
                               foreign.reason);
    if (std::find(kOthers.begin(), kOthers.end(), name) != kOthers.end())
        return fmt::format("'{}' is a strongSwan keyword that encsync does not use", name);
    return {};
}

} // namespace encsync::config
