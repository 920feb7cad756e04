#include <openssl/core_names.h>
#include <openssl/params.h>

#include <string>

#include "ike/crypto/key_exchange.h"

namespace ipsec::ike {
namespace {

size_t key_bytes(uint16_t group) { return group == policy::kX448 ? 56 : 32; }

openssl::KeyContext import_context(const char* name) {
  openssl::KeyContext context(EVP_PKEY_CTX_new_from_name(nullptr, name, nullptr));
  if (context && EVP_PKEY_fromdata_init(context.get()) != 1) context.reset();
  return context;
}

OSSL_PARAM octets(const char* name, ByteView value) {
  // OpenSSL's parameters are not const-correct; imports only read them.
  return OSSL_PARAM_construct_octet_string(name, const_cast<uint8_t*>(value.data()), value.size());
}

}  // namespace

MontgomeryCurves::MontgomeryCurves() : x25519_(import_context("X25519")), x448_(import_context("X448")) {}

EVP_PKEY_CTX* MontgomeryCurves::context(uint16_t group) const {
  return group == policy::kX448 ? x448_.get() : x25519_.get();
}

/// With an empty `private_key` a public key only; with an empty `public_key` OpenSSL computes it.
Result<openssl::Key> MontgomeryCurves::import(uint16_t group, ByteView private_key, ByteView public_key) const {
  std::array<OSSL_PARAM, 3> params{};
  size_t count = 0;
  if (!private_key.empty()) params[count++] = octets(OSSL_PKEY_PARAM_PRIV_KEY, private_key);
  if (!public_key.empty()) params[count++] = octets(OSSL_PKEY_PARAM_PUB_KEY, public_key);
  params[count] = OSSL_PARAM_construct_end();
  const int selection = private_key.empty() ? EVP_PKEY_PUBLIC_KEY : EVP_PKEY_KEYPAIR;
  EVP_PKEY* key = nullptr;
  EVP_PKEY_CTX* importer = context(group);
  if (importer == nullptr || EVP_PKEY_fromdata(importer, &key, selection, params.data()) != 1)
    return openssl::failure("import a key");
  return openssl::Key(key);
}

Result<KeyPair> MontgomeryCurves::generate(uint16_t group, Random& random) {
  KeyPair pair{.group = group, .private_key = Secret(key_bytes(group)), .public_value = Bytes(key_bytes(group))};
  random.fill(pair.private_key.writable());
  TRY_ASSIGN(const openssl::Key key, import(group, pair.private_key.expose(), {}), "key pair");
  size_t size = pair.public_value.size();
  if (EVP_PKEY_get_raw_public_key(key.get(), pair.public_value.data(), &size) != 1 || size != key_bytes(group))
    return openssl::failure("compute a public key");
  return pair;
}

Result<Secret> MontgomeryCurves::shared_secret(const KeyPair& ours, ByteView peer_public) {
  const size_t bytes = key_bytes(ours.group);
  // RFC 8031 section 2: the public value is exactly one field element.
  if (peer_public.size() != bytes)
    return Error(Reason::kKeRejected,
                 "public value of " + std::to_string(peer_public.size()) + " bytes, not " + std::to_string(bytes));
  // With our public value given, the import costs no second multiplication.
  TRY_ASSIGN(const openssl::Key own, import(ours.group, ours.private_key.expose(), ours.public_value), "own key");
  TRY_ASSIGN(const openssl::Key peer, import(ours.group, {}, peer_public), "peer's key");
  const openssl::KeyContext derive(EVP_PKEY_CTX_new_from_pkey(nullptr, own.get(), nullptr));
  if (!derive || EVP_PKEY_derive_init(derive.get()) != 1 ||
      EVP_PKEY_derive_set_peer_ex(derive.get(), peer.get(), 0) != 1)
    return openssl::failure("prepare a key exchange");
  Secret shared(bytes);
  size_t size = bytes;
  // RFC 8031 section 2: a result of zero comes from a point of small order; OpenSSL refuses it, and so would we.
  uint8_t any = 0;
  const bool derived = EVP_PKEY_derive(derive.get(), shared.writable().data(), &size) == 1 && size == bytes;
  for (uint8_t byte : shared.expose()) any |= byte;
  if (!derived || any == 0) {
    const Error cause = openssl::failure("the result is zero");
    return Error(Reason::kKeRejected, cause.detail());
  }
  return shared;
}

}  // namespace ipsec::ike
