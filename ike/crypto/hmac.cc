#include "ike/crypto/hmac.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include <string>

namespace ipsec::ike {

Hmac::Hmac() : mac_(EVP_MAC_fetch(nullptr, "HMAC", nullptr)) {
  static constexpr std::array kNames = {"SHA1", "SHA256", "SHA384", "SHA512"};
  if (!mac_) return;  // each use reports it
  for (size_t i = 0; i < contexts_.size(); ++i) {
    std::string name = kNames[i];
    const std::array params = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name.data(), 0),
                               OSSL_PARAM_construct_end()};
    openssl::MacContext context(EVP_MAC_CTX_new(mac_.get()));
    if (context && EVP_MAC_CTX_set_params(context.get(), params.data()) == 1) contexts_[i] = std::move(context);
  }
}

Status Hmac::set_key(HashId hash, ByteView key) {
  EVP_MAC_CTX* mac = context(hash);
  // A null key would mean "the last one"; an empty key must not.
  if (mac == nullptr || EVP_MAC_init(mac, openssl::pointer(key), key.size(), nullptr) != 1)
    return openssl::failure("set an HMAC key");
  return {};
}

Status Hmac::compute(HashId hash, ByteView key, std::initializer_list<ByteView> parts, std::span<uint8_t> out) {
  TRY(set_key(hash, key), "");
  return update_and_finish(hash, {parts.begin(), parts.size()}, out);
}

Status Hmac::compute_again(HashId hash, std::span<const ByteView> parts, std::span<uint8_t> out) {
  EVP_MAC_CTX* mac = context(hash);
  if (mac == nullptr || EVP_MAC_init(mac, nullptr, 0, nullptr) != 1) return openssl::failure("start an HMAC");
  return update_and_finish(hash, parts, out);
}

Status Hmac::update_and_finish(HashId hash, std::span<const ByteView> parts, std::span<uint8_t> out) {
  VERIFY(out.size() == hash_bytes(hash));
  EVP_MAC_CTX* mac = context(hash);
  bool good = true;
  for (ByteView part : parts) good = good && EVP_MAC_update(mac, openssl::pointer(part), part.size()) == 1;
  size_t written = 0;
  if (!good || EVP_MAC_final(mac, out.data(), &written, out.size()) != 1 || written != out.size())
    return openssl::failure("compute an HMAC");
  return {};
}

}  // namespace ipsec::ike
