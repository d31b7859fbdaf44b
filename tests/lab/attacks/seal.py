# SPDX-License-Identifier: ISC
"""ESP (RFC 4303, RFC 4106) with a key that a strongSwan logs, as an insider can seal it. AES-GCM is
OpenSSL's."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import struct

TAG, SET_IVLEN, GET_TAG = 16, 0x9, 0x10  # EVP_CTRL_AEAD_...
_crypto = ctypes.CDLL(ctypes.util.find_library("crypto"))
for _name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
    getattr(_crypto, _name).restype = ctypes.c_void_p


def _gcm(key: bytes, nonce: bytes, aad: bytes, text: bytes) -> bytes:
    """Ciphertext and tag."""
    context = ctypes.c_void_p(_crypto.EVP_CIPHER_CTX_new())
    cipher = ctypes.c_void_p(_crypto.EVP_aes_256_gcm())
    out, tag = map(ctypes.create_string_buffer, (len(text), TAG))
    size = ctypes.c_int()
    steps = [
        _crypto.EVP_EncryptInit_ex(context, cipher, None, key, nonce),
        _crypto.EVP_EncryptUpdate(context, None, ctypes.byref(size), aad, len(aad)),
        _crypto.EVP_EncryptUpdate(context, out, ctypes.byref(size), text, len(text)),
        _crypto.EVP_EncryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(size)),
        _crypto.EVP_CIPHER_CTX_ctrl(context, GET_TAG, TAG, tag),
    ]
    _crypto.EVP_CIPHER_CTX_free(context)
    assert steps == [1] * 5
    return out.raw + tag.raw


def esp(key: bytes, spi: str, number: int, inner: bytes, next_header: int = 4,
        padding: bytes | None = None) -> bytes:
    """key: 32 bytes and the salt."""
    if padding is None:
        padding = bytes(range(1, 1 + -(len(inner) + 2) % 4))
    head, iv = bytes.fromhex(spi) + struct.pack("!I", number), struct.pack("!Q", number)
    return head + iv + _gcm(key[:32], key[32:] + iv, head,
                            inner + padding + bytes([len(padding), next_header]))


# What charon logs at level 4 of an SA that it has begun itself.
_LOGGED = re.compile(r"encryption initiator key => 36 bytes.*\n((?:.*\n){3})"
                     r"(?:.*\n)*?.*registering outbound ESP SA\n.*SPI 0x([0-9a-f]{8})")


def logged(log: str) -> tuple[bytes, str] | None:
    """The key and the SPI of the newest outbound SA."""
    found = _LOGGED.findall(log)
    if not found:
        return None
    lines, spi = found[-1]
    rows = re.findall(r"(?:0|16|32): ((?:[0-9A-F]{2} )+)", lines)
    return bytes.fromhex("".join(rows)), spi
