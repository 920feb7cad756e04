#include <algorithm>
#include <limits>

#include "agent/control/event_json.h"
#include "agent/control/interface_text.h"
#include "agent/control/limits.h"
#include "agent/control/session.h"

namespace ipsec::agent::control {

using nlohmann::json;

void Session::on_info() {
  send({.parameters = {{"vendor", "ipsecd"},
                       {"product", "ipsecd"},
                       {"version", host_.version},
                       {"url", ""},
                       {"interfaces", {kServiceInterface, kInterface}}},
        .error = {}});
}

void Session::on_description(const json& parameters) {
  const std::string interface = text_at(parameters, "interface");
  if (interface != kInterface && interface != kServiceInterface) return send(interface_not_found(interface));
  send({.parameters = {{"description", interface == kInterface ? control_interface() : service_interface()}},
        .error = {}});
}

namespace {

Error unknown_kind(const std::string& found) {
  std::string all;
  std::vector<std::string_view> names;
  for (const Kind& kind : kinds()) {
    all.append(all.empty() ? "" : ", ").append(kind.plural);
    names.push_back(kind.plural);
  }
  const std::string near = nearest(found, names);
  const std::string hint = near.empty() ? "" : "; did you mean \"" + near + "\"?";
  return Error(Reason::kNotFound, "there is no kind of object \"" + found + "\" (" + all + ")" + hint);
}

/// "*" and "?" as in a shell. Takes at most the product of both lengths: fnmatch(3) can take exponential time, and the
/// pattern comes from any reader.
bool glob_matches(std::string_view pattern, std::string_view text) {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;  // the last one met
  size_t resume = 0;                     // where the text goes on if that star takes one character more
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool matches(const json& row, const std::map<std::string, std::string>& filter) {
  return std::all_of(filter.begin(), filter.end(), [&row](const auto& wanted) {
    const json& value = member_at(row, wanted.first);
    if (value.is_null()) return false;
    const std::string text = value.is_string() ? value.get<std::string>() : to_text(value);
    return glob_matches(wanted.second, text);
  });
}

}  // namespace

void Session::on_list(const Call& call) {
  const std::string name = text_at(call.parameters, "kind");
  const Kind* kind = find_kind(name);
  if (kind == nullptr) return send(failure(unknown_kind(name)));
  auto rows = host_.backend.list(kind->plural);
  if (!rows.ok()) return send(failure(rows.error()));
  RowStream stream{.rows = std::move(rows).value(), .more = call.more, .open = "{\"rows\":[", .close = "]}"};
  stream.open_next = stream.open;
  for (const auto& [key, value] : member_at(call.parameters, "filter").items())
    stream.filter[key] = value.get<std::string>();
  if (call.oneway == Flag::kOff) work_ = std::move(stream);
}

void Session::on_config_effective(const Call& call) {
  Backend::Effective effective = host_.backend.config_effective();
  // The tunnels come last, where the rest of the object is open.
  std::string common = to_text(effective.common);
  common.pop_back();
  const std::string_view comma = effective.common.empty() ? "" : ",";
  if (call.oneway == Flag::kOff)
    work_ = RowStream{.rows = std::move(effective.tunnels),
                      .more = call.more,
                      .open = std::string("{\"config\":").append(common).append(comma).append("\"tunnels\":{"),
                      .open_next = "{\"config\":{\"tunnels\":{",
                      .close = "}}}",
                      .members = Flag::kOn};
}

namespace {

void append_row(std::string& text, const json& row, Flag as_member) {
  if (!text.empty()) text.push_back(',');
  if (as_member == Flag::kOff)
    text.append(to_text(row));
  else if (row.is_array() && row.size() == 2)
    text.append(to_text(row[0])).append(":").append(to_text(row[1]));
}

}  // namespace

void Session::pump_rows(RowStream& stream) {
  std::vector<json> rows;
  if (stream.rows->next(rows) == RowSource::More::kNo) stream.ended = Flag::kOn;
  for (const json& row : rows) {
    if (!matches(row, stream.filter)) continue;
    if (stream.more == Flag::kOn && stream.count == kRowsPerReply) {
      send_rows(stream, Flag::kOn);
      if (!std::holds_alternative<RowStream>(work_)) return;  // it was the last reply
    }
    append_row(stream.ready, row, stream.members);
    ++stream.count;
  }
  if (stream.more == Flag::kOff && stream.count > kRowsMaxUnstreamed) {
    work_ = std::monostate{};
    return send({.parameters = {{"limit", kRowsMaxUnstreamed}}, .error = std::string(kInterface) + ".TooManyRows"});
  }
  if (stream.ended == Flag::kOn) send_rows(stream, Flag::kOff);
}

/// May end the stream, which is gone then.
void Session::send_rows(RowStream& stream, Flag continues) {
  std::string text = continues == Flag::kOn ? "{\"continues\":true,\"parameters\":" : "{\"parameters\":";
  text.append(stream.open).append(stream.ready).append(stream.close).append("}");
  stream.open = stream.open_next;
  stream.ready.clear();
  stream.count = 0;
  if (continues == Flag::kOff) work_ = std::monostate{};
  send_text(std::move(text));
}

void Session::pump_work(WorkStream& stream) {
  auto answer = stream.work();
  if (!answer) return;
  const WorkStream done = std::move(stream);
  work_ = std::monostate{};
  if (done.text == Flag::kOff || !answer->ok()) return send_result(std::move(*answer), done.name);
  const json& text = answer->value();
  if (text.is_string() && !oneway_) work_ = TextStream{.text = text.get<std::string>(), .at = 0, .more = done.more};
}

void Session::on_show(const json& parameters) {
  const std::string name = text_at(parameters, "kind");
  const Kind* kind = find_kind(name);
  if (kind == nullptr) return send(failure(unknown_kind(name)));
  work_ = WorkStream{.work = host_.backend.show(kind->plural, text_at(parameters, "name")), .name = "item"};
}

void Session::on_operation(MethodId method, const json& parameters) {
  const std::string tunnel = text_at(parameters, "tunnel");
  const std::string child = text_at(parameters, "child");
  // Set before the call: the outcome may be known at once.
  work_ = Operation{};
  if (method == MethodId::kUp)
    host_.backend.up(tunnel, child, host_.make_done(id_));
  else if (method == MethodId::kRekey)
    host_.backend.rekey(
        tunnel, child,
        flag_at(parameters, "ike") == Flag::kOn ? Backend::RekeyTarget::kIke : Backend::RekeyTarget::kChildren,
        host_.make_done(id_));
  else
    host_.backend.down(tunnel, child, host_.make_done(id_));
}

void Session::on_monitor(const Call& call) {
  const Flag follow = flag_at(call.parameters, "follow");
  if (follow == Flag::kOn && call.more == Flag::kOff)
    return send({.parameters = json::object(), .error = std::string(kServiceInterface) + ".ExpectedMore"});
  const uint64_t end = host_.backend.events(std::numeric_limits<uint64_t>::max(), 0).next;
  MonitorStream stream{.next = 1, .end = end, .follow = follow, .more = call.more};
  const json& from = member_at(call.parameters, "from");
  if (from.is_null()) {
    stream.next = follow == Flag::kOn ? end : 1;
  } else if (number_at(call.parameters, "from") >= 0) {
    stream.next = std::min(static_cast<uint64_t>(number_at(call.parameters, "from")), end);
  } else {
    // Negated as unsigned: the smallest number has no positive counterpart.
    const uint64_t count = ~static_cast<uint64_t>(number_at(call.parameters, "from")) + 1;
    stream.next = end - std::min(count, end - 1);
    // What is no longer kept was not asked for by number.
    const auto oldest = host_.backend.events(1, 0).next;
    stream.next = std::max(stream.next, oldest);
  }
  if (call.oneway == Flag::kOff) work_ = stream;
}

Session::Progress Session::pump_monitor(MonitorStream& stream) {
  const auto page = host_.backend.events(stream.next, kEventsPerReply);
  const bool follow = stream.follow == Flag::kOn;
  // The first reply is sent even if it is empty: it tells the client that it will not miss anything from now on.
  if (follow && page.events.empty() && page.lost == 0 && stream.begun == Flag::kOn) return Progress::kNone;
  const bool last = !follow && (page.events.empty() || page.next >= stream.end || stream.more == Flag::kOff);
  Reply reply;
  reply.continues = last ? Flag::kOff : Flag::kOn;
  json events = json::array();
  for (const Event& event : page.events) events.push_back(event_json(event));
  reply.parameters = {{"events", std::move(events)}, {"lost", page.lost}, {"next", page.next}};
  stream.next = page.next;
  stream.begun = Flag::kOn;
  if (last) work_ = std::monostate{};
  send(reply);  // may end the stream
  return Progress::kSome;
}

namespace {

/// The whole reply, as a text.
std::string reply_of(Result<json> result, std::string_view name) {
  if (!result.ok()) return write_reply(failure(result.error()));
  json parameters = json::object();
  parameters[std::string(name)] = std::move(result).value();
  return write_reply({.parameters = std::move(parameters), .error = {}});
}

/// What a reply to ConfigCheck says. On a thread of its own.
std::string checked(const Backend& backend, const json& parameters) {
  std::vector<Backend::NamedText> files;
  for (const json& file : member_at(parameters, "files"))
    files.push_back({.name = text_at(file, "name"), .text = text_at(file, "text")});
  json outcome = backend.config_check(files);
  return write_reply({.parameters = outcome.is_object() ? std::move(outcome) : json::object(), .error = {}});
}

/// The reply to a call that is too large to be taken apart on the main thread: only documents may be so large.
std::string answer_large(const Backend& backend, Access access, const std::string& message) {
  const auto call = parse_call(message);
  if (!call.ok()) return write_reply(invalid_parameter(call.error().text()));
  const Method* method = find_method(call->method);
  if (method == nullptr || method->id != MethodId::kConfigCheck)
    return write_reply(failure(Error(Reason::kControlLimit, "a call of " + std::to_string(message.size()) +
                                                                " bytes; only ConfigCheck takes more than " +
                                                                std::to_string(kInlineBytesMax))));
  if (access < method->needed) return write_reply(permission_denied(call->method, "root or the group ipsecd"));
  if (const auto bad = first_bad_parameter(*method, call->parameters)) return write_reply(invalid_parameter(*bad));
  return call->oneway == Flag::kOn ? std::string() : checked(backend, call->parameters);
}

}  // namespace

void Session::on_config_check(const json& parameters) {
  work_ = Operation{.name = {}};
  const auto reply = std::make_shared<std::string>();
  host_.backend.aside([reply, parameters, &backend = host_.backend] { *reply = checked(backend, parameters); },
                      [reply, done = host_.make_reply(id_)] { done(std::move(*reply)); });
}

void Session::take_apart_aside(std::string message) {
  ++host_.counters.calls;
  oneway_ = false;
  work_ = Operation{.name = {}};
  const auto reply = std::make_shared<std::string>();
  const auto call = std::make_shared<const std::string>(std::move(message));
  host_.backend.aside(
      [reply, call, access = access_, &backend = host_.backend] { *reply = answer_large(backend, access, *call); },
      [reply, done = host_.make_reply(id_)] { done(std::move(*reply)); });
}

void Session::on_drift(const json& parameters) {
  const json& netns = member_at(parameters, "netns");
  work_ = Operation{.name = {}};
  auto answer = [&backend = host_.backend, done = host_.make_reply(id_)](Backend::Maker make) {
    const auto reply = std::make_shared<std::string>();
    backend.aside(
        [reply, make = std::move(make)]() mutable {
          *reply = reply_of(make(), "namespaces");
          make = nullptr;  // what it holds ends here
        },
        [reply, done] { done(std::move(*reply)); });
  };
  // "" names the daemon's own namespace; only without it all of them are meant.
  host_.backend.drift(netns.is_null() ? std::nullopt : std::optional(netns.get<std::string>()), std::move(answer));
}

void Session::on_drift_adopt(const json& parameters) {
  const json& netns = member_at(parameters, "netns");
  work_ = WorkStream{
      .work = host_.backend.drift_adopt(netns.is_null() ? std::nullopt : std::optional(netns.get<std::string>())),
      .name = "outcome"};
}

void Session::on_config_apply(Backend::ApplyMode mode) {
  work_ = Operation{.name = {}};
  host_.backend.config_apply(mode, host_.make_done(id_));
}

void Session::on_metrics(const Call& call) {
  work_ = WorkStream{.work = host_.backend.metrics(text_at(call.parameters, "format"), host_.counters, host_.clients),
                     .name = "text",
                     .text = Flag::kOn,
                     .more = call.more};
}

/// Lines stay whole, so that each reply can be printed as it is.
void Session::pump_text(TextStream& stream) {
  const std::string_view rest = std::string_view(stream.text).substr(stream.at);
  size_t bytes = rest.size();
  if (stream.more == Flag::kOn && bytes > kTextBytesPerReply) {
    const size_t end = rest.rfind('\n', kTextBytesPerReply - 1);
    bytes = end == std::string_view::npos ? kTextBytesPerReply : end + 1;
  }
  const bool last = bytes == rest.size();
  const Reply reply{
      .parameters = {{"text", rest.substr(0, bytes)}}, .error = {}, .continues = last ? Flag::kOff : Flag::kOn};
  stream.at += bytes;
  if (last) work_ = std::monostate{};
  send(reply);  // may end the stream
}

void Session::on_explain(const json& parameters) {
  const std::string code = text_at(parameters, "code");
  auto explained = explain_json(code);
  if (!explained.ok()) return send(failure(explained.error()));
  send({.parameters = std::move(explained).value(), .error = {}});
}

}  // namespace ipsec::agent::control
