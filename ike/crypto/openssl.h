#pragma once

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include <memory>
#include <string_view>

#include "policy/base/bytes.h"

/// Ownership of OpenSSL's handles, and its errors as ours. Only for the sources of this folder.
namespace ipsec::ike::openssl {

/// Frees a handle with the function that OpenSSL gives for its type.
template <auto kFree>
struct Deleter {
  template <typename T>
  void operator()(T* handle) const {
    kFree(handle);
  }
};

using Digest = std::unique_ptr<EVP_MD, Deleter<&EVP_MD_free>>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, Deleter<&EVP_MD_CTX_free>>;
using Mac = std::unique_ptr<EVP_MAC, Deleter<&EVP_MAC_free>>;
using MacContext = std::unique_ptr<EVP_MAC_CTX, Deleter<&EVP_MAC_CTX_free>>;
using Cipher = std::unique_ptr<EVP_CIPHER, Deleter<&EVP_CIPHER_free>>;
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, Deleter<&EVP_CIPHER_CTX_free>>;
using Key = std::unique_ptr<EVP_PKEY, Deleter<&EVP_PKEY_free>>;
using KeyContext = std::unique_ptr<EVP_PKEY_CTX, Deleter<&EVP_PKEY_CTX_free>>;
using BigNumber = std::unique_ptr<BIGNUM, Deleter<&BN_clear_free>>;  // every number may be a secret: wiped
using BigNumberContext = std::unique_ptr<BN_CTX, Deleter<&BN_CTX_free>>;
using MontgomeryContext = std::unique_ptr<BN_MONT_CTX, Deleter<&BN_MONT_CTX_free>>;
using Curve = std::unique_ptr<EC_GROUP, Deleter<&EC_GROUP_free>>;
using CurvePoint = std::unique_ptr<EC_POINT, Deleter<&EC_POINT_clear_free>>;

/// kCryptoFailed with what OpenSSL says about it. Empties OpenSSL's queue of errors, so that none is blamed on a later
/// operation.
Error failure(std::string_view doing);

/// Where OpenSSL distinguishes "no pointer" from "no bytes": the bytes, never a null pointer.
const uint8_t* pointer(ByteView bytes);

}  // namespace ipsec::ike::openssl
