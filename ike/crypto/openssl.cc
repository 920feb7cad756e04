#include "ike/crypto/openssl.h"

#include <openssl/err.h>

#include <array>
#include <string>

namespace ipsec::ike::openssl {

Error failure(std::string_view doing) {
  std::string detail(doing);
  // The oldest entry names the cause; later ones are its consequences.
  if (const unsigned long code = ERR_get_error(); code != 0) {
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    detail.append(": ").append(text.data());
  }
  ERR_clear_error();
  return Error(Reason::kCryptoFailed, std::move(detail));
}

const uint8_t* pointer(ByteView bytes) {
  static constexpr uint8_t kNothing = 0;
  return bytes.empty() ? &kNothing : bytes.data();
}

}  // namespace ipsec::ike::openssl
