#include <algorithm>
#include <string_view>

#include "fuzz_target.h"
#include "policy/config_parser.h"

// One line of configuration text, read as each of the small languages. First byte: which one. What is accepted must
// survive being written and read again.

namespace {

using namespace ipsec;
using namespace ipsec::policy;

void check_proposal(Protocol protocol, std::string_view text) {
  const auto first = parse_proposal(protocol, text);
  if (!first.ok()) {
    VERIFY(!first.error().detail().empty());
    return;
  }
  VERIFY(!first->empty());
  for (const Proposal& each : *first) VERIFY(each.protocol == protocol && !each.transforms.empty());
  // A peer that offers exactly this gets it.
  VERIFY(choose(*first, *first, protocol == Protocol::kIke ? KeyExchangeUse::kRequired : KeyExchangeUse::kIgnored));
}

void check_selector(std::string_view text) {
  const auto first = parse_selector(text);
  if (!first.ok()) return;
  VERIFY(first->addresses.first <= first->addresses.last);
  const auto second = parse_selector(to_string(*first));
  VERIFY(second.ok() && *second == *first);
  const SelectorList list{*first};
  VERIFY(narrow(list, list) == list && all_within(list, list));
}

void check_identity(std::string_view text) {
  const auto identity = Identity::parse(text);
  if (!identity.ok()) return;
  VERIFY(identity->matches(*identity) && !identity->index_key().empty());
  for (char each : to_string(*identity)) VERIFY(each >= ' ' && each <= '~');
}

void check_duration(std::string_view text) {
  const auto duration = parse_duration(text);
  if (duration.ok()) VERIFY(*duration >= Duration{0});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text(ByteView(data, size).subspan(1));
  switch (data[0] % 5) {
    case 0: check_proposal(Protocol::kIke, text); break;
    case 1: check_proposal(Protocol::kEsp, text); break;
    case 2: check_selector(text); break;
    case 3: check_identity(text); break;
    case 4: check_duration(text); break;
  }
  return 0;
}
