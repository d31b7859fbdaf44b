// SPDX-License-Identifier: ISC
// The exact text of errors. Each block: a file, and its diagnostics.
#include "files.hpp"

#include "config/text.hpp"

#include <gtest/gtest.h>

namespace encsync::config {
namespace {

struct Block {
    const char* name;
    const char* input;
    const char* expected;
};
void PrintTo(const Block& block, std::ostream* out) {
    *out << block.name;
}

class Diagnostics : public testing::TestWithParam<Block> {};

TEST_P(Diagnostics, ReadAs) {
    EXPECT_EQ(rendered(GetParam().input), GetParam().expected);
}

const Block kBlocks[] = {
    {"Nothing", "conn minnie\n\tleft=192.0.2.1\n\tright=192.0.2.2\n", ""},
    {"NoConn", "config setup\n\tnode=mickey\n",
     "t.conf: warning: no conn is in use: this node has no peer to keep in step with\n"},

    // ---- form ----
    {"UnknownSection", "con minnie\n\tleft=1\n",
     "t.conf:1:1: error: unknown section 'con'\n"
     "con minnie\n"
     "^\n"
     "did you mean 'conn'?\n"},
    {"StrongswanSections", "version 2\nca strong\n\tcacert=x\n",
     "t.conf:1:1: error: encsync's configuration has no version line\n"
     "version 2\n"
     "^\n"
     "t.conf:2:1: error: 'ca' sections are strongSwan's; here rightca= names a CA\n"
     "ca strong\n"
     "^\n"},
    {"ConfigWhat", "config stup\n",
     "t.conf:1:8: error: the only section of this kind is 'config setup'\n"
     "config stup\n"
     "       ^\n"},
    {"ConnWithoutName", "conn # which?\n",
     "t.conf:1:5: error: 'conn' needs a name\n"
     "conn # which?\n"
     "    ^\n"},
    {"ConnNames", "conn a b\nconn %defualt\n",
     "t.conf:1:7: error: a name has letters, digits, '.', '_' and '-' only\n"
     "conn a b\n"
     "      ^\n"
     "t.conf:2:6: error: unknown special conn '%defualt'\n"
     "conn %defualt\n"
     "     ^\n"
     "did you mean '%default'?\n"},
    // The intention is clear, so nothing else is reported as missing.
    {"SettingNotIndented", "conn minnie\nleft=192.0.2.1\nright=192.0.2.2\nkeydir=/keys\n",
     "t.conf:2:1: error: a setting must begin with a blank or a tab\n"
     "left=192.0.2.1\n"
     "^\n"
     "t.conf:3:1: error: a setting must begin with a blank or a tab\n"
     "right=192.0.2.2\n"
     "^\n"
     "t.conf:4:1: error: a setting must begin with a blank or a tab\n"
     "keydir=/keys\n"
     "^\n"
     "t.conf:4:1: error: 'keydir' belongs in 'config setup'\n"
     "keydir=/keys\n"
     "^\n"},
    {"SettingNotIndentedOutside", "left=192.0.2.1\n\tright=192.0.2.2\n",
     "t.conf:1:1: error: a setting must begin with a blank or a tab\n"
     "left=192.0.2.1\n"
     "^\n"},
    // An invalid value is reported once: left is not reported as missing as well.
    {"BrokenValues", "conn minnie\n\tleft=\n\tright=\"192.0.2.1\n\talso=\n\tlfet=\n",
     "t.conf:2:6: error: 'left' has no value\n"
     "\tleft=\n"
     "\t    ^\n"
     "t.conf:3:8: error: the quote is not closed\n"
     "\tright=\"192.0.2.1\n"
     "\t      ^\n"
     "t.conf:4:6: error: 'also' has no value\n"
     "\talso=\n"
     "\t    ^\n"
     "t.conf:5:2: error: unknown keyword 'lfet'\n"
     "\tlfet=\n"
     "\t^\n"
     "did you mean 'left'?\n"
     "t.conf:5:6: error: 'lfet' has no value\n"
     "\tlfet=\n"
     "\t    ^\n"},
    {"HeaderIndented", "config setup\n\tnode=a\n  conn minnie\n",
     "t.conf:3:3: error: expected keyword=value\n"
     "  conn minnie\n"
     "  ^\n"
     "'conn' must stand at the very start of its line\n"},
    {"SettingWithoutSection", "\tleft=192.0.2.1\n\tright=192.0.2.2\n",
     "t.conf:1:2: error: a setting needs a section above it ('config setup' or 'conn NAME')\n"
     "\tleft=192.0.2.1\n"
     "\t^\n"},
    {"NoEquals", "config setup\n\tnode mickey # = no\n",
     "t.conf:2:2: error: expected keyword=value\n"
     "\tnode mickey # = no\n"
     "\t^\n"},
    {"NoKeyword", "config setup\n\t =mickey\n",
     "t.conf:2:3: error: no keyword before '='\n"
     "\t =mickey\n"
     "\t ^\n"},
    {"NoValue", "config setup\n\tnode= # later\n\tkeydir=\"\"\n",
     "t.conf:2:6: error: 'node' has no value\n"
     "\tnode= # later\n"
     "\t    ^\n"
     "t.conf:3:9: error: the value is empty\n"
     "\tkeydir=\"\"\n"
     "\t       ^\n"},
    {"Quotes", "config setup\n\tnode=\"a\n\tkeydir=\"/a\" /b\n\tsyncdev=a\"b\n",
     "t.conf:2:7: error: the quote is not closed\n"
     "\tnode=\"a\n"
     "\t     ^\n"
     "t.conf:3:14: error: quotes must enclose the whole value\n"
     "\tkeydir=\"/a\" /b\n"
     "\t            ^\n"
     "t.conf:4:11: error: quotes must enclose the whole value\n"
     "\tsyncdev=a\"b\n"
     "\t         ^\n"},
    {"ControlCharacter", "config setup\n\tnode=a\x1b[31mb\n",
     "t.conf:2:8: error: the line holds a control character (0x1b)\n"
     "\tnode=a?[31mb\n"
     "\t      ^\n"},
    {"LoneCarriageReturn", "config setup\r\n\tnode=a\rb\r\n",
     "t.conf:2:8: error: the line holds a control character (0x0d)\n"
     "\tnode=a?b\n"
     "\t      ^\n"},
    {"IncludeWithoutName", "include\n",
     "t.conf:1:8: error: 'include' needs a file name\n"
     "include\n"
     "       ^\n"},
    {"IncludeMissing", "include  other.conf # not there\n",
     "t.conf:1:10: error: cannot read other.conf: No such file or directory\n"
     "include  other.conf # not there\n"
     "         ^\n"},

    // ---- keywords ----
    {"UnknownKeyword", "conn %default\n\tlifetme=1h\n",
     "t.conf:2:2: error: unknown keyword 'lifetme'\n"
     "\tlifetme=1h\n"
     "\t^\n"
     "did you mean 'lifetime'?\n"},
    {"UnknownEverywhere", "conn %default\n\tfrobnicate=1h\n",
     "t.conf:2:2: error: unknown keyword 'frobnicate'\n"
     "\tfrobnicate=1h\n"
     "\t^\n"},
    {"OtherSection", "config setup\n\tleft=192.0.2.1\n\tlifetme=1h\nconn %default\n\tnode=a\n",
     "t.conf:2:2: error: 'left' belongs in a conn\n"
     "\tleft=192.0.2.1\n"
     "\t^\n"
     "t.conf:3:2: error: unknown keyword 'lifetme'\n"
     "\tlifetme=1h\n"
     "\t^\n"
     "did you mean 'lifetime'? It belongs in a conn\n"
     "t.conf:5:2: error: 'node' belongs in 'config setup'\n"
     "\tnode=a\n"
     "\t^\n"},
    {"StrongswanKeywords",
     "conn %default\n\tkeyexchange=ikev2\n\trightcert=a.pem\n\ttfc=3\n\tdefer=yes\n",
     "t.conf:3:2: error: 'rightcert' is a strongSwan keyword that encsync does not use: a peer's "
     "certificate is checked against rightca, and ours is leftcert\n"
     "\trightcert=a.pem\n"
     "\t^\n"
     "t.conf:4:2: error: 'tfc' is a strongSwan keyword that encsync does not use\n"
     "\ttfc=3\n"
     "\t^\n"
     "t.conf:5:2: error: 'defer' belongs in 'config setup'\n"
     "\tdefer=yes\n"
     "\t^\n"},
    {"Repeated",
     "conn %default\n\tmtu=1400\n\n\tmtu=1500\n\tright=192.0.2.1\n\tsyncpeer=192.0.2.2\n",
     "t.conf:4:2: error: 'mtu' is already set on line 2\n"
     "\tmtu=1500\n"
     "\t^\n"
     "t.conf:6:2: error: 'syncpeer' is another name for 'right', which is already set on line 5\n"
     "\tsyncpeer=192.0.2.2\n"
     "\t^\n"},
    {"SectionsTwice",
     "config setup\nconn a\n\tleft=192.0.2.1\n\tright=192.0.2.2\nconn a\n\tmtu=1\nconfig setup\n",
     "t.conf:5:6: error: conn a is already there on line 2\n"
     "conn a\n"
     "     ^\n"
     "t.conf:6:6: error: mtu: '1' is not from 640 to 9000\n"
     "\tmtu=1\n"
     "\t    ^\n"
     "t.conf:7:1: error: 'config setup' is already there on line 1\n"
     "config setup\n"
     "^\n"},

    // ---- values: the caret is at the wrong part ----
    {"Values",
     "config setup\n"
     "\ttable = relais\n"
     "\tipsec=\"kernle\"\n"
     "\tignore = 10.0.0.0/8, 10.0.0.1/24\n"
     "\tikeport=65536\n"
     "conn %default\n"
     "\tike=aes256gcm16-prfsha384-curve25518\n"
     "\twire=freebsd-1600\n"
     "\twire2=1\n"
     "\tlifetime=1w\n"
     "\tauthby=eap\n"
     "\ttype=transpotr\n",
     "t.conf:2:10: error: table: 'relais' is not one of: conntrack, memory, relay\n"
     "\ttable = relais\n"
     "\t        ^\n"
     "did you mean 'relay'?\n"
     "t.conf:3:9: error: ipsec: 'kernle' is not one of: auto, userspace, kernel\n"
     "\tipsec=\"kernle\"\n"
     "\t       ^\n"
     "did you mean 'kernel'?\n"
     "t.conf:4:23: error: ignore: '10.0.0.1/24' has bits set beyond its prefix\n"
     "\tignore = 10.0.0.0/8, 10.0.0.1/24\n"
     "\t                     ^\n"
     "did you mean '10.0.0.0/24'?\n"
     "t.conf:5:10: error: ikeport: '65536' is not from 1 to 65535\n"
     "\tikeport=65536\n"
     "\t        ^\n"
     "t.conf:7:28: error: ike: unknown algorithm 'curve25518'\n"
     "\tike=aes256gcm16-prfsha384-curve25518\n"
     "\t                          ^\n"
     "did you mean 'curve25519'?\n"
     "t.conf:8:7: error: wire: 'freebsd-1600' is not one of: encsync, openbsd, freebsd-1301, "
     "freebsd-1400, freebsd-1500, auto\n"
     "\twire=freebsd-1600\n"
     "\t     ^\n"
     "did you mean 'freebsd-1400'?\n"
     "t.conf:9:2: error: unknown keyword 'wire2'\n"
     "\twire2=1\n"
     "\t^\n"
     "did you mean 'wire'?\n"
     "t.conf:10:11: error: lifetime: '1w' is no duration\n"
     "\tlifetime=1w\n"
     "\t         ^\n"
     "write 90, 90s, 5m, 4h or 1d\n"
     "t.conf:11:9: error: authby: 'eap' is not one of: pubkey, psk, secret\n"
     "\tauthby=eap\n"
     "\t       ^\n"
     "t.conf:12:7: error: type: 'transpotr' is not one of: tunnel, transport, cable\n"
     "\ttype=transpotr\n"
     "\t     ^\n"
     "did you mean 'transport'?\n"},
    {"TransportInTheKernel",
     "config setup\n"
     "\tipsec=kernel\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\ttype=transport\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "conn b\n"
     "\tright=10.0.0.3\n"
     "\ttype=tunnel\n",
     "t.conf:5:7: error: type=transport needs ipsec=userspace: an xfrm interface takes tunnel mode "
     "only\n"
     "\ttype=transport\n"
     "\t     ^\n"},
    {"Cables",
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\tike=aes128gcm16-prfsha256-ecp256\n" // for those that are no cables
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\twire=openbsd\n"
     "conn b\n"
     "\tright=10.0.0.3\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\twire=openbsd\n"
     "\tauthby=psk\n"
     "conn c\n"
     "\tright=10.0.0.4\n"
     "\tsyncdev=eth3\n"
     "conn d\n"
     "\tright=10.0.0.5\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\twire=openbsd\n"
     "\tmulticast=yes\n"
     "conn e\n"
     "\tleft=fe80::1%eth4\n"
     "\tright=fe80::2%eth4\n"
     "\ttype=cable\n"
     "\tsyncdev=eth5\n"
     "\twire=freebsd-1400\n"
     "conn f\n"
     "\tright=10.0.0.6\n"
     "\ttype=cable\n"
     "\tsyncdev=a_name_that_is_too_long\n"
     "\twire=openbsd\n"
     "conn g\n"
     "\tright=10.0.0.7\n"
     "\ttype=cable\n"
     "\tsyncdev=eth7\n",
     "t.conf:6:7: error: conn a has no syncdev, the cable's interface\n"
     "\ttype=cable\n"
     "\t     ^\n"
     "t.conf:13:9: error: authby is about IKE and ESP, and this is a cable\n"
     "\tauthby=psk\n"
     "\t       ^\n"
     "t.conf:16:10: error: syncdev is of type=cable only\n"
     "\tsyncdev=eth3\n"
     "\t        ^\n"
     "the interface that shows the packets of all tunnels belongs in 'config setup'\n"
     "t.conf:20:10: error: syncdev eth2, where one of them is multicast, is already that of conn b "
     "(line 8)\n"
     "\tsyncdev=eth2\n"
     "\t        ^\n"
     "t.conf:27:10: error: left fe80::1%eth4 is not on eth5\n"
     "\tsyncdev=eth5\n"
     "\t        ^\n"
     "t.conf:32:10: error: syncdev: an interface's name has 15 characters at most\n"
     "\tsyncdev=a_name_that_is_too_long\n"
     "\t        ^\n"
     "t.conf:36:7: warning: conn g: pfsync in clear between two encsync nodes: whoever reaches the "
     "cable can read, insert, change and clear states\n"
     "\ttype=cable\n"
     "\t     ^\n"
     "type=tunnel protects it\n"},
    {"MacAddresses",
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\ttype=cable\n"
     "\twire=openbsd\n"
     "\tsyncdev=eth2\n"
     "conn good\n"
     "\tright=10.0.0.2\n"
     "\tmac=52:54:00:12:34:56\n"
     "conn a\n"
     "\tright=10.0.0.3\n"
     "\tmac=52:54:00:12:34:57,52:54:00:12:34:58\n"
     "conn b\n"
     "\tright=10.0.0.4\n"
     "\ttype=tunnel\n"
     "\tmac=52:54:00:12:34:56\n"
     "conn c\n"
     "\tright=10.0.0.5\n"
     "\tmac=52-54-00-12-34-56\n"
     "conn d\n"
     "\tright=10.0.0.6\n"
     "\tmac=00:00:00:00:00:00\n"
     "conn e\n"
     "\tright=10.0.0.7\n"
     "\tmac=01:00:5e:00:00:f0\n",
     "t.conf:11:6: error: mac has 2 addresses, and right is one firewall\n"
     "\tmac=52:54:00:12:34:57,52:54:00:12:34:58\n"
     "\t    ^\n"
     "t.conf:15:6: error: mac is of type=cable only\n"
     "\tmac=52:54:00:12:34:56\n"
     "\t    ^\n"
     "t.conf:18:6: error: mac: '52-54-00-12-34-56' is no MAC address\n"
     "\tmac=52-54-00-12-34-56\n"
     "\t    ^\n"
     "write 52:54:00:12:34:56\n"
     "t.conf:21:6: error: mac: the zero address is nobody's\n"
     "\tmac=00:00:00:00:00:00\n"
     "\t    ^\n"
     "t.conf:24:6: error: mac: this is a multicast or broadcast address, from which nobody sends\n"
     "\tmac=01:00:5e:00:00:f0\n"
     "\t    ^\n"},
    {"Speakers",
     "config setup\n"
     "\ttable=relay\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\ttype=cable\n"
     "\tright=%multicast\n"
     "\twire=freebsd-1400\n"
     "conn good\n"
     "\tsyncdev=eth1\n"
     "\tspeakers=10.0.0.2, 10.0.0.3\n"
     "\tmac=52:54:00:12:34:56, 52:54:00:12:34:57\n"
     "conn good6\n"
     "\tleft=fe80::1%eth1\n"
     "\tsyncdev=eth1\n"
     "\tspeakers=fe80::2%eth1\n"
     "conn none\n"
     "\tsyncdev=eth2\n"
     "conn own\n"
     "\tsyncdev=eth3\n"
     "\tspeakers=10.0.0.2,10.0.0.1\n"
     "conn families\n"
     "\tsyncdev=eth4\n"
     "\tspeakers=10.0.0.2,fd00::2\n"
     "conn scopes\n"
     "\tleft=fe80::1%eth5\n"
     "\tsyncdev=eth5\n"
     "\tspeakers=fe80::2%eth6,fd00::2\n"
     "conn macs\n"
     "\tsyncdev=eth7\n"
     "\tspeakers=10.0.0.2, 10.0.0.3\n"
     "\tmac=52:54:00:12:34:56\n"
     "\tmulticast=no\n"
     "conn unicast\n"
     "\tright=10.0.0.9\n"
     "\tsyncdev=eth8\n"
     "\tspeakers=10.0.0.2\n"
     "conn tunnel\n"
     "\ttype=tunnel\n",
     "t.conf:6:8: error: right=%multicast needs speakers, the firewalls that are heard\n"
     "\tright=%multicast\n"
     "\t      ^\n"
     "t.conf:6:8: error: right=%multicast is of type=cable only\n"
     "\tright=%multicast\n"
     "\t      ^\n"
     "t.conf:20:11: error: speaker 10.0.0.1 is left, this node itself\n"
     "\tspeakers=10.0.0.2,10.0.0.1\n"
     "\t         ^\n"
     "t.conf:23:11: error: speaker fd00::2 and left 10.0.0.1 are of different families\n"
     "\tspeakers=10.0.0.2,fd00::2\n"
     "\t         ^\n"
     "t.conf:27:11: error: speaker fe80::2%eth6 and left fe80::1%eth5 are on different interfaces\n"
     "\tspeakers=fe80::2%eth6,fd00::2\n"
     "\t         ^\n"
     "t.conf:27:11: error: speaker fd00::2 and left fe80::1%eth5 are not both link-local\n"
     "\tspeakers=fe80::2%eth6,fd00::2\n"
     "\t         ^\n"
     "t.conf:31:6: error: mac needs one address for each speaker, in their order: 2, not 1\n"
     "\tmac=52:54:00:12:34:56\n"
     "\t    ^\n"
     "t.conf:32:12: error: right=%multicast and multicast=no contradict each other\n"
     "\tmulticast=no\n"
     "\t          ^\n"
     "t.conf:36:11: error: speakers is of right=%multicast only\n"
     "\tspeakers=10.0.0.2\n"
     "\t         ^\n"},
    {"SpeakersOfOthers",
     "config setup\n"
     "\ttable=relay\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=openbsd\n"
     "conn pair\n"
     "\ttype=cable\n"
     "\tright=%multicast\n"
     "\tsyncdev=eth1\n"
     "\tspeakers=10.0.0.2,10.0.0.3,10.0.0.4\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "conn b\n"
     "\tright=10.0.0.3\n"
     "\ttype=cable\n"
     "\tsyncdev=eth1\n"
     "conn c\n"
     "\tright=10.0.0.4\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n",
     "t.conf:10:11: error: speaker 10.0.0.2 is already the right of conn a (line 11)\n"
     "\tspeakers=10.0.0.2,10.0.0.3,10.0.0.4\n"
     "\t         ^\n"
     "t.conf:10:11: error: speaker 10.0.0.3 is already the right of conn b (line 13)\n"
     "\tspeakers=10.0.0.2,10.0.0.3,10.0.0.4\n"
     "\t         ^\n"
     "t.conf:16:10: error: syncdev eth1, where one of them is multicast, is already that of conn "
     "pair (line 6)\n"
     "\tsyncdev=eth1\n"
     "\t        ^\n"},
    {"SpeakersWithoutRelay",
     "conn a\n"
     "\tleft=10.0.0.1\n"
     "\tright=%multicast\n"
     "\tspeakers=10.0.0.2,10.0.0.2\n"
     "\ttype=cable\n"
     "\twire=openbsd\n"
     "\tsyncdev=eth1\n"
     "conn b\n"
     "\tleft=%multicast\n"
     "\tright=10.0.0.2\n",
     "t.conf:3:8: error: right=%multicast needs table=relay: a state table follows one firewall "
     "for each conn, and cannot tell the bulk updates of several apart\n"
     "\tright=%multicast\n"
     "\t      ^\n"
     "t.conf:4:20: error: speakers: 10.0.0.2 is there twice\n"
     "\tspeakers=10.0.0.2,10.0.0.2\n"
     "\t                  ^\n"
     "t.conf:9:7: error: left: '%multicast': encsync needs the address itself\n"
     "\tleft=%multicast\n"
     "\t     ^\n"},
    {"RelayOfDialects",
     "config setup\n"
     "\ttable=relay\n"
     "\tnosync=zone 7\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=openbsd\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\tmaxupd=5\n"
     "conn b\n"
     "\tright=10.0.0.3\n"
     "\twire=freebsd-1400\n"
     "conn c\n"
     "\tright=10.0.0.4\n"
     "\twire=auto\n",
     "t.conf:3:9: error: nosync has no effect with table=relay, which passes on every state\n"
     "\tnosync=zone 7\n"
     "\t       ^\n"
     "t.conf:11:9: error: maxupd has no effect with table=relay, which passes on every state\n"
     "\tmaxupd=5\n"
     "\t       ^\n"
     "t.conf:14:7: warning: conn b: between freebsd-1400 and openbsd of conn a, states are "
     "translated, without: numbers of rules, route-to and reply-to, routing tables, queues, flags "
     "that only one of them has, the type of ICMP queries other than echo, SCTP's verification "
     "tags\n"
     "\twire=freebsd-1400\n"
     "\t     ^\n"
     "states of two families (af-to) do not pass at all; see docs/gateway.md\n"
     "t.conf:17:7: error: conn c: table=relay needs the dialect of the firewalls\n"
     "\twire=auto\n"
     "\t     ^\n"
     "wire=openbsd, or one of FreeBSD's\n"},
    {"RelayOfOneDialect",
     "config setup\n"
     "\ttable=relay\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=openbsd\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\tifmap=em0:wan, em1:lan\n"
     "conn b\n"
     "\tright=10.0.0.3\n",
     ""},
    {"RelayOfEncsync",
     "config setup\n"
     "\ttable=relay\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=encsync\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\twire=openbsd\n"
     "conn b\n"
     "\tright=10.0.0.3\n",
     "t.conf:5:7: error: conn b: table=relay needs the dialect of the firewalls\n"
     "\twire=encsync\n"
     "\t     ^\n"
     "wire=openbsd, or one of FreeBSD's\n"},
    {"InterfaceMaps",
     "config setup\n"
     "\ttable=relay\n"
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=openbsd\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\tifmap=em0:wan,em0:lan\n"
     "conn b\n"
     "\tright=10.0.0.3\n"
     "\tifmap=em0:wan\n",
     "t.conf:10:16: error: ifmap: 'em0' is left of two pairs\n"
     "\tifmap=em0:wan,em0:lan\n"
     "\t              ^\n"
     "t.conf:13:8: error: ifmap is of type=cable only\n"
     "\tifmap=em0:wan\n"
     "\t      ^\n"},
    {"InterfaceMapWithoutARelay",
     "conn %default\n"
     "\tleft=10.0.0.1\n"
     "\twire=openbsd\n"
     "conn a\n"
     "\tright=10.0.0.2\n"
     "\ttype=cable\n"
     "\tsyncdev=eth2\n"
     "\tifmap=em0:wan\n",
     "t.conf:8:8: error: ifmap needs table=relay: no other table has states that are bound to an "
     "interface\n"
     "\tifmap=em0:wan\n"
     "\t      ^\n"},
    {"RelayOfOneSide",
     "config setup\n"
     "\ttable=relay\n"
     "conn a\n"
     "\tleft=10.0.0.1\n"
     "\tright=10.0.0.2\n"
     "\twire=openbsd\n",
     "t.conf:3:6: error: table=relay needs a conn with type=cable, to a firewall\n"
     "conn a\n"
     "     ^\n"},
    {"Authentication",
     "conn %default\n\tleft=10.0.0.1\n\tleftid=me\n"
     "conn a\n\tright=10.0.0.2\n\tauthby=psk\n" // the key store has the preshared key
     "conn b\n\tright=10.0.0.3\n\tsecretfile=/b\n"
     "conn c\n\tright=10.0.0.4\n\tauthby=secret\n\tsecretfile=/c\n\trightca=/ca\n"
     "conn d\n\tright=10.0.0.5\n\tleftcert=/d\n\trightca=ca.pem\n",
     "t.conf:9:13: error: secretfile is of authby=psk only\n"
     "\tsecretfile=/b\n"
     "\t           ^\n"
     "t.conf:14:10: error: rightca is of authby=pubkey only\n"
     "\trightca=/ca\n"
     "\t        ^\n"
     "t.conf:18:10: error: rightca: 'ca.pem' is neither an absolute path nor 'store'\n"
     "\trightca=ca.pem\n"
     "\t        ^\n"
     "a path begins with '/'\n"},
    {"PresharedKeys",
     "conn %default\n\tleft=10.0.0.1\n\tleftid=me\n\tppk=required\n"
     "conn a\n\tright=10.0.0.2\n\tppkrotate=1h\n"
     "conn b\n\tright=10.0.0.3\n\twire=openbsd\n"
     "conn c\n\tright=10.0.0.4\n\tppk=maybe\n",
     "t.conf:4:6: error: ppk=required is for encsync nodes that trust each other's keys, and b is "
     "none\n"
     "\tppk=required\n"
     "\t    ^\n"
     "t.conf:13:6: error: ppk: 'maybe' is not one of: auto, optional, required, no\n"
     "\tppk=maybe\n"
     "\t    ^\n"},
    {"NoSync",
     "config setup\n"
     "\tnosync = mark 0x10/0xf0, prot udp\n"
     "\tdelay=61s\n"
     "\tdefer=maybe\n"
     "\tdeferqueue=65536\n"
     "conn %default\n"
     "\tnosync = mark 0x13/0xf0\n"
     "conn a\n"
     "\tauto=ignore\n"
     "\tnosync = src 10.0.0.0/8 and dst 10.1.2.3/16\n"
     "conn b\n"
     "\tauto=ignore\n"
     "\tnosync = port 53 or port 80\n",
     "t.conf:2:27: error: nosync: 'prot' is no condition\n"
     "\tnosync = mark 0x10/0xf0, prot udp\n"
     "\t                         ^\n"
     "did you mean 'proto'?\n"
     "t.conf:3:8: error: delay: '61s' is not from 0s to 1m\n"
     "\tdelay=61s\n"
     "\t      ^\n"
     "t.conf:4:8: error: defer: 'maybe' is not one of: yes, no\n"
     "\tdefer=maybe\n"
     "\t      ^\n"
     "t.conf:5:13: error: deferqueue: '65536' is not from 0 to 65535\n"
     "\tdeferqueue=65536\n"
     "\t           ^\n"
     "t.conf:7:16: error: nosync: '0x13/0xf0' has bits set beyond its mask\n"
     "\tnosync = mark 0x13/0xf0\n"
     "\t              ^\n"
     "did you mean '0x10/0xf0'?\n"
     "t.conf:10:34: error: nosync: '10.1.2.3/16' has bits set beyond its prefix\n"
     "\tnosync = src 10.0.0.0/8 and dst 10.1.2.3/16\n"
     "\t                                ^\n"
     "did you mean '10.1.0.0/16'?\n"
     "t.conf:13:19: error: nosync: expected 'and' or a comma before 'or'\n"
     "\tnosync = port 53 or port 80\n"
     "\t                 ^\n"},

    // ---- also ----
    {"AlsoNothing",
     "conn common\n\tauto=ignore\nconn a\n\talso=comon\n\tleft=192.0.2.1\n\tright=192.0.2.2\n",
     "t.conf:4:7: error: there is no conn 'comon'\n"
     "\talso=comon\n"
     "\t     ^\n"
     "did you mean 'common'?\n"},
    {"AlsoLoop",
     "conn a\n\talso=b\nconn b\n\tauto=add\n\talso=c\nconn c\n\talso=a\nconn d\n\talso=a\n",
     "t.conf:2:7: error: also is a loop: a -> b -> c -> a\n"
     "\talso=b\n"
     "\t     ^\n"
     "t.conf:5:7: error: also is a loop: b -> c -> a -> b\n"
     "\talso=c\n"
     "\t     ^\n"
     "t.conf:7:7: error: also is a loop: c -> a -> b -> c\n"
     "\talso=a\n"
     "\t     ^\n"},
    {"AlsoItself", "conn a\n\talso=a\n",
     "t.conf:2:7: error: also is a loop: a -> a\n"
     "\talso=a\n"
     "\t     ^\n"},
    {"AlsoWhereItMayNot",
     "config setup\n\talso=a\nconn %default\n\talso=a\nconn a\n\tauto=ignore\n\talso=%default\n"
     "conn b\n\tauto=ignore\n\talso=a\n\talso=a\n",
     "t.conf:2:2: error: 'also' has no place in 'config setup'\n"
     "\talso=a\n"
     "\t^\n"
     "t.conf:4:2: error: 'also' has no place in 'conn %default'\n"
     "\talso=a\n"
     "\t^\n"
     "t.conf:7:7: error: every conn inherits from %default; leave this out\n"
     "\talso=%default\n"
     "\t     ^\n"
     "t.conf:11:2: error: 'also=a' is already there on line 10\n"
     "\talso=a\n"
     "\t^\n"},
    {"InheritedIgnore",
     "conn %default\n\tauto=ignore\n\tleft=192.0.2.1\nconn a\n\tright=192.0.2.2\n",
     "t.conf: warning: no conn is in use: this node has no peer to keep in step with\n"
     "t.conf:4:6: warning: conn a is ignored: it inherits auto=ignore from line 2\n"
     "conn a\n"
     "     ^\n"
     "give it an auto of its own\n"},

    // ---- checks between values ----
    {"LeftAndRight",
     "conn a\nconn b\n\tleft=192.0.2.1\n\tright=2001:db8::1\n"
     "conn c\n\tleft=192.0.2.1\n\tright=192.0.2.1\n",
     "t.conf:1:6: error: conn a has no left, this firewall's address\n"
     "conn a\n"
     "     ^\n"
     "t.conf:1:6: error: conn a has no right, the peer's address\n"
     "conn a\n"
     "     ^\n"
     "t.conf:4:8: error: left 192.0.2.1 and right 2001:db8::1 are of different families\n"
     "\tright=2001:db8::1\n"
     "\t      ^\n"
     "t.conf:7:8: error: left and right are the same address, 192.0.2.1\n"
     "\tright=192.0.2.1\n"
     "\t      ^\n"},
    {"Scopes",
     "config setup\n\tipsec=userspace\n"
     "conn %default\n\tleft=fe80::1%sync\n"
     "conn good\n\tright=fe80::2%sync\n"
     "conn a\n\tright=fe80::3%other\n"
     "conn b\n\tright=2001:db8::1\n"
     "conn c\n\tleft=fe80::1%other\n\tright=fe80::2%other\n"
     "conn d\n\tright=fe80::1%sync\n",
     "t.conf:8:8: error: left fe80::1%sync and right fe80::3%other are on different interfaces\n"
     "\tright=fe80::3%other\n"
     "\t      ^\n"
     "t.conf:10:8: error: left fe80::1%sync and right 2001:db8::1 are not both link-local\n"
     "\tright=2001:db8::1\n"
     "\t      ^\n"
     "t.conf:13:8: error: right fe80::2%other, whatever its scope, is already that of conn good "
     "(line 5)\n"
     "\tright=fe80::2%other\n"
     "\t      ^\n"
     "t.conf:15:8: error: left and right are the same address, fe80::1%sync\n"
     "\tright=fe80::1%sync\n"
     "\t      ^\n"},
    {"ScopesInTheKernel",
     "config setup\n\tipsec=kernel\nconn a\n\tleft=fe80::1%sync\n\tright=fe80::2%sync\n",
     "t.conf:5:8: error: link-local addresses need ipsec=userspace: the kernel's IPsec states have "
     "no scope\n"
     "\tright=fe80::2%sync\n"
     "\t      ^\n"},
    {"Lifetimes",
     "conn %default\n\tleft=192.0.2.1\n\tlifetime=5m\n\tmargintime=5m\nconn a\n\tright=192.0.2.2\n"
     "\tikelifetime=4m\nconn b\n\tright=192.0.2.3\n\tdpddelay=6s\n",
     "t.conf:4:13: error: lifetime (5m) must be longer than margintime (5m)\n"
     "\tmargintime=5m\n"
     "\t           ^\n"
     "t.conf:7:14: error: ikelifetime (4m) must not be shorter than lifetime (5m)\n"
     "\tikelifetime=4m\n"
     "\t            ^\n"
     "t.conf:10:11: error: dpdtimeout (5s) must not be shorter than dpddelay (6s)\n"
     "\tdpddelay=6s\n"
     "\t         ^\n"},
    {"SmallMtu", "conn a\n\tleft=2001:db8::1\n\tright=2001:db8::2\n\tmtu=1279\n",
     "t.conf:4:6: error: mtu 1279 is too small for IPv6, which needs 1280\n"
     "\tmtu=1279\n"
     "\t    ^\n"},
    {"WireWithoutIpv6",
     "conn %default\n\tleft=2001:db8::1\n\twire=openbsd\nconn a\n\tright=2001:db8::2\n"
     "conn b\n\tright=2001:db8::3\n\twire=freebsd-1301\n"
     "conn c\n\tright=2001:db8::4\n\twire=freebsd-1400\n",
     "t.conf:5:8: error: OpenBSD speaks pfsync over IPv4 only, and right is 2001:db8::2\n"
     "\tright=2001:db8::2\n"
     "\t      ^\n"
     "t.conf:8:7: error: FreeBSD before 14 speaks pfsync over IPv4 only, and right is 2001:db8::3\n"
     "\twire=freebsd-1301\n"
     "\t     ^\n"},
    {"SharedPeers",
     "conn %default\n\tleft=192.0.2.1\nconn a\n\tright=192.0.2.2\nconn b\n\tright=192.0.2.2\n"
     "\trightid=A\n",
     "t.conf:6:8: error: right 192.0.2.2 is already that of conn a (line 3)\n"
     "\tright=192.0.2.2\n"
     "\t      ^\n"
     "t.conf:7:10: error: rightid A is already that of conn a (line 3)\n"
     "\trightid=A\n"
     "\t        ^\n"},
    {"SharedByInheritance", "conn %default\n\tleft=192.0.2.1\n\tright=192.0.2.2\nconn a\nconn b\n",
     "t.conf:5:6: error: right 192.0.2.2 is already that of conn a (line 4)\n"
     "conn b\n"
     "     ^\n"},
    {"OurOwnName", "conn Mickey\n\tleft=192.0.2.1\n\tright=192.0.2.2\n",
     "t.conf:1:6: error: the peer's id is our own, 'mickey'\n"
     "conn Mickey\n"
     "     ^\n"
     "the conn has the peer's name, or a rightid\n"},
    {"SamePorts", "config setup\n\tikeport=4500\n",
     "t.conf:2:10: error: ikeport and natport are the same, 4500\n"
     "\tikeport=4500\n"
     "\t        ^\n"},
    {"DeferWithDelay", "config setup\n\ttable=memory\n\tdefer=yes\n\tdelay=10ms\n",
     "t.conf:3:8: error: defer=yes needs table=conntrack: other tables see no packets\n"
     "\tdefer=yes\n"
     "\t      ^\n"
     "t.conf:4:8: error: delay and defer=yes contradict each other: a packet cannot wait for an "
     "announcement that is put off\n"
     "\tdelay=10ms\n"
     "\t      ^\n"},
    // An invalid value is reported once, and other checks ignore it.
    {"NoConclusions",
     "conn %default\n\tleft=192.0.2.300\n\tlifetime=never\nconn a\n\tright=192.0.2.2\nconn b\n"
     "\tright=192.0.2.3\n\tikelifetime=2s\n",
     "t.conf:2:7: error: left: '192.0.2.300' is no IP address\n"
     "\tleft=192.0.2.300\n"
     "\t     ^\n"
     "host names are not looked up; write 192.0.2.1 or 2001:db8::1\n"
     "t.conf:3:11: error: lifetime: 'never' is no duration\n"
     "\tlifetime=never\n"
     "\t         ^\n"
     "write 90, 90s, 5m, 4h or 1d\n"},
    // Columns count characters, and the caret is under the right one.
    {"Umlauts",
     "config setup\n  node=m\xc3\xbc\xc3\xbcs\xff\n  keydir=/m\xc3\xbcsli # so\xc2\x9b\n",
     "t.conf:2:9: error: node: a name has letters, digits, '.', '_' and '-' only\n"
     "  node=m\xc3\xbc\xc3\xbcs?\n"
     "        ^\n"},
};

INSTANTIATE_TEST_SUITE_P(Blocks, Diagnostics, testing::ValuesIn(kBlocks),
                         [](const auto& block) { return std::string(block.param.name); });

TEST(Render, KeepsTabsAndCountsCharacters) {
    Diagnostic d;
    d.file = "f";
    d.line = 3;
    d.column = 4;
    d.source_line = "\t\xc3\xbc\tx";
    d.message = "m";
    EXPECT_EQ(render(d), "f:3:4: error: m\n\t\xc3\xbc\tx\n\t \t^\n");
    d.column = 7; // beyond the end
    EXPECT_EQ(render(d), "f:3:7: error: m\n\t\xc3\xbc\tx\n\t \t   ^\n");
}

TEST(Render, LongLinesAreCutShort) {
    const std::string shown = rendered("conn a\n\tleft=" + std::string(kMaxLineSize, '1') + "\n");
    EXPECT_NE(shown.find("t.conf:2:1: error: the line has 4102 bytes; 4096 are the most\n\tleft="),
              std::string::npos)
        << shown;
    EXPECT_LT(shown.size(), 600u);
    // One that just fits is read: only the value is wrong.
    const std::string fits =
        rendered("conn a\n\tleft=" + std::string(kMaxLineSize - 6, '1') + "\n");
    EXPECT_NE(fits.find("error: left: '111"), std::string::npos);
}

TEST(Render, ManyErrorsAreCounted) {
    std::string text = "config setup\n";
    for (int i = 0; i < 150; i++)
        text += fmt::format("\tbad{}=1\n", i);
    const Loaded loaded = parse_text(text);
    ASSERT_EQ(loaded.diagnostics.size(), kMaxDiagnostics + 1);
    EXPECT_EQ(render(loaded.diagnostics.back()),
              "t.conf: error: 50 more like these are not shown\n");
    EXPECT_FALSE(loaded.config);
}

TEST(Printable, HasNothingThatATerminalObeys) {
    EXPECT_EQ(printable("a\tb\x1b\x7f\x01z"), "a\tb???z");
    EXPECT_EQ(printable("\xc3\xbc\xe2\x82\xac\xf0\x9f\x99\x82"),
              "\xc3\xbc\xe2\x82\xac\xf0\x9f\x99\x82");
    // Invalid, overlong, surrogate, C1 control, beyond Unicode, truncated.
    EXPECT_EQ(printable("\xff\xc0\x80\xed\xa0\x80\xc2\x9b\xf4\x90\x80\x80\xe2\x82"), "??????"
                                                                                     "??"
                                                                                     "????"
                                                                                     "??");
}

TEST(Nearest, IsNearOrNothing) {
    const std::string_view words[] = {"lifetime", "left", "leftid", "ike"};
    EXPECT_EQ(nearest("lifetme", words), "lifetime");
    EXPECT_EQ(nearest("lfietime", words), "lifetime");
    EXPECT_EQ(nearest("LIFETIME", words), "lifetime");
    EXPECT_EQ(nearest("letf", words), "left");
    EXPECT_EQ(nearest("leftidd", words), "leftid");
    EXPECT_EQ(nearest("x", words), "");
    EXPECT_EQ(nearest("completely", words), "");
    EXPECT_EQ(nearest(std::string(5000, 'l'), words), "");
}

} // namespace
} // namespace encsync::config
