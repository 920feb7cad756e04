#include "agent/show/sa_json.h"

#include <algorithm>

#include "agent/child_installer.h"
#include "policy/base/bytes.h"

namespace ipsec::agent {

using nlohmann::json;

std::string hex_spi(policy::ChildSpi spi) {
  ByteWriter out(4);
  out.u32(spi.value());
  return to_hex(out.view());
}

std::string_view state_of(const InstalledChild& child, bool replaces) {
  if (child.stopped) return "replaced";
  if (child.has_inbound && child.has_outbound) return "up";
  return replaces ? "replacing" : "establishing";
}

json age_seconds(const policy::SaState& sa, const Moment& moment) {
  return std::max<Duration>(moment.wall.since_epoch - sa.made_at.since_epoch, Duration{0}) / 1s;
}

json ends_in_seconds(const policy::SaState& sa, const Moment& moment) {
  if (sa.hard_lifetime == Duration{0}) return nullptr;
  return std::max<Duration>(sa.made_at.since_epoch + sa.hard_lifetime - moment.wall.since_epoch, Duration{0}) / 1s;
}

json kernel_fields(const policy::SaState* sa, policy::Direction direction, const Moment& moment) {
  if (sa == nullptr)
    return {{"packets", nullptr},
            {"bytes", nullptr},
            {"sequence", nullptr},
            {"age_seconds", nullptr},
            {"ends_in_seconds", nullptr}};
  return {{"packets", sa->packets},
          {"bytes", sa->bytes},
          {"sequence", direction == policy::Direction::kIn ? sa->sequence_received : sa->sequence_sent},
          {"age_seconds", age_seconds(*sa, moment)},
          {"ends_in_seconds", ends_in_seconds(*sa, moment)}};
}

}  // namespace ipsec::agent
