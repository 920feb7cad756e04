#include "policy/manual.h"

#include <algorithm>

namespace ipsec::policy {
namespace {

Error wrong(const std::string& what) {
  return Error(Reason::kConfigConflict, what + ", because the keys of the child are manual");
}

size_t count(const Proposal& proposal, TransformType type) {
  return static_cast<size_t>(std::ranges::count(proposal.transforms, type, &Transform::type));
}

}  // namespace

Result<EspSuite> manual_suite(const ChildPolicy& policy) {
  if (policy.proposals.size() != 1 || count(policy.proposals.front(), TransformType::kEncryption) != 1)
    return wrong("one proposal with one cipher");
  const Proposal& proposal = policy.proposals.front();
  const Transform& cipher = *proposal.first(TransformType::kEncryption);
  const Algorithm* known = find_algorithm(TransformType::kEncryption, cipher.id, cipher.key_bits);
  VERIFY(known != nullptr);
  if (known->aead)
    return wrong("a cipher in CBC mode with an HMAC, as aes256-sha256 (" + std::string(known->name) +
                 " counts its nonces, would begin anew after each restart, and must never use one twice under a key: "
                 "RFC 8221 section 3)");
  if (count(proposal, TransformType::kIntegrity) != 1) return wrong("one proposal with one integrity algorithm");
  if (policy.pfs || proposal.has(TransformType::kKeyExchange)) return wrong("a proposal without key exchange");
  if (!std::ranges::any_of(proposal.transforms,
                           [](const Transform& each) { return each.type == TransformType::kEsn && each.id == kNoEsn; }))
    return wrong("a proposal without esn");
  return EspSuite{cipher.id, cipher.key_bits, proposal.first(TransformType::kIntegrity)->id, false};
}

std::shared_ptr<const ChildSpec> manual_spec(std::shared_ptr<const Tunnel> tunnel, const ChildConfig& child) {
  auto spec = std::make_shared<ChildSpec>();
  spec->child = child.name;
  spec->spi_in = ChildSpi(child.manual->spi_in);
  spec->spi_out = ChildSpi(child.manual->spi_out);
  spec->suite = manual_suite(*child.policy).value();
  spec->mode = child.policy->mode;
  spec->local = child.local;
  spec->remote = child.remote;
  spec->local_endpoint = {tunnel->local_address().value(), 0};
  spec->remote_endpoint = {tunnel->remote.value(), 0};
  spec->initiator = true;
  spec->tunnel = std::move(tunnel);
  return spec;
}

std::vector<ChildSpi> manual_spis(const Config& config) {
  std::vector<ChildSpi> spis;
  for (const auto& [name, tunnel] : config.tunnels)
    for (const ChildConfig& child : tunnel->children)
      if (child.manual) spis.emplace_back(child.manual->spi_in);
  return spis;
}

void make_manual(SaConfig& inbound, SaConfig& outbound) {
  for (SaConfig* sa : {&inbound, &outbound}) {
    sa->hard_lifetime = Duration{0};
    sa->volume = {};
    sa->replay_window = 0;
  }
  outbound.sequence_wraps = true;
}

bool operator==(const ManualKeys& a, const ManualKeys& b) {
  const bool in = a.in.material.equals(b.in.material.expose());
  const bool out = a.out.material.equals(b.out.material.expose());
  return in && out;
}

}  // namespace ipsec::policy
