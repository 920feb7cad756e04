#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "agent/control/descriptor.h"
#include "policy/base/log.h"

namespace ipsec::agent::service {

/// Where log lines leave the process: standard error, or the journal of the service manager by its native protocol.
/// Never waits: lines that their reader does not take yet are kept up to `kLogBytesKept`; further ones are dropped and
/// counted, and a line says so once there is room again. For one thread.
class LogWriter {
 public:
  /// What the process was started with; tests pass their own.
  struct Options {
    int fd = 2;  ///< Stays the caller's.
    /// $JOURNAL_STREAM, "DEVICE:INODE" of what the service manager made standard error; empty: none did.
    std::string journal_stream;
    std::string journal_socket = "/run/systemd/journal/socket";
  };
  explicit LogWriter(Options options);

  /// One line. `time`: RFC 3339, for outputs that note none themselves.
  void write(LogLevel level, std::string_view text, const std::vector<Field>& fields, const std::string& time);
  /// Tries again what was not taken.
  void flush();
  bool is_waiting() const { return !waiting_.empty(); }
  /// Lines dropped since the last call.
  uint64_t take_dropped();

  /// A record of the journal's native protocol: MESSAGE, PRIORITY and each field as IPSECD_NAME.
  static std::string journal_record(LogLevel level, std::string_view text, const std::vector<Field>& fields);

 private:
  enum class Output : uint8_t { kJournal, kSocket, kFile };
  void open_journal(const Options& options);
  void enqueue(std::string record);
  long put(std::string_view bytes) const;
  void tell_dropped();

  control::Descriptor own_;  // the journal's socket, or standard error once more with a mode of its own
  int fd_;
  Output output_ = Output::kFile;
  bool service_manager_reads_ = false;  // lines begin with their priority
  std::deque<std::string> waiting_;
  size_t waiting_bytes_ = 0, first_taken_ = 0;  // of the first record, this many bytes are out
  uint64_t dropped_ = 0, untold_ = 0;
};

}  // namespace ipsec::agent::service
