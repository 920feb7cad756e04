#include "agent/control/session.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "agent/control/limits.h"

namespace ipsec::agent::control {

using nlohmann::json;

Session::Session(uint64_t id, Descriptor socket, Access access, SessionHost& host)
    : id_(id),
      socket_(std::move(socket)),
      access_(access),
      host_(host),
      input_(access == Access::kWrite ? kRequestBytesMax : kRequestBytesMaxReader) {}

Session::~Session() { host_.queued_bytes -= output_.size(); }

void Session::on_ready() {
  // The ring of events is the queue. A client that did not even take what the ring has dropped by now is of no use to
  // anybody: it would wait for a gap.
  const auto* monitor = std::get_if<MonitorStream>(&work_);
  if (monitor != nullptr && output_.size() >= kQueuedBytesPause && host_.backend.events(monitor->next, 0).lost > 0) {
    ++host_.counters.slow_clients;
    closed_ = true;
    return;
  }
  read_input();
  advance();
}

void Session::complete(Result<json> outcome) {
  const auto* operation = std::get_if<Operation>(&work_);
  if (operation == nullptr) return;
  const std::string_view name = operation->name;
  work_ = std::monostate{};
  if (name.empty() && outcome.ok())
    send({.parameters = std::move(outcome).value(), .error = {}});
  else
    send_result(std::move(outcome), name);
}

void Session::complete_reply(std::string reply) {
  if (!std::holds_alternative<Operation>(work_)) return;
  work_ = std::monostate{};
  if (!reply.empty()) send_text(std::move(reply));  // empty: none was wanted
}

void Session::refuse() {
  ++host_.counters.refused_clients;
  send({.parameters = {{"limit", kClientsMax}}, .error = std::string(kInterface) + ".TooManyClients"});
  closing_ = true;
  advance();
  closed_ = true;
}

void Session::read_input() {
  std::array<char, 65536> block;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by recv
  for (size_t total = 0; total < kReadBytesPerTurn && !closed_;) {
    const ssize_t got = recv(fd(), block.data(), block.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      // What was asked before the end is answered as far as the socket takes it at once.
      advance();
      closed_ = true;
      return;
    }
    total += static_cast<size_t>(got);
    if (closing_) continue;
    if (!input_.add(std::string_view(block.data(), static_cast<size_t>(got))).ok()) {
      ++host_.counters.floods;
      give_up("message too large");
    }
  }
}

void Session::flush() {
  while (output_.size() > 0 && !closed_) {
    const std::string_view rest = output_.pending();
    const ssize_t put = ::send(fd(), rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0 && errno == EAGAIN) return;
    if (put <= 0) {
      closed_ = true;
      return;
    }
    output_.written(static_cast<size_t>(put));
    host_.queued_bytes -= static_cast<size_t>(put);
  }
}

void Session::advance() {
  if (advancing_ || closed_) return;
  advancing_ = true;
  const Instant begun = host_.now();
  runnable_ = false;
  for (size_t steps = 0; !closed_; ++steps) {
    if (steps == kStepsPerTurn || host_.now() - begun >= kClientTurnMax) {
      runnable_ = true;
      break;
    }
    flush();
    if (step() == Progress::kNone) break;
  }
  flush();
  if (closing_ && output_.size() == 0) closed_ = true;
  advancing_ = false;
}

Session::Progress Session::step() {
  if (closed_ || closing_ || output_.size() >= kQueuedBytesPause) return Progress::kNone;
  if (std::holds_alternative<Operation>(work_)) return Progress::kNone;
  if (auto* rows = std::get_if<RowStream>(&work_)) {
    pump_rows(*rows);
    return Progress::kSome;
  }
  if (auto* work = std::get_if<WorkStream>(&work_)) {
    pump_work(*work);
    return Progress::kSome;
  }
  if (auto* monitor = std::get_if<MonitorStream>(&work_)) return pump_monitor(*monitor);
  if (auto* text = std::get_if<TextStream>(&work_)) {
    pump_text(*text);
    return Progress::kSome;
  }
  auto message = input_.next();
  if (!message) return Progress::kNone;
  if (message->size() > kInlineBytesMax)
    take_apart_aside(std::move(*message));
  else
    handle(*message);
  return Progress::kSome;
}

void Session::handle(const std::string& message) {
  auto parsed = parse_call(message);
  oneway_ = false;
  if (!parsed.ok()) {
    ++host_.counters.bad_messages;
    give_up(parsed.error().text());
    return;
  }
  const Call& call = parsed.value();
  ++host_.counters.calls;
  oneway_ = call.oneway == Flag::kOn;
  const Method* method = find_method(call.method);
  if (method == nullptr) {
    const std::string interface = call.method.substr(0, std::min(call.method.rfind('.'), call.method.size()));
    const bool known = interface == kInterface || interface == kServiceInterface;
    send(known ? method_not_found(call.method) : interface_not_found(interface));
    return;
  }
  if (access_ < method->needed) {
    ++host_.counters.denied_calls;
    const bool write = method->needed == Access::kWrite;
    send(permission_denied(call.method, write ? "root or the group ipsecd-admin" : "root or the group ipsecd"));
    return;
  }
  if (call.upgrade == Flag::kOn) {
    send(invalid_parameter("upgrade"));
    return;
  }
  if (const auto bad = first_bad_parameter(*method, call.parameters)) {
    send(invalid_parameter(*bad));
    return;
  }
  dispatch(*method, call);
}

void Session::dispatch(const Method& method, const Call& call) {
  switch (method.id) {
    case MethodId::kGetInfo: return on_info();
    case MethodId::kGetInterfaceDescription: return on_description(call.parameters);
    case MethodId::kStatus: {
      work_ = WorkStream{.work = host_.backend.status(), .name = "status"};
      return;
    }
    case MethodId::kList: return on_list(call);
    case MethodId::kShow: return on_show(call.parameters);
    case MethodId::kUp:
    case MethodId::kDown:
    case MethodId::kRekey: return on_operation(method.id, call.parameters);
    case MethodId::kMonitor: return on_monitor(call);
    case MethodId::kConfigCheck: return on_config_check(call.parameters);
    case MethodId::kConfigDiff: return on_config_apply(Backend::ApplyMode::kLook);
    case MethodId::kConfigApply: return on_config_apply(Backend::ApplyMode::kApply);
    case MethodId::kConfigEffective: return on_config_effective(call);
    case MethodId::kExplain: return on_explain(call.parameters);
    case MethodId::kExplainNegotiation:
      return send_result(host_.backend.explain_negotiation(text_at(call.parameters, "peer")), "failures");
    case MethodId::kExplainOffload:
      return send_result(host_.backend.explain_offload(text_at(call.parameters, "tunnel")), "children");
    case MethodId::kOffloadPin:
      return send_result(
          host_.backend.offload_pin(text_at(call.parameters, "tunnel"), text_at(call.parameters, "child"),
                                    text_at(call.parameters, "to"), flag_at(call.parameters, "once") == Flag::kOn),
          "outcome");
    case MethodId::kDrift: return on_drift(call.parameters);
    case MethodId::kDriftAdopt: return on_drift_adopt(call.parameters);
    case MethodId::kMetrics: return on_metrics(call);
  }
}

void Session::send(const Reply& reply) {
  if (!oneway_ && !closed_) send_text(write_reply(reply));
}

void Session::send_text(std::string text) {
  if (oneway_ || closed_) return;
  if (text.size() > kReplyBytesMax || text.size() + host_.queued_bytes >= kQueuedBytesMax) {
    ++host_.counters.replies_too_large;
    text =
        write_reply(failure(Error(Reason::kLimitReached, "the reply has " + std::to_string(text.size()) + " bytes")));
    work_ = std::monostate{};  // of a stream, this was the last reply
  }
  output_.add(text);
  host_.queued_bytes += text.size() + 1;
}

void Session::send_result(Result<json> result, std::string_view name) {
  if (!result.ok()) return send(failure(result.error()));
  json parameters = json::object();
  parameters[std::string(name)] = std::move(result).value();
  send({.parameters = std::move(parameters), .error = {}});
}

void Session::give_up(std::string_view parameter) {
  oneway_ = false;
  work_ = std::monostate{};
  send(invalid_parameter(parameter));
  closing_ = true;
}

}  // namespace ipsec::agent::control
