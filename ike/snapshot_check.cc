#include "ike/snapshot_check.h"

#include <algorithm>

#include "ike/wire/header.h"
#include "ike/wire/payloads.h"

namespace ipsec::ike {
namespace {

Status wrong(const char* what) { return Error(Reason::kMalformed, what); }

Status check_init_message(ByteView message) {
  TRY_ASSIGN(const Header header, Header::parse(message), "IKE_SA_INIT");
  TRY_ASSIGN(const Payloads payloads, parse_payloads(header.next_payload, message.subspan(Header::kBytes)),
             "IKE_SA_INIT");
  if (!payloads.sa || !payloads.ke || !payloads.nonce) return wrong("IKE_SA_INIT without SA, KE or nonce");
  return {};
}

bool can_be_sent(const Bytes& nonce) { return nonce.size() >= kNonceBytesMin && nonce.size() <= kNonceBytesMax; }

bool can_be_sent(const policy::SelectorList& list) {
  return list.size() <= kSelectorsMax && std::ranges::all_of(list, [](const policy::TrafficSelector& each) {
           return each.addresses.first.family() == each.addresses.last.family() &&
                  each.addresses.first <= each.addresses.last;
         });
}

bool can_be_sent(const std::vector<policy::Proposal>& proposals) {
  return !proposals.empty() && proposals.size() <= kProposalsMax &&
         std::ranges::all_of(proposals, [](const auto& each) { return each.transforms.size() <= kTransformsMax; });
}

Status check_spec(const policy::ChildSpec& spec) {
  if (spec.local.empty() || spec.remote.empty() || !can_be_sent(spec.local) || !can_be_sent(spec.remote))
    return wrong("selectors of a child");
  return {};
}

Status check_pending(const std::optional<PendingChild>& child) { return child ? check_spec(*child->spec) : Status(); }

Status check_work(const AuthWork& work) {
  TRY(check_init_message(work.init_request), "");
  TRY(check_init_message(work.init_response), "");
  if (work.offered.size() != work.offered_numbers.size() || work.offered.size() != work.offered_spis.size())
    return wrong("proposals without number or SPI");
  if ((work.stage == AuthWork::Stage::kInstall) != work.child.has_value()) return wrong("a child in another stage");
  return check_pending(work.child);
}

Status check_own(const OwnExchange& own) {
  if (!can_be_sent(own.nonce) || !can_be_sent(own.offered)) return wrong("our request");
  if (own.task.kind == Task::Kind::kRekeyIke) return own.key_pair ? Status() : wrong("a rekey without a key exchange");
  if (own.offered_local.empty() || own.offered_remote.empty() || !can_be_sent(own.offered_local) ||
      !can_be_sent(own.offered_remote))
    return wrong("selectors of our request");
  return check_pending(own.child);
}

Status check_established(const Established& established) {
  for (const ChildSa& child : established.children) {
    TRY(check_spec(*child.spec), "");
    if (child.id.value() != child.spec->spi_in.value()) return wrong("a child under another SPI");
  }
  if (established.own) TRY(check_own(*established.own), "");
  if (!established.peer) return {};
  if (!can_be_sent(established.peer->nonce)) return wrong("our response");
  return check_spec(*established.peer->child.spec);
}

/// Whether AUTH can still be made and checked with these keys.
Status check_auth_keys(const KeySchedule& keys) {
  return keys.can_authenticate() ? Status() : wrong("keys without those of AUTH");
}

struct CheckState {
  const IkeSa& sa;

  Status operator()(const InitPolicyWait& state) const { return check_init_message(state.request); }
  Status operator()(const InitAnswered& state) const {
    TRY(check_init_message(state.request), "");
    TRY(check_init_message(sa.window.answered->response), "");
    return state.keys ? check_auth_keys(*state.keys) : Status();
  }
  Status operator()(const AuthResponding& state) const {
    TRY(check_work(*state.work), "");
    return check_auth_keys(state.keys);
  }
  Status operator()(const InitSent& state) const { return can_be_sent(state.ni) ? Status() : wrong("our nonce"); }
  Status operator()(const AuthMaking& state) const { return check_auth_keys(state.keys); }
  Status operator()(const AuthSent& state) const { return check_auth_keys(state.keys); }
  Status operator()(const AuthFinishing& state) const {
    TRY(check_pending(state.child), "");
    if (state.stage == AuthFinishing::Stage::kInstall && !state.child) return wrong("no child to be installed");
    return check_auth_keys(state.keys);
  }
  Status operator()(const Established& state) const { return check_established(state); }
  Status operator()(const Rekeyed&) const { return {}; }
  Status operator()(const Deleting&) const { return {}; }
  Status operator()(const Ended&) const { return wrong("an IKE SA that has ended"); }
};

}  // namespace

Status check_contents(const IkeSa& sa) { return std::visit(CheckState{sa}, sa.state); }

}  // namespace ipsec::ike
