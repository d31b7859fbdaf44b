-- SPDX-License-Identifier: ISC
-- pfsync in Wireshark and tshark: version 6 (OpenBSD, encsync) and version 5 (FreeBSD, pfSense,
-- OPNsense). Put this file into the folder "Personal Lua Plugins" of Help > About > Folders, or:
--
--     tshark -X lua_script:pfsync.lua -r FILE -Y pfsync
--     encsync monitor --write - | wireshark -k -i - -X lua_script:pfsync.lua
--
-- It takes IP protocol 240, and captures made on FreeBSD's pfsync0 (link type 121). Captures of
-- link type 246 (PFSYNC) are refused by Wireshark itself, at least up to 4.0; `encsync decode`
-- reads them.
--
-- A field has the name that if_pfsync.h gives it: pfsync.id, pfsync.src.seqlo, pfsync.wire.port. Of
-- lists of two there are two of a name. What is wrong is named in pfsync.error, in the words of
-- `encsync decode`.

local pfsync = Proto("pfsync", "Packet Filter State Table Synchronisation")

local INET = 2
local INET6 = {[5] = 28, [6] = 24} -- AF_INET6 of FreeBSD and OpenBSD
local OPENBSD = 6

-- ---- tables: {name, offset, kind, more}, as in if_pfsync.h and pfvar.h ----------------------

local STATE6 = {
    {"id", 0, "hex64"}, {"creatorid", 236, "creatorid"}, {"ifname", 8, "ifname"},
    {"af", 250, "family"}, {"proto", 251, "u8"}, {"direction", 252, "direction"},
    {"wire", 24, "key40", 250}, {"stack", 64, "key40", 250},
    {"src", 104, "peer"}, {"dst", 136, "peer"},
    {"creation", 196, "u32"}, {"expire", 200, "u32"}, {"timeout", 255, "timeout", 20},
    {"state_flags", 260, "flags16"}, {"packets", 204, "u64", 2}, {"bytes", 220, "u64", 2},
    {"rt", 254, "u8"}, {"rt_addr", 168, "address", 250},
    {"rule", 184, "u32"}, {"anchor", 188, "u32"}, {"nat_rule", 192, "u32"},
    {"rtableid", 240, "i32", 2}, {"max_mss", 248, "u16"}, {"log", 253, "u8"},
    {"sync_flags", 256, "u8"}, {"updates", 257, "u8"}, {"min_ttl", 258, "u8"},
    {"set_tos", 259, "u8"}, {"set_prio", 262, "u8", 2},
}

