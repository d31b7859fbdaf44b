// SPDX-License-Identifier: ISC
// Every parser of key files. Whatever one accepts, its writer writes again unchanged.
#include "keys/backup.hpp"
#include "keys/lines.hpp"
#include "keys/log.hpp"
#include "keys/ppk.hpp"
#include "keys/psk.hpp"
#include "keys/revocation.hpp"
#include "keys/seal.hpp"
#include "keys/x509.hpp"

#include <cstdlib>
#include <tuple>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace encsync::keys;
    if (sodium_init() < 0)
        std::abort();
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (const auto keys = read_public(text))
        for (const PublicKey& key : *keys)
            if (!check_name(key.name) || !parse_time(to_text(key.created)))
                std::abort();
    if (const auto successions = read_successions(text))
        if (write_successions(*successions) != text)
            std::abort();
    if (const auto file = read_public_file(text))
        if (file->keys.empty())
            std::abort();
    if (const auto identity = read_secret(text))
        if (write_secret(*identity).view() != text)
            std::abort();
    if (const auto secret = read_node_secret(text))
        if (write_node_secret(*secret).view() != text)
            std::abort();
    if (const auto ring = read_ppks(text))
        if (write_ppks(*ring).view() != text || ring->offered() == nullptr)
            std::abort();
    if (const auto psks = read_psks(text))
        if (write_psks(*psks).view() != text ||
            !std::ranges::all_of(psks->keys, [](const Psk& psk) {
                return static_cast<bool>(check_preshared(psk.key.bytes()));
            }))
            std::abort();
    if (const auto held = read_certificates(text))
        if (write_certificates(*held) != text)
            std::abort();
    if (const auto validity = read_validity({data, size})) {
        for (const CertificateUse use : kCertificateUses)
            std::ignore = check_certificate(use, {data, size}, {}, validity->from);
        std::ignore = names({data, size}, "mickey");
    }
    if (const auto carried = read_carried(text))
        if (write_carried(*carried).view() != text)
            std::abort();
    if (const auto keys = read_trusted(text))
        if (write_trusted(*keys) != text)
            std::abort();
    if (const auto revocations = read_revocations(text))
        if (write_revocations(*revocations) != text)
            std::abort();
    if (const auto seal = read_seal(text))
        if (write_seal(*seal) != text || seal->derivation.cost.memory > kMaxKdfCost.memory ||
            seal->derivation.cost.passes > kMaxKdfCost.passes)
            std::abort();
    if (const auto file = read_sealed(text))
        if (write_sealed(*file) != text || open_file(*file, StoreKey()))
            std::abort();
    if (const auto backup = read_backup(text))
        if (write_backup(*backup) != text)
            std::abort();
    if (const auto parts = unpack(text))
        if (const SecretBytes packed = pack(*parts); as_text(packed.bytes()) != text)
            std::abort();
    if (const auto log = read_log(text)) {
        std::string again(log->size == 0 ? "" : log_title());
        std::string last = last_hash({});
        for (LogEntry entry : log->entries) {
            again += write_entry(last, entry);
            last = entry.hash;
        }
        if (again != text.substr(0, log->size))
            std::abort();
        keys_of(*log);
    }
    return 0;
}
