#include "fuzz_target.h"
#include "policy/config_parser.h"
#include "policy/limits.h"

// A configuration of one or two files (the bytes up to the first 0, and what follows). Either it is accepted as a whole
// or every error says where it is, and texts for people hold no bytes that a terminal would obey.

namespace {

using namespace ipsec;
using namespace ipsec::policy;

void check_printable(const std::string& text) {
  for (char each : text) VERIFY((each >= ' ' && each <= '~') || each == '\n');
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = as_text({data, size});
  std::vector<ConfigFile> files;
  files.push_back({"gw.json", std::string(text.substr(0, text.find('\0')))});
  if (const size_t at = text.find('\0'); at != std::string_view::npos)
    files.push_back({"conf.d/more.json", std::string(text.substr(at + 1))});
  const ConfigOutcome outcome = parse_config(files);
  VERIFY((outcome.config != nullptr) == outcome.errors.empty());
  VERIFY(outcome.errors.size() <= kConfigErrorsMax);
  for (const ConfigError& each : outcome.errors) check_printable(each.text());
  if (!outcome.config) return 0;
  for (const auto& [name, tunnel] : outcome.config->tunnels) {
    VERIFY(tunnel->group && !tunnel->children.empty());
    // Nobody negotiates the keys of a manual tunnel.
    VERIFY(tunnel->is_manual() || (tunnel->ike_policy && tunnel->credential && !tunnel->ike_policy->proposals.empty()));
    for (const ChildConfig& child : tunnel->children) VERIFY(child.policy && !child.policy->proposals.empty());
  }
  for (const std::string& each : outcome.config->warnings) check_printable(each);
  return 0;
}