-- The front that the three states of FreeBSD share; `af` is where the family of a side stands.
local function state5(wire_af, stack_af, rest)
    local fields = {
        {"id", 0, "hex64"}, {"creatorid", 228, "creatorid"}, {"ifname", 8, "ifname"},
        {"wire", 24, "key36", wire_af}, {"stack", 60, "key36", stack_af},
        {"src", 96, "peer"}, {"dst", 128, "peer"},
        {"creation", 188, "u32"}, {"expire", 192, "u32"},
        {"packets", 196, "u64", 2}, {"bytes", 212, "u64", 2},
        {"rule", 176, "u32"}, {"anchor", 180, "u32"}, {"nat_rule", 184, "u32"},
    }
    for _, field in ipairs(rest) do
        fields[#fields + 1] = field
    end
    return fields
end

local STATE1301 = state5(232, 232, {
    {"af", 232, "family"}, {"proto", 233, "u8"}, {"direction", 234, "direction"},
    {"timeout", 239, "timeout", 20}, {"state_flags", 238, "flags8"},
    {"rt_addr", 160, "address", 232}, {"log", 237, "u8"}, {"sync_flags", 240, "u8"},
    {"updates", 241, "u8"},
})

local STATE1400 = state5(232, 232, {
    {"af", 232, "family"}, {"proto", 233, "u8"}, {"direction", 234, "direction"},
    {"timeout", 239, "timeout", 25}, {"state_flags", 235, "flags16"},
    {"rt", 260, "u8"}, {"rt_addr", 160, "address", 232}, {"rt_ifname", 261, "ifname"},
    {"rtableid", 250, "i32"}, {"max_mss", 256, "u16"}, {"log", 237, "u8"},
    {"sync_flags", 240, "u8"}, {"updates", 241, "u8"}, {"qid", 242, "u16"}, {"pqid", 244, "u16"},
    {"dnpipe", 246, "u16"}, {"dnrpipe", 248, "u16"}, {"min_ttl", 254, "u8"},
    {"set_tos", 255, "u8"}, {"set_prio", 258, "u8", 2},
})

local STATE1500 = state5(344, 345, {
    {"orig_ifname", 312, "ifname"}, {"af", 344, "family"}, {"proto", 347, "u8"},
    {"wire_af", 344, "family"}, {"stack_af", 345, "family"},
    {"wire_proto", 347, "u8"}, {"stack_proto", 348, "u8"}, {"direction", 351, "direction"},
    {"timeout", 350, "timeout", 25}, {"state_flags", 332, "flags16"},
    {"rt", 352, "u8"}, {"rt_af", 346, "route_family"}, {"rt_addr", 160, "address", 346},
    {"rt_ifname", 296, "ifname"}, {"rtableid", 328, "i32"}, {"max_mss", 342, "u16"},
    {"log", 349, "u8"}, {"tagname", 232, "tag"}, {"qid", 334, "u16"}, {"pqid", 336, "u16"},
    {"dnpipe", 338, "u16"}, {"dnrpipe", 340, "u16"}, {"min_ttl", 353, "u8"},
    {"set_tos", 354, "u8"}, {"set_prio", 355, "u8", 2},
})

local function update(limit, more)
    return {
        {"id", 0, "hex64"}, {"creatorid", 72, "creatorid"}, {"src", 8, "peer"}, {"dst", 40, "peer"},
        {"expire", 76, "u32"}, {"timeout", 80, "timeout", limit}, more,
    }
end
local ID = {{"id", 0, "hex64"}, {"creatorid", 8, "hex32"}}
local CLR = {{"ifname", 0, "ifname"}, {"creatorid", 16, "creatorid"}}
local BUS = {{"creatorid", 0, "hex32"}, {"endtime", 4, "u32"}, {"status", 8, "bus_status"}}
local TDB6 = {
    {"spi", 0, "hex32"}, {"sockaddr", 4, "sockaddr"}, {"rpl", 32, "u64"}, {"bytes", 40, "u64"},
    {"sproto", 48, "u8"}, {"updates", 49, "u8"}, {"rdomain", 50, "u16"},
}
-- 32 bits of replay counter: OpenBSD until about 2015, FreeBSD.
local OLD_TDB = {
    {"spi", 0, "hex32"}, {"sockaddr", 4, "sockaddr"}, {"rpl", 32, "u32as64"}, {"bytes", 36, "u64"},
    {"sproto", 44, "u8"}, {"updates", 45, "u8"},
}
-- What encsync nodes say to each other.
local HELLO = {
    {"session", 0, "hex64"}, {"peer_session", 8, "hex64"}, {"creatorid", 16, "hex32"},
    {"hello_version", 20, "u16"}, {"role", 22, "u8"}, {"flags", 23, "u8"},
    {"states", 24, "u64"}, {"live", 32, "u64"}, {"checked", 40, "u32"}, {"hears", 44, "rest"},
}
local SEQ = {{"number", 0, "u64"}, {"session", 8, "hex64"}}
local ACK = {{"highest", 0, "u64"}, {"session", 8, "hex64"}, {"bitmap", 16, "rest"}}
local ROOT = {{"since", 0, "u64"}, {"sum", 8, "hex64"}, {"states", 16, "u64"}}
local SUMS = {{"node", 0, "u32"}, {"sums", 8, "rest"}}
local LIST = {
    {"leaf", 0, "u32"}, {"part", 4, "u16"}, {"flags", 6, "u8"}, {"flows", 8, "rest"},
}
local ABSENT = {ID[1], ID[2], {"since", 12, "u64"}}
local RELAY_ROOT = {{"session", 0, "hex64"}, {"sum", 8, "hex64"}, {"states", 16, "u64"}}
local ORPHAN = {{"orphan_action", 0, "u8"}, {"state", 4, "rest"}}
local KEYS = {
    {"own_keys", 0, "u8"}, {"trusted_keys", 2, "u8"}, {"own_key", 4, "hex64"},
    {"next_key", 12, "hex64"}, {"trusted_key", 20, "hex64"}, {"trusted_next", 28, "hex64"},
    {"revoked", 36, "bytes16"},
}
local KEY_TEXT = {{"text_length", 0, "u16"}, {"text", 2, "rest"}}
local PPK = {
    {"ppk_session", 0, "hex64"}, {"ppk_number", 8, "u64"}, {"held", 16, "u8"}, {"offer", 17, "u8"},
    {"ppk_flags", 18, "u8"}, {"epoch", 20, "u32"}, {"later_epoch", 24, "u32"},
    {"ppk_id", 28, "bytes16"}, {"later_id", 44, "bytes16"}, {"next_epoch", 60, "u32"},
    {"base", 64, "bytes16"},
}
local STATE_TAIL = {
    {"mark", 0, "hex32"}, {"tail_timeout", 4, "u32"}, {"zone", 8, "u16"},
    {"tail_flags", 10, "u8"}, {"tail_status", 11, "u8"},
}
local STATE_MORE = {
    {"labels", 0, "bytes16"}, {"helper", 16, "name"}, {"lifetime", 32, "u32"},
    {"expectations", 36, "u8"}, {"more_flags", 37, "u8"}, {"reply_zone", 38, "u16"},
    {"orig_seq_position", 40, "u32"}, {"orig_seq_before", 44, "u32"},
    {"orig_seq_after", 48, "u32"}, {"reply_seq_position", 52, "u32"},
    {"reply_seq_before", 56, "u32"}, {"reply_seq_after", 60, "u32"},
}
local EXPECT = {
    {"id", 0, "hex64"}, {"creatorid", 8, "creatorid"}, {"index", 12, "u8"},
    {"expect_count", 13, "u8"}, {"proto", 14, "u8"}, {"flags", 15, "u8"}, {"class", 16, "u8"},
    {"af", 17, "family"}, {"expect_timeout", 20, "u32"}, {"src_addr", 24, "address", 17},
    {"dst_addr", 40, "address", 17}, {"mask_addr", 56, "address", 17},
    {"nat_addr", 72, "address", 17}, {"src_port", 88, "u16"}, {"dst_port", 90, "u16"},
    {"mask_port", 92, "u16"}, {"nat_port", 18, "u16"}, {"function", 96, "function"},
}
local REMOVAL_TAIL = {{"term", 0, "u8"}}
STATE6[#STATE6 + 1] = {"tail", 264, "tail", {12, STATE_TAIL, 64}}
STATE6[#STATE6 + 1] = {"more", 276, "tail", {64, STATE_MORE}}
local DEL_C = {ID[1], ID[2], {"tail", 12, "tail", {4, REMOVAL_TAIL}}}

-- {action, least size, fields}. Without a size nothing is in it. `unused`: version 6 passes over
-- it, version 5 cannot.
local MESSAGES = {
    [6] = {
        [0] = {"CLR", 20, CLR}, {"OINS", 0, {}, unused = true}, {"INS_ACK", 12, ID},
        {"OUPD", 0, {}, unused = true}, {"UPD_C", 84, update(20, {"state_flags", 81, "flags8"})},
        {"UPD_REQ", 12, ID}, {"DEL", 264, STATE6}, {"DEL_C", 12, DEL_C},
        {"INS_F", 0, {}, unused = true}, {"DEL_F", 0, {}, unused = true}, {"BUS", 12, BUS},
        {"OTDB", 48, OLD_TDB, unused = true}, {"EOF", 0, {}, unused = true}, {"INS", 264, STATE6},
        {"UPD", 264, STATE6}, {"TDB", 52, TDB6},
        [0xe0] = {"HELLO", 44, HELLO}, [0xe1] = {"SEQ", 16, SEQ}, [0xe2] = {"ACK", 20, ACK},
        [0xe3] = {"ROOT", 24, ROOT}, [0xe4] = {"ASK", 4, {{"node", 0, "u32"}}},
        [0xe5] = {"SUMS", 136, SUMS}, [0xe6] = {"LIST", 8, LIST}, [0xe7] = {"ABSENT", 20, ABSENT},
        [0xe8] = {"EXPECT", 120, EXPECT}, [0xe9] = {"RELAY_ROOT", 24, RELAY_ROOT},
        [0xea] = {"FETCH", 16, {ID[1], ID[2], {"ended", 12, "u32"}}}, [0xeb] = {"ORPHAN", 4, ORPHAN},
        [0xec] = {"KEYS", 52, KEYS}, [0xed] = {"KEY_TEXT", 4, KEY_TEXT},
        [0xee] = {"PPK", 144, PPK},
    },
    [5] = {
        [0] = {"CLR", 20, CLR}, {"INS_1301", 242, STATE1301}, {"INS_ACK", 12, ID},
        {"UPD_1301", 242, STATE1301}, {"UPD_C", 84, update(25)}, {"UPD_REQ", 12, ID},
        {"DEL", 242, STATE1301}, {"DEL_C", 12, ID}, {"INS_F", 0, {}, unused = true},
        {"DEL_F", 0, {}, unused = true}, {"BUS", 12, BUS}, {"TDB", 48, OLD_TDB}, {"EOF", 0, {}},
        {"INS_1400", 277, STATE1400}, {"UPD_1400", 277, STATE1400},
        {"INS_1500", 360, STATE1500}, {"UPD_1500", 360, STATE1500},
    },
}

-- ---- fields ---------------------------------------------------------------------------------

local DIRECTIONS = {[1] = "in", [2] = "out"}
local STATUSES = {[1] = "start", [2] = "end"}
local TIMEOUTS = {
    [0] = "tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed",
    "udp.first", "udp.single", "udp.multiple", "icmp.first", "icmp.error", "other.first",
    "other.single", "other.multiple", [20] = "sctp.first", [21] = "sctp.opening",
    [22] = "sctp.established", [23] = "sctp.closing", [24] = "sctp.closed",
}

local MAKE = {
    u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64,
    u32as64 = ProtoField.uint64, i32 = ProtoField.int32,
    flags8 = function(abbr, name) return ProtoField.uint16(abbr, name, base.HEX) end,
    flags16 = function(abbr, name) return ProtoField.uint16(abbr, name, base.HEX) end,
    hex32 = function(abbr, name) return ProtoField.uint32(abbr, name, base.HEX) end,
    hex64 = function(abbr, name) return ProtoField.uint64(abbr, name, base.HEX) end,
    ifname = ProtoField.string, tag = ProtoField.string, rest = ProtoField.bytes,
    name = ProtoField.string, ["function"] = ProtoField.string, bytes16 = ProtoField.bytes,
    ipv4 = ProtoField.ipv4, ipv6 = ProtoField.ipv6,
    direction = function(abbr, name) return ProtoField.uint8(abbr, name, base.DEC, DIRECTIONS) end,
    bus_status = function(abbr, name) return ProtoField.uint8(abbr, name, base.DEC, STATUSES) end,
    timeout = function(abbr, name) return ProtoField.uint8(abbr, name, base.DEC, TIMEOUTS) end,
}
MAKE.creatorid = MAKE.hex32
MAKE.family, MAKE.route_family = MAKE.u8, MAKE.u8

local made = {}

local function make(name, kind)
    if not made[name] then
        made[name] = MAKE[kind]("pfsync." .. name, name)
    end
end

local PEER = {
    {"scrub.flags", 0, "u16"}, {"scrub.ttl", 2, "u8"}, {"scrub.valid", 3, "u8"},
    {"scrub.ts_mod", 4, "u32"}, {"seqlo", 8, "u32"}, {"seqhi", 12, "u32"}, {"seqdiff", 16, "u32"},
    {"max_win", 20, "u16"}, {"mss", 22, "u16"}, {"state", 24, "u8"}, {"wscale", 25, "u8"},
}

local function make_address(name)
    make(name, "ipv4")
    make(name .. "6", "ipv6")
end

local function make_all(fields)
    for _, field in ipairs(fields) do
        local name, kind = field[1], field[3]
        if kind == "peer" then
            for _, part in ipairs(PEER) do
                make(name .. "." .. part[1], part[3])
            end
        elseif kind == "key36" or kind == "key40" then
            make_address(name .. ".addr")
            make(name .. ".port", "u16")
            make(name .. ".rdomain", "u16")
            make(name .. ".af", "u8")
        elseif kind == "address" then
            make_address(name)
        elseif kind == "sockaddr" then
            make(name .. ".len", "u8")
            make(name .. ".af", "u8")
            make_address(name .. ".addr")
        elseif kind == "tail" then
            make_all(field[4][2])
        else
            make(name, kind)
        end
    end
end

make("version", "u8")
make("length", "u16")
make("pfcksum", "rest")
make("action", "ifname")
make("number", "u8") -- of the action; an encsync SEQ has one, too
make("stride", "u16")
make("count", "u16")
make("error", "ifname")
made.number_seq = ProtoField.uint64("pfsync.seq", "number")
for _, messages in pairs(MESSAGES) do
    for _, message in pairs(messages) do
        make_all(message[3])
    end
end
SEQ[1][1] = "number_seq"

local list = {}
for _, field in pairs(made) do
    list[#list + 1] = field
end
pfsync.fields = list

local bad = ProtoExpert.new("pfsync.bad", "bad pfsync", expert.group.MALFORMED,
                            expert.severity.ERROR)
pfsync.experts = {bad}

-- ---- reading --------------------------------------------------------------------------------

local function note(tree, name)
    tree:add(made.error, name):set_generated()
    tree:add_proto_expert_info(bad, name)
end

-- A string that may lack its NUL.
local function add_name(tree, name, range)
    local bytes = range:bytes()
    local size = bytes:len()
    for i = 0, size - 1 do
        if bytes:get_index(i) == 0 then
            size = i
            break
        end
    end
    tree:add(made[name], range, size == 0 and "" or range(0, size):string())
    if size == bytes:len() then
        note(tree, "bad_ifname")
    end
end

local function add_address(tree, name, range, family, version)
    if family == INET or family == 0 then
        tree:add(made[name], range(0, 4))
    elseif family == INET6[version] then
        tree:add(made[name .. "6"], range(0, 16))
    end
end

local function add_peer(tree, name, range)
    local branch = tree:add(pfsync, range, name)
    for _, part in ipairs(PEER) do
        local size = ({u8 = 1, u16 = 2, u32 = 4})[part[3]]
        branch:add(made[name .. "." .. part[1]], range(part[2], size))
    end
    if range(24, 1):uint() > 12 then
        note(branch, "bad_peer_state")
    end
end

-- `own`: OpenBSD's key, which has a family. Old senders leave that 0, in both keys of a state.
local function add_key(tree, name, range, family, version, own)
    local branch = tree:add(pfsync, range, name)
    local wrong = false
    if own then
        local af = range(38, 1):uint()
        wrong = own ~= af or (af ~= 0 and af ~= family)
        if af ~= 0 then
            family = af
        end
    end
    for i = 0, 1 do
        add_address(branch, name .. ".addr", range(16 * i, 16), family, version)
    end
    for i = 0, 1 do
        branch:add(made[name .. ".port"], range(32 + 2 * i, 2))
    end
    if own then
        branch:add(made[name .. ".rdomain"], range(36, 2))
        branch:add(made[name .. ".af"], range(38, 1))
    end
    if wrong then
        note(branch, "bad_family")
    end
end

local WIDTH = {
    u8 = 1, u16 = 2, u32 = 4, u64 = 8, i32 = 4, flags8 = 1, flags16 = 2, hex32 = 4, hex64 = 8,
    creatorid = 4, family = 1, route_family = 1, direction = 1, timeout = 1, bus_status = 1,
}

local add_fields

local function add_field(tree, message, field, version)
    local name, at, kind, more = field[1], field[2], field[3], field[4]
    if kind == "peer" then
        add_peer(tree, name, message(at, 32))
    elseif kind == "key40" then
        add_key(tree, name, message(at, 40), message(more, 1):uint(), version,
                message(24 + 38, 1):uint())
    elseif kind == "key36" then
        add_key(tree, name, message(at, 36), message(more, 1):uint(), version)
    elseif kind == "ifname" or kind == "tag" then
        add_name(tree, name, message(at, kind == "tag" and 64 or 16))
    elseif kind == "address" then
        add_address(tree, name, message(at, 16), message(more, 1):uint(), version)
    elseif kind == "sockaddr" then
        local family = message(at + 1, 1):uint()
        tree:add(made[name .. ".len"], message(at, 1))
        tree:add(made[name .. ".af"], message(at + 1, 1))
        if family == INET or family == INET6[version] then
            add_address(tree, name .. ".addr",
                        family == INET and message(at + 4, 4) or message(at + 8, 16), family, version)
        else
            note(tree, "bad_family")
        end
    elseif kind == "u32as64" then
        tree:add(made[name], message(at, 4), UInt64(message(at, 4):uint()))
    elseif kind == "rest" then
        if at < message:len() then
            tree:add(made[name], message(at))
        end
    elseif kind == "bytes16" then
        tree:add(made[name], message(at, 16))
    elseif kind == "name" or kind == "function" then
        local size = kind == "name" and 16 or 24
        local padded = message(at, size):raw()
        local text = padded:match("^[^%z]*")
        tree:add(made[name], message(at, size), text)
        if #text == size or text:find("[^%w_.-]") or padded:sub(#text + 1):find("[^%z]") then
            note(tree, "bad_name")
        end
    elseif kind == "tail" then
        if message:len() == at + more[1] or message:len() == at + more[1] + (more[3] or 0) then
            local range = message(at, more[1])
            local branch = tree:add(pfsync, range, name)
            add_fields(branch, range, more[2], version)
            -- One direction alone has a zone: the one of the tail's is the original's.
            if name == "more" and range(37, 1):bitfield(7) == 1 and
                (range(38, 2):uint() == 0) == (message(at - 4, 2):uint() == 0) then
                note(branch, "bad_zone")
            end
        end
    else
        local size = WIDTH[kind]
        for i = 0, (kind ~= "timeout" and more or 1) - 1 do
            tree:add(made[name], message(at + i * size, size))
        end
        local value = size <= 4 and message(at, size):uint()
        if kind == "creatorid" and value == 0 then
            note(tree, "bad_creatorid")
        elseif kind == "timeout" and value >= more then
            note(tree, "bad_timeout")
        elseif kind == "direction" and not DIRECTIONS[value] then
            note(tree, "bad_direction")
        elseif kind == "bus_status" and not STATUSES[value] then
            note(tree, "bad_bus_status")
        elseif (kind == "family" or (kind == "route_family" and value ~= 0)) and value ~= INET and
            value ~= INET6[version] then
            note(tree, "bad_family")
        end
    end
end

function add_fields(tree, message, fields, version)
    for _, field in ipairs(fields) do
        add_field(tree, message, field, version)
    end
end

local function field_of(fields, name)
    for _, field in ipairs(fields) do
        if field[1] == name then
            return field
        end
    end
end

-- Where a port should be stands the ICMP type, opposite to the id. FreeBSD before 15 puts the id
-- into both.
local function check_icmp(tree, message, fields, version)
    local proto, direction = field_of(fields, "proto"), field_of(fields, "direction")
    if not proto or not direction then
        return
    end
    local number = message(proto[2], 1):uint()
    if number ~= 1 and number ~= 58 then
        return
    end
    local out = message(direction[2], 1):uint() == 2
    for _, name in ipairs({"wire", "stack"}) do
        local key = field_of(fields, name)[2]
        local type = message(key + (out and 32 or 34), 2):uint()
        local id = message(key + (out and 34 or 32), 2):uint()
        local id_twice = version ~= OPENBSD and not field_of(fields, "wire_af") and id == type
        if type > 255 and not id_twice then
            note(tree, "bad_icmp_type")
        end
    end
end

-- How many bytes the section at `at` takes; nil if nothing behind it can be read. And what to
-- say of it in the column "Info".
local function section(tvb, at, tree, version)
    local rest = tvb:len() - at
    if rest < 4 then
        note(tree, "short_subheader")
        return nil
    end
    local v6 = version == OPENBSD
    local number, count = tvb(at, 1):uint(), tvb(at + 2, 2):uint()
    local message = MESSAGES[version][number]
    local known = message ~= nil and not message.unused
    local size = message and message[2] or 0
    local stride = v6 and tvb(at + 1, 1):uint() * 4 or size
    local action = message and message[1] or "UNKNOWN"
    local skipped = not known and (not v6 or size == 0 or stride < size)
    local whole = (skipped or stride == 0) and 0 or math.min(count, math.floor((rest - 4) / stride))

    local branch = tree:add(pfsync, tvb(at, math.min(rest, 4 + count * stride)),
                            string.format("%s, count %d%s", action, count,
                                          skipped and " (skipped)" or ""))
    branch:add(made.action, tvb(at, 1), action)
    branch:add(made.number, tvb(at, 1))
    if v6 then
        branch:add(made.stride, tvb(at + 1, 1), stride)
    end
    branch:add(made.count, tvb(at + 2, 2))
    local sound = false
    if not v6 and not known then
        note(branch, "bad_action")
    elseif count == 0 then
        note(branch, "zero_count")
    elseif v6 and stride == 0 then
        note(branch, "zero_stride")
    elseif count * stride > rest - 4 then
        note(branch, "section_overrun")
    else
        sound = true
    end
    if whole > 0 and stride < size then
        note(branch, "short_message")
        whole = 0
    end
    for n = 0, whole - 1 do
        local range = tvb(at + 4 + n * stride, stride)
        local leaf = branch:add(pfsync, range, string.format("%s %d", action, n + 1))
        if message.unused then
            leaf:append_text(" (of no use any more)")
        end
        add_fields(leaf, range, message[3], version)
        check_icmp(leaf, range, message[3], version)
    end
    local ended = not v6 and known and size == 0
    return sound and 4 + count * stride or nil, string.format("%s %d", action, count), ended
end

local function sections(tvb, tree, version)
    local info, at, ended = {}, 20, false
    while at < tvb:len() do
        if ended then
            note(tree, "bad_eof")
            break
        end
        local used, text
        used, text, ended = section(tvb, at, tree, version)
        info[#info + 1] = text
        if not used then
            break
        end
        at = at + used
    end
    return table.concat(info, ", ")
end

function pfsync.dissector(tvb, pinfo, root)
    pinfo.cols.protocol = "pfsync"
    local tree = root:add(pfsync, tvb())
    local size = tvb:len()
    if size >= 1 then
        tree:add(made.version, tvb(0, 1))
    end
    if size >= 4 then
        tree:add(made.length, tvb(2, 2))
    end
    if size < 20 then
        note(tree, "short_header")
        return size
    end
    tree:add(made.pfcksum, tvb(4, 16))
    local version, length = tvb(0, 1):uint(), tvb(2, 2):uint()
    tree:append_text(string.format(", version %d, length %d", version, length))
    if not MESSAGES[version] then
        note(tree, "bad_version")
    elseif length < 20 then
        note(tree, "bad_length")
    else
        if length > size then
            note(tree, "bad_length")
        end
        pinfo.cols.info = sections(tvb(0, math.min(length, size)):tvb(), tree, version)
    end
    return size
end

DissectorTable.get("ip.proto"):add(240, pfsync)
-- Newer releases may have a name for 246. 121 is HHDLC's everywhere but on FreeBSD.
for _, name in ipairs({"PFSYNC", "HHDLC"}) do
    local encapsulations = wtap_encaps or wtap
    if encapsulations and encapsulations[name] then
        DissectorTable.get("wtap_encap"):add(encapsulations[name], pfsync)
    end
end
