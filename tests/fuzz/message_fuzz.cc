#include <algorithm>

#include "fuzz_target.h"
#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

// One datagram: header, then the chain of payloads. What is accepted must survive being written and read again.

namespace {

using namespace ipsec;
using namespace ipsec::ike;

/// Everything of a message that can be written, in a fixed order.
PayloadWriter written(const Payloads& payloads) {
  PayloadWriter out;
  if (payloads.sa) out.add(*payloads.sa);
  if (payloads.ke) out.add(*payloads.ke);
  if (payloads.nonce) out.add(*payloads.nonce);
  if (payloads.id_i) out.add(PayloadType::kIdI, *payloads.id_i);
  if (payloads.id_r) out.add(PayloadType::kIdR, *payloads.id_r);
  if (payloads.auth) out.add(*payloads.auth);
  for (const auto& each : payloads.certs) out.add(each);
  for (const auto& each : payloads.cert_requests) out.add(each);
  // A payload of nothing but skipped selectors cannot be written.
  if (payloads.ts_i && !payloads.ts_i->selectors.empty()) out.add(PayloadType::kTsI, *payloads.ts_i);
  if (payloads.ts_r && !payloads.ts_r->selectors.empty()) out.add(PayloadType::kTsR, *payloads.ts_r);
  for (const auto& each : payloads.notifies) out.add(each);
  for (const auto& each : payloads.deletes) out.add(each);
  for (const auto& each : payloads.vendor_ids) out.add(each);
  if (payloads.config) out.add(*payloads.config);
  if (payloads.eap) out.add(*payloads.eap);
  return out;
}

void check_proposals(const Payloads& first, const Payloads& second) {
  VERIFY(first.sa.has_value() == second.sa.has_value());
  if (!first.sa) return;
  VERIFY(first.sa->proposals.size() == second.sa->proposals.size());
  for (size_t i = 0; i < first.sa->proposals.size(); ++i) {
    const WireProposal& a = first.sa->proposals[i];
    const WireProposal& b = second.sa->proposals[i];
    VERIFY(a.number == b.number && a.spi == b.spi && a.proposal == b.proposal);
    VERIFY(a.unusable || !b.unusable);
  }
}

void check_chain(PayloadType type, ByteView chain) {
  const auto first = parse_payloads(type, chain);
  if (!first.ok()) {
    VERIFY(!first.error().detail().empty());
    return;
  }
  const PayloadWriter once = written(*first);
  const auto second = parse_payloads(once.first(), once.view());
  VERIFY(second.ok());
  VERIFY(second->unknown == 0 && !second->encrypted);
  check_proposals(*first, *second);
  const PayloadWriter twice = written(*second);
  VERIFY(once.first() == twice.first());
  VERIFY(std::ranges::equal(once.view(), twice.view()));
  // What is behind an SK payload's generic header is fuzzed as if it had been decrypted.
  if (first->encrypted) check_chain(first->encrypted->inner, chain.subspan(first->encrypted->offset + 4));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const ByteView datagram(data, size);
  const auto header = Header::parse(datagram);
  if (!header.ok()) return 0;
  ByteWriter out;
  header->write(out);
  VERIFY(std::ranges::equal(out.view(), datagram.first(Header::kBytes)));
  check_chain(header->next_payload, datagram.subspan(Header::kBytes));
  return 0;
}
