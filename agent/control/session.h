#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent/control/access.h"
#include "agent/control/backend.h"
#include "agent/control/descriptor.h"
#include "agent/control/frames.h"
#include "agent/control/message.h"
#include "agent/control/methods.h"
#include "agent/control/server_counters.h"
#include "policy/base/time.h"

namespace ipsec::agent::control {

/// What all sessions of a server share.
struct SessionHost {
  Backend& backend;
  std::string version;
  ServerCounters counters;
  size_t clients = 0;       ///< Connected now.
  size_t queued_bytes = 0;  ///< Of all sessions.
  /// Makes the callback that `Backend::up` and `down` take; it may come when the session is gone.
  std::function<Backend::Done(uint64_t session)> make_done;
  /// The same for a reply that is text already.
  std::function<std::function<void(std::string)>(uint64_t session)> make_reply;
  /// The monotonic clock.
  std::function<Instant()> now;
};

/// One client: its calls are answered in the order in which they came, one at a time. Never blocks: replies wait in a
/// bounded queue, long ones are made as fast as the client takes them.
class Session {
 public:
  Session(uint64_t id, Descriptor socket, Access access, SessionHost& host);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  int fd() const { return socket_.get(); }
  Access access() const { return access_; }
  /// The socket is readable or writable.
  void on_ready();
  /// Whether it follows events: then it is to have its turn when there are new ones.
  bool wants_events() const { return std::holds_alternative<MonitorStream>(work_); }
  /// The outcome of the operation that was waited for.
  void complete(Result<nlohmann::json> outcome);
  /// The same with the reply as text.
  void complete_reply(std::string reply);
  /// Says that there are too many clients and ends.
  void refuse();

  /// Nothing more to do: to be destroyed, unless it is in the middle of a call.
  bool finished() const { return closed_ && !advancing_; }
  bool wants_write() const { return !closed_ && output_.size() > 0; }
  /// Its turn was over before its work was.
  bool is_runnable() const { return !closed_ && runnable_; }

 private:
  struct Operation {                    ///< What the backend answers later.
    std::string_view name = "outcome";  ///< Of the answer in the reply; empty: it is the reply.
  };
  /// Rows of a list, or members of an object, made and written a few at a time: the text of a long reply is never
  /// made in one go.
  struct RowStream {
    std::unique_ptr<RowSource> rows;
    std::map<std::string, std::string> filter;
    Flag more = Flag::kOff;
    std::string open, open_next, close;  ///< Around the rows in the parameters: of the first reply, of all others.
    Flag members = Flag::kOff;           ///< Rows are pairs of a name and a value.
    std::string ready;                   ///< Rows that were written and not sent.
    size_t count = 0;                    ///< Of these; without `more`, all.
    Flag ended = Flag::kOff;
  };
  /// An answer that is being made.
  struct WorkStream {
    Work work;
    std::string_view name;   ///< Of the answer in the reply.
    Flag text = Flag::kOff;  ///< It is a text, to be sent in parts.
    Flag more = Flag::kOff;
  };
  struct TextStream {
    std::string text;
    size_t at = 0;  ///< Next byte.
    Flag more = Flag::kOff;
  };
  struct MonitorStream {
    uint64_t next = 1;
    uint64_t end = 0;  ///< Where it stops, when not following.
    Flag follow = Flag::kOff;
    Flag more = Flag::kOff;
    Flag begun = Flag::kOff;
  };

  void read_input();
  void flush();
  void advance();
  enum class Progress : uint8_t { kNone, kSome };
  Progress step();
  void handle(const std::string& message);
  void dispatch(const Method& method, const Call& call);
  void send(const Reply& reply);
  void send_text(std::string text);
  void send_result(Result<nlohmann::json> result, std::string_view name);
  void give_up(std::string_view parameter);

  // session_methods.cc
  void on_info();
  void on_description(const nlohmann::json& parameters);
  void on_list(const Call& call);
  void on_show(const nlohmann::json& parameters);
  void on_operation(MethodId method, const nlohmann::json& parameters);
  void on_monitor(const Call& call);
  void on_config_check(const nlohmann::json& parameters);
  void on_drift(const nlohmann::json& parameters);
  void on_drift_adopt(const nlohmann::json& parameters);
  void on_config_apply(Backend::ApplyMode mode);
  void on_explain(const nlohmann::json& parameters);
  void on_metrics(const Call& call);
  void pump_text(TextStream& stream);
  void on_config_effective(const Call& call);
  void take_apart_aside(std::string message);
  void pump_rows(RowStream& stream);
  void send_rows(RowStream& stream, Flag continues);
  void pump_work(WorkStream& stream);
  Progress pump_monitor(MonitorStream& stream);

  uint64_t id_;
  Descriptor socket_;
  Access access_;
  SessionHost& host_;
  FrameReader input_;
  FrameWriter output_;
  std::variant<std::monostate, Operation, RowStream, WorkStream, MonitorStream, TextStream> work_;
  bool oneway_ = false;     ///< The present call wants no reply.
  bool closing_ = false;    ///< Ends when its output is written.
  bool closed_ = false;     ///< Ended.
  bool advancing_ = false;  ///< Inside advance(): the backend may call back into us.
  bool runnable_ = false;   ///< Its turn was over before its work was.
};

}  // namespace ipsec::agent::control
