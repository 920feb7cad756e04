#include "ike/sa/ike_sa.h"

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
    case StateId::kDeleting: return "deleting";
  }
  return "?";
}

KeySchedule* IkeSa::keys() {
  return std::visit(
      [](auto& each) -> KeySchedule* {
        using S = std::decay_t<decltype(each)>;
        if constexpr (std::is_same_v<S, InitPolicyWait> || std::is_same_v<S, InitSent>)
          return nullptr;
        else if constexpr (std::is_same_v<S, InitAnswered>)
          return each.keys ? &*each.keys : nullptr;
        else
          return &each.keys;
      },
      state);
}

std::optional<AskId> IkeSa::open_ask() const {
  if (const auto* wait = std::get_if<InitPolicyWait>(&state)) return wait->ask;
  if (const auto* responding = std::get_if<AuthResponding>(&state)) return responding->work->ask;
  if (const auto* making = std::get_if<AuthMaking>(&state)) return making->ask;
  if (const auto* finishing = std::get_if<AuthFinishing>(&state)) return finishing->ask;
  return std::nullopt;
}

std::vector<ChildSpi> IkeSa::spis_in() const {
  std::vector<ChildSpi> spis;
  if (const auto* established = std::get_if<Established>(&state))
    for (const ChildSa& child : established->children) spis.push_back(child.spec->spi_in);
  if (const auto* responding = std::get_if<AuthResponding>(&state); responding != nullptr && responding->work->child)
    spis.push_back(responding->work->child->spec->spi_in);
  if (const auto* sent = std::get_if<AuthSent>(&state)) spis.push_back(sent->spi_in);
  if (const auto* finishing = std::get_if<AuthFinishing>(&state)) {
    if (finishing->child) spis.push_back(finishing->child->spec->spi_in);
    if (finishing->unused_spi) spis.push_back(*finishing->unused_spi);
  }
  return spis;
}

bool IkeSa::is_consistent() const {
  const bool own_spi_known = (initiator ? spi_i : spi_r).value() == id.value() && id.value() != 0;
  if (!own_spi_known) return false;
  switch (state_id()) {
    case StateId::kInitPolicyWait:
    case StateId::kInitAnswered: return !initiator && spi_i && deadline && !tunnel && !window.outstanding;
    case StateId::kAuthResponding: {
      const auto& work = std::get<AuthResponding>(state).work;
      return !initiator && deadline && work && (work->stage == AuthWork::Stage::kPeer) == !tunnel &&
             !window.outstanding;
    }
    case StateId::kInitSent: return initiator && tunnel && window.outstanding && deadline && !spi_r;
    case StateId::kAuthMaking: return initiator && tunnel && spi_r && !window.outstanding && deadline;
    case StateId::kAuthSent: return initiator && tunnel && spi_r && window.outstanding && deadline;
    case StateId::kAuthFinishing: return initiator && tunnel && spi_r && !window.outstanding && deadline;
    case StateId::kEstablished: return tunnel && spi_i && spi_r && established_at && !keys()->can_authenticate();
    case StateId::kDeleting: return spi_i && spi_r && window.outstanding;
  }
  return false;
}

}  // namespace ipsec::ike
