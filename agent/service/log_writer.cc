#include "agent/service/log_writer.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <utility>

#include "agent/control/socket_address.h"
#include "agent/service/limits.h"

namespace ipsec::agent::service {
namespace {

std::string stream_of(const struct stat& status) {
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
}

/// Names of the journal are capitals, digits and underscores.
std::string journal_name(const std::string& name) {
  std::string known = "IPSECD_";
  for (const char each : name) {
    const auto byte = static_cast<unsigned char>(each);
    known.push_back(std::isalnum(byte) != 0 && byte < 128 ? static_cast<char>(std::toupper(byte)) : '_');
  }
  return known;
}

/// A value with line feeds goes by its length: 64 bits, the lowest byte first.
void append_field(std::string& record, const std::string& name, std::string_view value) {
  record.append(name);
  if (value.find('\n') == std::string_view::npos) {
    record.append("=").append(value).append("\n");
    return;
  }
  record.append("\n");
  for (uint64_t size = value.size(), i = 0; i < 8; ++i, size >>= 8) record.push_back(static_cast<char>(size & 0xff));
  record.append(value).append("\n");
}

}  // namespace

LogWriter::LogWriter(Options options) : fd_(options.fd) {
  struct stat status {};
  if (fstat(options.fd, &status) != 0) return;
  service_manager_reads_ = !options.journal_stream.empty();
  if (options.journal_stream == stream_of(status)) open_journal(options);
  if (output_ == Output::kJournal) return;
  if (S_ISSOCK(status.st_mode)) {
    output_ = Output::kSocket;
  } else if (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) {
    // O_NONBLOCK belongs to the open file, which others have too: so it is opened once more, for us alone.
    const std::string path = "/proc/self/fd/" + std::to_string(options.fd);
    own_ = control::Descriptor(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (own_) fd_ = own_.get();
  }
}

void LogWriter::open_journal(const Options& options) {
  const auto address = control::socket_address(options.journal_socket);
  control::Descriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!address.ok() || !fd || control::connect_unix(fd.get(), *address) != 0) return;
  own_ = std::move(fd);
  fd_ = own_.get();
  output_ = Output::kJournal;
}

std::string LogWriter::journal_record(LogLevel level, std::string_view text, const std::vector<Field>& fields) {
  std::string record;
  append_field(record, "MESSAGE", format_line(text, fields));
  append_field(record, "PRIORITY", std::to_string(static_cast<int>(level)));
  append_field(record, "SYSLOG_IDENTIFIER", "ipsecd");
  for (const Field& each : fields)
    append_field(record, journal_name(each.name), std::string_view(each.value).substr(0, kLogFieldBytesMax));
  return record;
}

void LogWriter::write(LogLevel level, std::string_view text, const std::vector<Field>& fields,
                      const std::string& time) {
  flush();
  if (output_ == Output::kJournal) return enqueue(journal_record(level, text, fields));
  const std::string begin =
      service_manager_reads_ ? "<" + std::to_string(static_cast<int>(level)) + ">" : time + std::string(" ");
  enqueue(begin + format_line(text, fields) + "\n");
}

void LogWriter::enqueue(std::string record) {
  if (waiting_bytes_ + record.size() > kLogBytesKept) {
    ++dropped_, ++untold_;
    return;
  }
  waiting_bytes_ += record.size();
  waiting_.push_back(std::move(record));
  flush();
}

/// As write(2): how many bytes were taken, or -1.
long LogWriter::put(std::string_view bytes) const {
  if (output_ != Output::kFile) return send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  // Where the file could not be opened once more: at least no write into what is full now.
  pollfd ready{.fd = fd_, .events = POLLOUT, .revents = 0};
  if (!own_ && poll(&ready, 1, 0) == 0) {
    errno = EAGAIN;
    return -1;
  }
  return ::write(fd_, bytes.data(), bytes.size());
}

void LogWriter::flush() {
  while (!waiting_.empty()) {
    const std::string_view rest = std::string_view(waiting_.front()).substr(first_taken_);
    const long taken = put(rest);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0 && (errno == EAGAIN || errno == ENOBUFS)) return;
    if (taken < 0) ++dropped_, ++untold_;  // nobody is there any more, or there is no space
    if (taken >= 0 && static_cast<size_t>(taken) < rest.size()) {
      first_taken_ += static_cast<size_t>(taken);
      continue;
    }
    waiting_bytes_ -= waiting_.front().size();
    first_taken_ = 0;
    waiting_.pop_front();
  }
  tell_dropped();
}

/// Directly behind the lines that were kept, where the others are missing.
void LogWriter::tell_dropped() {
  if (untold_ == 0) return;
  const std::vector<Field> fields = {field("count", untold_)};
  constexpr std::string_view kText = "log lines were dropped, because their reader did not keep up";
  const std::string record = output_ == Output::kJournal
                                 ? journal_record(LogLevel::kWarning, kText, fields)
                                 : (service_manager_reads_ ? "<4>" : "") + format_line(kText, fields) + "\n";
  if (put(record) > 0) untold_ = 0;
}

uint64_t LogWriter::take_dropped() { return std::exchange(dropped_, 0); }

}  // namespace ipsec::agent::service
