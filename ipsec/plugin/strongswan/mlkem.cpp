// SPDX-License-Identifier: GPL-2.0-or-later
#include "ipsec/plugin/strongswan/mlkem.hpp"

#include "ipsec/plugin/strongswan/mlkem.h"

#include <cstring>
#include <fmt/core.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>

namespace encsync::plugin {
namespace {

constexpr const char* kName = "ML-KEM-768";

struct FreeContext {
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_PKEY_CTX, FreeContext>;

Context by_name() {
    return Context(EVP_PKEY_CTX_new_from_name(nullptr, kName, nullptr));
}

Context with(EVP_PKEY* key) {
    return Context(EVP_PKEY_CTX_new_from_pkey(nullptr, key, nullptr));
}

Error failed(std::string_view what) {
    ERR_clear_error(); // it is the thread's, and charon's own use of OpenSSL follows
    return Error{fmt::format("{}: {} failed", kName, what)};
}

Error wrong_length(std::string_view what, std::size_t is, std::size_t should) {
    return Error{fmt::format("{}: the {} has {} bytes, not {}", kName, what, is, should)};
}

} // namespace

bool MlKem::available() {
    const bool found = by_name() != nullptr;
    ERR_clear_error();
    return found;
}

Result<void> MlKem::generate() {
    const Context context = by_name();
    if (!context || EVP_PKEY_keygen_init(context.get()) != 1)
        return failed("making a key pair");
    if (!seed_.empty()) {
        const OSSL_PARAM seed[] = {
            OSSL_PARAM_construct_octet_string("seed", seed_.data(), seed_.size()),
            OSSL_PARAM_construct_end()};
        if (EVP_PKEY_CTX_set_params(context.get(), seed) != 1)
            return failed("making a key pair of a seed");
    }
    EVP_PKEY* key = nullptr;
    if (EVP_PKEY_generate(context.get(), &key) != 1)
        return failed("making a key pair");
    key_.reset(key);
    sent_.resize(kPublicKey);
    std::size_t size = sent_.size();
    if (EVP_PKEY_get_raw_public_key(key, sent_.data(), &size) != 1 || size != kPublicKey)
        return failed("reading the public key");
    return {};
}

Result<Bytes> MlKem::public_key() {
    if (sent_.empty())
        if (auto made = generate(); !made) {
            sent_.clear();
            return made.error();
        }
    return Bytes(sent_);
}

Result<void> MlKem::set_public_key(Bytes received) {
    if (!secret_.empty())
        return Error{fmt::format("{}: a second message of the other end", kName)};
    return key_ ? decapsulate(received) : encapsulate(received);
}

Result<void> MlKem::encapsulate(Bytes public_key) {
    if (public_key.size() != kPublicKey)
        return wrong_length("public key", public_key.size(), kPublicKey);
    const std::unique_ptr<EVP_PKEY, Free> theirs(EVP_PKEY_new_raw_public_key_ex(
        nullptr, kName, nullptr, public_key.data(), public_key.size()));
    if (!theirs) {
        ERR_clear_error();
        return Error{fmt::format("{}: the public key is none (FIPS 203 section 7.2)", kName)};
    }
    const Context context = with(theirs.get());
    std::vector<std::uint8_t> ciphertext(kCiphertext);
    WipedBytes secret(kSecret);
    std::size_t size = ciphertext.size(), secret_size = secret.size();
    if (!context || EVP_PKEY_encapsulate_init(context.get(), nullptr) != 1 ||
        EVP_PKEY_encapsulate(context.get(), ciphertext.data(), &size, secret.data(),
                             &secret_size) != 1 ||
        size != kCiphertext || secret_size != kSecret)
        return failed("encapsulation");
    sent_ = std::move(ciphertext);
    secret_ = std::move(secret);
    return {};
}

Result<void> MlKem::decapsulate(Bytes ciphertext) {
    if (ciphertext.size() != kCiphertext)
        return wrong_length("ciphertext", ciphertext.size(), kCiphertext);
    const Context context = with(key_.get());
    WipedBytes secret(kSecret);
    std::size_t size = secret.size();
    if (!context || EVP_PKEY_decapsulate_init(context.get(), nullptr) != 1 ||
        EVP_PKEY_decapsulate(context.get(), secret.data(), &size, ciphertext.data(),
                             ciphertext.size()) != 1 ||
        size != kSecret)
        return failed("decapsulation");
    key_.reset();
    secret_ = std::move(secret);
    return {};
}

} // namespace encsync::plugin

using namespace encsync;

struct encsync_mlkem_t {
    plugin::MlKem kem;
};

namespace {

bool refuse(const Error& error, char* why, size_t size) {
    fmt::format_to_n(why, static_cast<std::ptrdiff_t>(size) - 1, "{}", error.text).out[0] = '\0';
    return false;
}

} // namespace

bool encsync_mlkem_available(void) {
    return plugin::MlKem::available();
}

encsync_mlkem_t* encsync_mlkem_new(void) {
    return new encsync_mlkem_t;
}

bool encsync_mlkem_get_public_key(encsync_mlkem_t* kem, const uint8_t** data, size_t* len,
                                  char* why, size_t size) {
    const auto sent = kem->kem.public_key();
    if (!sent)
        return refuse(sent.error(), why, size);
    *data = sent->data();
    *len = sent->size();
    return true;
}

bool encsync_mlkem_set_public_key(encsync_mlkem_t* kem, const uint8_t* data, size_t len, char* why,
                                  size_t size) {
    const auto taken = kem->kem.set_public_key({data, len});
    return taken || refuse(taken.error(), why, size);
}

const uint8_t* encsync_mlkem_get_secret(const encsync_mlkem_t* kem) {
    const Bytes secret = kem->kem.shared_secret();
    return secret.empty() ? nullptr : secret.data();
}

void encsync_mlkem_free(encsync_mlkem_t* kem) {
    delete kem;
}
