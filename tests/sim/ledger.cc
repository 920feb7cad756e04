#include "tests/sim/ledger.h"

#include <algorithm>

#include "ike/wire/header.h"

namespace ipsec::sim {
namespace {

constexpr size_t kViolationsMax = 20;

uint64_t window_at(ByteView bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | bytes[at + i];
  return value;
}

bool mirror(const policy::ChildSpec& in, const policy::ChildSpec& out) {
  return in.suite == out.suite && in.mode == out.mode && in.local == out.remote && in.remote == out.local;
}

std::string gateway_name(size_t gateway) { return "gateway " + std::to_string(gateway); }

std::string spi_name(uint32_t spi) {
  ByteWriter out(4);
  out.u32(spi);
  return "child 0x" + to_hex(out.view());
}

}  // namespace

size_t peer_of(const policy::ChildSpec& spec) { return std::stoul(spec.tunnel->name.substr(3)); }

void Ledger::violate(std::string what) {
  if (violations_.size() < kViolationsMax) violations_.push_back(std::move(what));
}

bool Ledger::shows_secret(ByteView bytes) const {
  for (size_t at = 0; at + kWindow <= bytes.size(); ++at)
    if (secret_windows_.contains(window_at(bytes, at))) return true;
  return false;
}

void Ledger::sent(size_t gateway, ByteView datagram) {
  if (shows_secret(datagram)) violate("invariant 6: " + gateway_name(gateway) + " sent a datagram that shows a key");
  const auto header = ike::Header::parse(datagram);
  if (!header.ok()) return violate(gateway_name(gateway) + " sent a datagram without a header");
  // Before there are keys a request may change: the cookie, another group (RFC 7296 2.6, 1.3).
  if (header->next_payload != ike::PayloadType::kEncrypted) return;
  const auto key = std::tuple(gateway, header->initiator_spi.value(), header->responder_spi.value(), header->flags,
                              header->message_id);
  const auto [it, fresh] = sent_.try_emplace(key, datagram.begin(), datagram.end());
  if (!fresh && !std::ranges::equal(it->second, datagram))
    violate("invariant 2: " + gateway_name(gateway) + " used message ID " + std::to_string(header->message_id) +
            " again with other bytes");
}

void Ledger::received(size_t gateway, bool had_effect) {
  if (!had_effect) violate("invariant 7: " + gateway_name(gateway) + " dropped a datagram without counting it");
}

void Ledger::within_limits(size_t gateway, const ike::IkeEngine& engine, const ike::IkeEngine::Options& limits) {
  if (engine.half_open() > limits.admission.half_open_max)
    violate("invariant 7: " + gateway_name(gateway) + " has " + std::to_string(engine.half_open()) + " half-open SAs");
  if (engine.ike_sas().size() > limits.admission.ike_sas_max)
    violate("invariant 7: " + gateway_name(gateway) + " has more IKE SAs than allowed");
}

void Ledger::reported(const ike::Report& report) {
  for (const Field& each : report.fields) {
    bool shown = shows_secret(as_bytes(each.value));
    // The same bytes as hexadecimal digits, from either digit on.
    for (size_t from = 0; from < 2 && from < each.value.size(); ++from) {
      Bytes decoded;
      for (size_t at = from; at + 2 <= each.value.size(); at += 2) {
        auto byte = from_hex(std::string_view(each.value).substr(at, 2));
        if (byte.ok() && byte->size() == 1) {
          decoded.push_back(byte->front());
          continue;
        }
        shown = shown || shows_secret(decoded);
        decoded.clear();
      }
      shown = shown || shows_secret(decoded);
    }
    if (shown)
      violate("invariant 6: field " + each.name + " of report " + std::string(code(report.reason)) + " shows a key");
  }
}

void Ledger::learn_secret(ByteView secret) {
  for (size_t at = 0; at + kWindow <= secret.size(); ++at) secret_windows_.insert(window_at(secret, at));
}

void Ledger::outbound_installed(size_t gateway, ByteView key) {
  if (!outbound_keys_.emplace(key.begin(), key.end()).second)
    violate("invariant 2: " + gateway_name(gateway) + " installed an outbound key a second time");
}

void Ledger::agree(const std::vector<const Kernel*>& kernels) {
  for (size_t i = 0; i < kernels.size(); ++i) {
    for (const auto& [where, out] : kernels[i]->outbound) {
      const auto& inbound = kernels[where.first]->inbound;
      const auto in = inbound.find(where.second);
      if (in == inbound.end() || peer_of(*in->second.spec) != i) continue;
      if (in->second.key != out.key || !mirror(*in->second.spec, *out.spec))
        violate("invariant 1: " + gateway_name(i) + " and " + gateway_name(where.first) + " disagree on " +
                spi_name(where.second));
    }
  }
}

std::vector<std::string> Ledger::mismatches(const std::vector<const Kernel*>& kernels,
                                            const std::vector<std::set<uint32_t>>& leaving) {
  std::vector<std::string> found;
  for (size_t i = 0; i < kernels.size(); ++i) {
    for (const auto& [where, out] : kernels[i]->outbound)
      if (!kernels[where.first]->inbound.contains(where.second))
        found.push_back("invariant 3: " + gateway_name(i) + " sends on " + spi_name(where.second) + ", which " +
                        gateway_name(where.first) + " does not receive");
    for (const auto& [spi, in] : kernels[i]->inbound)
      if (!leaving[i].contains(spi) && !kernels[peer_of(*in.spec)]->outbound.contains({i, spi}))
        found.push_back("invariant 3: " + gateway_name(i) + " receives on " + spi_name(spi) + ", which " +
                        gateway_name(peer_of(*in.spec)) + " does not send");
  }
  return found;
}

}  // namespace ipsec::sim
