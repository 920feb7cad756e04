#include "ike/sa/ike_sa.h"

#include <algorithm>

namespace ipsec::ike {

std::string_view to_string(StateId state) {
  switch (state) {
    case StateId::kInitPolicyWait: return "init-policy-wait";
    case StateId::kInitAnswered: return "init-answered";
    case StateId::kAuthResponding: return "auth-responding";
    case StateId::kInitSent: return "init-sent";
    case StateId::kAuthMaking: return "auth-making";
    case StateId::kAuthSent: return "auth-sent";
    case StateId::kAuthFinishing: return "auth-finishing";
    case StateId::kEstablished: return "established";
    case StateId::kRekeyed: return "rekeyed";
    case StateId::kDeleting: return "deleting";
    case StateId::kEnded: return "ended";
  }
  return "?";
}

ChildSa* Established::child(ChildId id) {
  auto it = std::find_if(children.begin(), children.end(), [&](const ChildSa& each) { return each.id == id; });
  return it == children.end() ? nullptr : &*it;
}

KeySchedule* IkeSa::keys() {
  return std::visit(
      [](auto& each) -> KeySchedule* {
        using S = std::decay_t<decltype(each)>;
        if constexpr (std::is_same_v<S, InitPolicyWait> || std::is_same_v<S, InitSent> || std::is_same_v<S, Ended>)
          return nullptr;
        else if constexpr (std::is_same_v<S, InitAnswered>)
          return each.keys ? &*each.keys : nullptr;
        else
          return &each.keys;
      },
      state);
}

bool IkeSa::waits_for(AskId ask) const {
  if (const auto* wait = std::get_if<InitPolicyWait>(&state)) return wait->ask == ask;
  if (const auto* responding = std::get_if<AuthResponding>(&state)) return responding->work->ask == ask;
  if (const auto* making = std::get_if<AuthMaking>(&state)) return making->ask == ask;
  if (const auto* finishing = std::get_if<AuthFinishing>(&state)) return finishing->ask == ask;
  const auto* established = std::get_if<Established>(&state);
  if (established == nullptr) return false;
  const auto& own = established->own;
  return (own && own->stage == OwnExchange::Stage::kInstalling && own->ask == ask) ||
         (established->peer && established->peer->ask == ask);
}

std::vector<ChildSpi> IkeSa::spis_in() const {
  std::vector<ChildSpi> spis;
  if (const auto* established = std::get_if<Established>(&state)) {
    for (const ChildSa& child : established->children) spis.push_back(child.spec->spi_in);
    if (established->own && established->own->spi_in) spis.push_back(established->own->spi_in);
    if (established->peer) spis.push_back(established->peer->child.spec->spi_in);
  }
  if (const auto* responding = std::get_if<AuthResponding>(&state); responding != nullptr && responding->work->child)
    spis.push_back(responding->work->child->spec->spi_in);
  if (const auto* sent = std::get_if<AuthSent>(&state); sent != nullptr && sent->spi_in) spis.push_back(sent->spi_in);
  if (const auto* finishing = std::get_if<AuthFinishing>(&state)) {
    if (finishing->child) spis.push_back(finishing->child->spec->spi_in);
    if (finishing->unused_spi) spis.push_back(*finishing->unused_spi);
  }
  return spis;
}

namespace {

bool is_consistent(const Established& state) {
  for (const ChildSa& child : state.children) {
    const bool may_send = child.phase == ChildPhase::kInUse || child.phase == ChildPhase::kReplaced;
    if (child.outbound && !may_send) return false;
    if (child.phase == ChildPhase::kInUse && !child.outbound) return false;
    if ((child.phase == ChildPhase::kAwaitingUse) == child.outbound_key.empty()) return false;
    if (child.phase == ChildPhase::kAwaitingUse && !child.replaces) return false;
  }
  if (!state.own) return true;
  const OwnExchange& own = *state.own;
  const bool about_ike = own.task.kind == Task::Kind::kRekeyIke;
  if (about_ike != (own.spi_in.value() == 0) || about_ike != (own.ike_spi.value() != 0)) return false;
  return (own.stage == OwnExchange::Stage::kInstalling) == own.child.has_value();
}

}  // namespace

bool IkeSa::is_consistent() const {
  const bool own_spi_known = (initiator ? spi_i : spi_r).value() == id.value() && id.value() != 0;
  if (!own_spi_known) return false;
  switch (state_id()) {
    case StateId::kInitPolicyWait: return !initiator && spi_i && deadline && !tunnel && !window.outstanding;
    case StateId::kInitAnswered:
      return !initiator && spi_i && deadline && !tunnel && !window.outstanding && window.answered &&
             window.answered->message_id == 0;
    case StateId::kAuthResponding: {
      const auto& work = std::get<AuthResponding>(state).work;
      return !initiator && deadline && work && (work->stage == AuthWork::Stage::kPeer) == !tunnel &&
             !window.outstanding;
    }
    case StateId::kInitSent: return initiator && tunnel && window.outstanding && deadline && !spi_r;
    case StateId::kAuthMaking: return initiator && tunnel && spi_r && !window.outstanding && deadline;
    case StateId::kAuthSent: return initiator && tunnel && spi_r && window.outstanding && deadline;
    case StateId::kAuthFinishing: return initiator && tunnel && spi_r && !window.outstanding && deadline;
    case StateId::kEstablished: {
      const auto& established = std::get<Established>(state);
      const bool waits = established.own && established.own->stage == OwnExchange::Stage::kSent;
      return tunnel && spi_i && spi_r && established_at && !keys()->can_authenticate() &&
             (!waits || window.outstanding) && ipsec::ike::is_consistent(established);
    }
    case StateId::kRekeyed: return spi_i && spi_r && successor && deadline;
    case StateId::kDeleting: return spi_i && spi_r && window.outstanding;
    case StateId::kEnded: return false;  // in no table
  }
  return false;
}

}  // namespace ipsec::ike
