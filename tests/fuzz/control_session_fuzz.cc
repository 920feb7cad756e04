#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "agent/control/message.h"
#include "fuzz_target.h"
#include "policy/base/bytes.h"
#include "policy/base/verify.h"
#include "tests/agent/control_support.h"

// Whole sessions with the control socket of a daemon without tunnels. The first byte says who the client is and whether
// operations are answered at once; 0x01 in what follows: all that came before is served, and the replies are read.
// Every reply is one, no client stays behind, nothing that was given to the backend is answered twice.

namespace {

using namespace ipsec;
using namespace ipsec::agent::control;

constexpr char kServe = 1;

void fill(FakeBackend& backend) {
  for (const char* kind : {"tunnels", "groups", "sas", "children", "peers", "devices", "credentials", "routes"})
    for (int i = 0; i < 30; ++i)
      backend.rows[kind].push_back({{"name", "branch-" + std::to_string(i)}, {"tunnel", "branch-7"}, {"state", "up"}});
  backend.add_events(20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kInputMax = 1 << 16;
  if (size == 0 || size > kInputMax) return 0;
  World world;
  fill(world.backend);
  world.who = {.uid = (data[0] & 1) != 0 ? 0U : 1000U, .groups = {}};
  if ((data[0] & 2) != 0) world.who.groups = {World::kReaders};
  if ((data[0] & 4) != 0) world.backend.outcome_at_once = nlohmann::json{{"state", "up"}};
  world.backend.rows_per_part = 1 + (data[0] >> 3) % 20;
  const int client = world.connect();
  std::string_view rest = as_text({data + 1, size - 1});
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(kServe), rest.size());
    (void)world.exchange(client, rest.substr(0, end));  // every reply is JSON
    rest.remove_prefix(std::min(end + 1, rest.size()));
    world.backend.add_events(1);
    world.server->on_new_events();
    for (auto& done : std::exchange(world.backend.waiting, {})) done(nlohmann::json{{"state", "up"}});
  }
  (void)world.exchange(client, {});
  VERIFY(world.server->client_count() <= 1);
  shutdown(client, SHUT_RDWR);
  world.loop.run_until_idle();
  VERIFY(world.server->client_count() == 0);
  return 0;
}
