#include "ike/exchange/nat_detection.h"

namespace ipsec::ike {
namespace {

// RFC 7296 2.23: SHA-1 over the SPIs as they stand in the header, the address and the port.
Result<Bytes> nat_hash(CryptoContext& crypto, IkeSpi spi_i, IkeSpi spi_r, const Endpoint& endpoint) {
  ByteWriter hashed(34);
  hashed.u64(spi_i.value());
  hashed.u64(spi_r.value());
  hashed.bytes(endpoint.address.bytes());
  hashed.u16(endpoint.port);
  return crypto.sha1({hashed.view()});
}

}  // namespace

Status add_nat_detection(CryptoContext& crypto, IkeSpi spi_i, IkeSpi spi_r, const Path& path, PayloadWriter& out) {
  TRY_ASSIGN(Bytes source, nat_hash(crypto, spi_i, spi_r, path.local), "NAT detection");
  TRY_ASSIGN(Bytes destination, nat_hash(crypto, spi_i, spi_r, path.remote), "NAT detection");
  out.add(notify(NotifyType::kNatDetectionSourceIp, std::move(source)));
  out.add(notify(NotifyType::kNatDetectionDestinationIp, std::move(destination)));
  return {};
}

Result<NatVerdict> judge_nat(CryptoContext& crypto, IkeSpi spi_i, IkeSpi spi_r, const Path& path,
                             const Payloads& payloads) {
  NatVerdict verdict;
  bool source_seen = false, source_matches = false;
  const NotifyPayload* destination = payloads.notify(NotifyType::kNatDetectionDestinationIp);
  TRY_ASSIGN(const Bytes seen_source, nat_hash(crypto, spi_i, spi_r, path.remote), "NAT detection");
  for (const NotifyPayload& each : payloads.notifies) {
    if (each.type != NotifyType::kNatDetectionSourceIp) continue;
    source_seen = true;
    // A sender with several addresses may send one for each: any match will do.
    source_matches = source_matches || each.data == seen_source;
  }
  if (!source_seen || destination == nullptr) return verdict;
  TRY_ASSIGN(const Bytes seen_destination, nat_hash(crypto, spi_i, spi_r, path.local), "NAT detection");
  verdict.supported = true;
  verdict.remote = !source_matches;
  verdict.local = destination->data != seen_destination;
  return verdict;
}

}  // namespace ipsec::ike
