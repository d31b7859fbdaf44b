// SPDX-License-Identifier: ISC
// Conversion to and from Asio's addresses.
#pragma once

#include "net/address.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>

namespace encsync::net {

// `scope`: the interface index of an IPv6 address; 0: none.
inline boost::asio::ip::address to_asio(const Address& address, std::uint32_t scope = 0) {
    if (address.is_v6())
        return boost::asio::ip::address_v6(address.bytes, scope);
    boost::asio::ip::address_v4::bytes_type bytes{};
    std::copy_n(address.bytes.begin(), bytes.size(), bytes.begin());
    return boost::asio::ip::address_v4(bytes);
}

// The scope is left out.
inline Address from_asio(const boost::asio::ip::address& address) {
    if (address.is_v6())
        return {address.to_v6().to_bytes(), Family::inet6};
    return Address::read(address.to_v4().to_bytes().data(), Family::inet);
}

} // namespace encsync::net
