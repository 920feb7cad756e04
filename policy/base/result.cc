#include "policy/base/result.h"

#include <system_error>

namespace ipsec {

Error Error::context(std::string_view doing) && {
  if (doing.empty()) return std::move(*this);
  std::string whole(doing);
  if (!detail_.empty()) whole.append(": ").append(detail_);
  detail_ = std::move(whole);
  return std::move(*this);
}

std::string Error::text() const {
  std::string text = detail_.empty() ? std::string(info(reason_).text) : detail_;
  if (os_errno_ != 0) text.append(": ").append(std::generic_category().message(os_errno_));
  return text;
}

}  // namespace ipsec
