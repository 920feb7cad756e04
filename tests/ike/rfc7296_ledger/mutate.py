#!/usr/bin/env python3
"""Breaks the rules of RFC 7296 one at a time and wants to see a red test each time.

  mutate.py SOURCE WORK [ID...]    all rows of `mutations`, or those of some ids, on a copy of SOURCE in the folder WORK

Each row of `mutations` names a rule, a file, one line of it and what stands there instead. The copy is built with that
change, and the test cases that assert the rule (LEDGER) are run: one of them must fail.
"""
import os
import shutil
import subprocess
import sys
import time

FOLDER = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, FOLDER)
import check  # noqa: E402

PROGRAMS = {"policy_test": "tests/policy_test", "wire_test": "tests/wire_test", "crypto_test": "tests/crypto_test",
            "exchange_test": "tests/exchange_test"}
TEST_SECONDS_MAX = 120


def read_mutations():
    """(id, file, line, replacement) of each row."""
    found = []
    with open(os.path.join(FOLDER, "mutations"), encoding="utf-8") as file:
        for number, row in enumerate(file, 1):
            if not row.strip() or row.startswith("#"):
                continue
            cells = row.rstrip("\n").split("\t")
            if len(cells) != 4:
                sys.exit(f"mutations:{number}: not four cells")
            found.append(cells)
    return found


def copy_tree(source, target):
    """The files that git knows or would know. What has not changed is not touched, so that it is not built again."""
    listed = subprocess.run(["git", "-C", source, "ls-files", "-z", "-co", "--exclude-standard"], check=True,
                            capture_output=True).stdout.decode().split("\0")
    wanted = {name for name in listed if name and os.path.isfile(os.path.join(source, name))}
    for name in wanted:
        there = os.path.join(target, name)
        os.makedirs(os.path.dirname(there), exist_ok=True)
        with open(os.path.join(source, name), "rb") as file:
            content = file.read()
        if os.path.exists(there):
            with open(there, "rb") as file:
                if file.read() == content:
                    continue
        shutil.copy(os.path.join(source, name), there)
    for folder, folders, files in os.walk(target):
        folders[:] = [each for each in folders if os.path.join(folder, each) != os.path.join(target, "build")]
        for each in files:
            if os.path.relpath(os.path.join(folder, each), target) not in wanted:
                os.remove(os.path.join(folder, each))


class Copy:
    def __init__(self, source, work):
        self.tree = os.path.join(os.path.abspath(work), "tree")
        self.ledger = os.path.join(os.path.abspath(work), "ledger")
        self.build_folder = os.path.join(self.tree, "build", "dev")
        self.environment = dict(os.environ, CCACHE_BASEDIR=self.tree, CCACHE_NOHASHDIR="1")
        copy_tree(source, self.tree)
        shutil.rmtree(self.ledger, ignore_errors=True)
        os.makedirs(self.ledger)
        self.call(["cmake", "--preset", "dev"])

    def call(self, command, **more):
        done = subprocess.run(command, cwd=self.tree, env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, **more)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{done.stdout[-4000:]}")

    def build(self, programs):
        """What the compiler says when it fails, else nothing."""
        done = subprocess.run(["cmake", "--build", "--preset", "dev", "--target", *programs], cwd=self.tree,
                              env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        errors = [line for line in done.stdout.splitlines() if "error:" in line]
        return None if done.returncode == 0 else (errors or [done.stdout[-300:]])[0]

    def passes(self, program, cases=None):
        """Whether the program passes, all of it or some cases; a hang is no pass."""
        command = [os.path.join(self.build_folder, PROGRAMS[program])]
        environment = dict(self.environment)
        if cases is None:
            environment["LEDGER_FILE"] = os.path.join(self.ledger, program + ".tsv")
        else:
            command.append("--test-case=" + ",".join(case.replace(",", "?") for case in cases))
        try:
            return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                  timeout=TEST_SECONDS_MAX).returncode == 0
        except subprocess.TimeoutExpired:
            return False


def try_one(copy, asserted, mutation):
    """What came of it; None when a test was red, as it must be."""
    rule, name, line, replacement = mutation
    cases = {}
    for program, case in asserted.get(rule, ()):
        if program in PROGRAMS:
            cases.setdefault(program, set()).add(case)
    if not cases:
        return "no test asserts it"
    path = os.path.join(copy.tree, name)
    with open(path, encoding="utf-8") as file:
        original = file.read()
    lines = original.split("\n")
    places = [i for i, each in enumerate(lines) if each.strip() == line.strip()]
    if len(places) != 1:
        return f"the line occurs {len(places)} times"
    lines[places[0]] = replacement
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))
        error = copy.build(sorted(cases))
        if error:
            return f"does not compile: {error}"
        if all(copy.passes(program, sorted(names)) for program, names in sorted(cases.items())):
            return "every test passes"
        return None
    finally:
        with open(path, "w", encoding="utf-8") as file:
            file.write(original)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    source, work, only = sys.argv[1], sys.argv[2], sys.argv[3:]
    mutations = [each for each in read_mutations() if not only or each[0] in only]
    copy = Copy(source, work)
    error = copy.build(sorted(PROGRAMS))
    if error:
        sys.exit(f"the unchanged tree does not build: {error}")
    for program in sorted(PROGRAMS):
        if not copy.passes(program):
            sys.exit(f"{program} fails without any change")
    asserted = check.read_asserted(copy.ledger)
    survived = 0
    for mutation in mutations:
        started = time.monotonic()
        result = try_one(copy, asserted, mutation)
        survived += result is not None
        print(f"{'red  ' if result is None else 'FAIL '} {mutation[0]:10} {mutation[1]:40} "
              f"{time.monotonic() - started:3.0f} s  {result or ''}".rstrip(), flush=True)
    print(f"mutations: {len(mutations)} rules broken, {len(mutations) - survived} noticed, {survived} not")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
