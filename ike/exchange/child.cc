#include "ike/exchange/child.h"

namespace ipsec::ike {
namespace {

constexpr uint32_t kReservedSpiMax = 255;

policy::SelectorList all_of(const policy::Tunnel& tunnel, policy::SelectorList policy::ChildConfig::*side) {
  policy::SelectorList all;
  for (const policy::ChildConfig& child : tunnel.children)
    all.insert(all.end(), (child.*side).begin(), (child.*side).end());
  return all;
}

/// Keys for the direction towards us and away from us.
struct DirectedKeys {
  Secret in, out;
};

Result<DirectedKeys> directed_keys(EngineCore& core, const IkeSa& sa, const PendingChild& child) {
  TRY_ASSIGN(auto pair, sa.keys()->child_keys(core.crypto, child.spec->suite, child.ni, child.nr), "child keys");
  // RFC 7296 2.17: the first part of KEYMAT protects what the initiator of the exchange sends.
  if (child.spec->initiator)
    return DirectedKeys{std::move(pair.responder_to_initiator), std::move(pair.initiator_to_responder)};
  return DirectedKeys{std::move(pair.initiator_to_responder), std::move(pair.responder_to_initiator)};
}

}  // namespace

std::vector<policy::Proposal> esp_offer(const policy::ChildPolicy& policy) {
  std::vector<policy::Proposal> offer = policy.proposals;
  for (policy::Proposal& each : offer)
    std::erase_if(each.transforms, [](const policy::Transform& transform) {
      return transform.type == policy::TransformType::kKeyExchange;
    });
  return offer;
}

Result<policy::EspSuite> esp_suite_of(const policy::Proposal& chosen) {
  const policy::Transform* cipher = chosen.first(policy::TransformType::kEncryption);
  if (cipher == nullptr) return Error(Reason::kNoProposalChosen, "an ESP proposal without a cipher");
  const policy::Transform* integrity = chosen.first(policy::TransformType::kIntegrity);
  const policy::Transform* esn = chosen.first(policy::TransformType::kEsn);
  return policy::EspSuite{.encryption = cipher->id,
                          .key_bits = cipher->key_bits,
                          .integrity = integrity != nullptr ? integrity->id : uint16_t{policy::kAuthNone},
                          .esn = esn != nullptr && esn->id == policy::kEsn};
}

Result<ChildSpi> parse_esp_spi(ByteView spi) {
  ByteReader reader(spi);
  TRY_ASSIGN(const uint32_t value, reader.u32(), "ESP SPI");
  TRY(reader.expect_done(), "ESP SPI");
  if (value <= kReservedSpiMax) return Error(Reason::kIkeInvalidSyntax, "ESP SPI in the reserved range");
  return ChildSpi(value);
}

Result<ChildDecision> decide_child(const policy::Tunnel& tunnel, const ChildRequest& request) {
  std::optional<Error> proposal_error;
  for (const policy::ChildConfig& child : tunnel.children) {
    ChildDecision decision{.config = &child,
                           .mode = child.policy->mode,
                           .local = policy::narrow(child.local, request.ts_r),
                           .remote = policy::narrow(child.remote, request.ts_i)};
    if (decision.local.empty() || decision.remote.empty()) continue;
    const auto configured = esp_offer(*child.policy);
    auto choice = policy::choose(configured, request.offered, policy::KeyExchangeUse::kIgnored);
    if (!choice) {
      proposal_error.emplace(Reason::kNoProposalChosen, "offered " + policy::to_string(request.offered) +
                                                            "; configured " + policy::to_string(configured));
      continue;
    }
    // RFC 7296 1.3.1: the initiator asks for transport mode; a responder may decline it, but cannot demand it.
    if (child.policy->mode == policy::EspMode::kTransport && !request.wants_transport) {
      proposal_error.emplace(Reason::kModeMismatch, "transport mode is configured, tunnel mode was requested");
      continue;
    }
    decision.offered_index = choice->offered_index;
    TRY_ASSIGN(decision.suite, esp_suite_of(choice->chosen), "");
    TRY_ASSIGN(decision.spi_out, parse_esp_spi(request.spis[choice->offered_index]), "");
    return decision;
  }
  if (proposal_error) return std::move(*proposal_error);
  return Error(Reason::kTsUnacceptable,
               "offered local " + policy::to_string(request.ts_r) + " remote " + policy::to_string(request.ts_i) +
                   "; configured local " + policy::to_string(all_of(tunnel, &policy::ChildConfig::local)) + " remote " +
                   policy::to_string(all_of(tunnel, &policy::ChildConfig::remote)));
}

Status ask_install(EngineCore& core, IkeSa& sa, const PendingChild& child, AskId ask) {
  TRY_ASSIGN(DirectedKeys keys, directed_keys(core, sa, child), "");
  core.act(
      InstallInbound{ask, sa.id, ChildId(child.spec->spi_in.value()), std::nullopt, child.spec, {std::move(keys.in)}});
  return {};
}

Status finish_child(EngineCore& core, IkeSa& sa, const PendingChild& child, std::vector<ChildSa>& children) {
  TRY_ASSIGN(DirectedKeys keys, directed_keys(core, sa, child), "");
  const ChildId id(child.spec->spi_in.value());
  core.act(InstallOutbound{sa.id, id, std::nullopt, child.spec, {std::move(keys.out)}});
  children.push_back({id, child.spec});
  ByteWriter spis(8);
  spis.u32(child.spec->spi_in.value());
  spis.u32(child.spec->spi_out.value());
  core.report(sa, Reason::kChildEstablished,
              {field("child", child.spec->child), field("local", policy::to_string(child.spec->local)),
               field("remote", policy::to_string(child.spec->remote)), field("spi_in", to_hex(spis.view().first(4))),
               field("spi_out", to_hex(spis.view().last(4))), field("proposal", policy::to_string(child.spec->suite))});
  return {};
}

}  // namespace ipsec::ike
