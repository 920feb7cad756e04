// sim_test [--seed=N]: with a seed, that one run, told step by step.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdlib>
#include <string_view>

int main(int argc, char** argv) {
  doctest::Context context(argc, argv);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with("--seed=")) continue;
    setenv("SIM_SEED", argument.substr(7).data(), 1);
    context.addFilter("test-case", "*invariants hold");
  }
  return context.run();
}
