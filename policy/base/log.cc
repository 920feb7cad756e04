#include "policy/base/log.h"

#include "policy/base/bytes.h"

namespace ipsec {

std::string format_line(std::string_view text, const std::vector<Field>& fields) {
  std::string line(text);
  for (const Field& each : fields) {
    const bool plain = !each.value.empty() && each.value.find_first_of(" \"=\n\t\\") == std::string::npos;
    line.append(" ").append(each.name).append("=");
    if (plain)
      line.append(each.value);
    else
      line.append("\"").append(printable(as_bytes(each.value), 1024)).append("\"");
  }
  return line;
}

}  // namespace ipsec
