#!/usr/bin/env python3
"""Tunnels that try every pair of algorithms with each other, as configurations of both sides.

combinations.py FOLDER [COUNT | rest]: writes gw.json (ipsecd), swanctl.conf (strongSwan) and rows to FOLDER. A row is
NUMBER INITIATOR REKEYER FAMILY IKE ESP; the tunnel is t<NUMBER>. Its peer has the address 192.0.2.<NUMBER> or
2001:db8::<NUMBER in decimal digits>, and inside 10.2.<NUMBER>.1.

Any two settings of different kinds meet in at least one row (all-pairs), so each algorithm is tried in each role,
with and without PFS, with every other one. The algorithms are read from the one table of ipsecd: who adds one there
has it tried here. What is weak or seldom used would multiply the pairs: with `rest` each of these has one row instead.
"""
import collections
import itertools
import json
import re
import sys

FIRST = 10  # the last byte of the first peer's address


SELDOM = ("aes192gcm16", "aes192", "modp6144", "modp8192")


def algorithms():
    """The names in policy/algorithms.cc by kind, each with whether it is an AEAD and whether it is weak."""
    kinds = {"gcm": "cipher", "aead": "cipher", "aes_cbc": "cipher"}
    found = {"cipher": [], "prf": [], "integrity": [], "group": []}
    with open("policy/algorithms.cc", encoding="utf-8") as table:
        for maker, name, rest in re.findall(r'^    (gcm|aead|aes_cbc|prf|integrity|group)\([^"]*"(\w+)"(.*)\),$',
                                            table.read(), re.M):
            weak = "k" in rest if maker != "gcm" else not rest.endswith(", 16")
            found[kinds.get(maker, maker)].append((name, maker in ("gcm", "aead"), weak))
    found["cipher"] += [("3des", False, True), ("null", False, True)]
    return found


def rest_of(table):
    """One row for each algorithm that all_pairs() does not try, and some of the weak ones together."""
    def left(kind):
        return [each for each in table[kind] if each[2] or each[0] in SELDOM]

    for name, aead, _ in left("cipher"):
        suite = name if aead else f"{name}-sha256"
        yield ("aes128-sha256" if name == "null" else suite) + "-prfsha256-x25519", suite
    for name, _, _ in left("prf"):
        yield f"aes128-sha256-{name}-x25519", "aes128-sha256"
    for name, _, _ in left("integrity"):
        yield f"aes128-{name}-prfsha256-x25519", f"aes128-{name}"
    for name, _, _ in left("group"):
        yield f"aes128-sha256-prfsha256-{name}", f"aes128-sha256-{name}"
    yield "3des-sha1-prfsha1-modp1024", "3des-sha1-modp1024"
    yield "aes128-aesxcbc-prfaesxcbc-modp1536", "null-aesxcbc"


def suites(table):
    """Ciphers with all that they need: an AEAD alone, others with each integrity algorithm."""
    for cipher, aead, _ in table["cipher"]:
        yield from [cipher] if aead else [f"{cipher}-{name}" for name, _, _ in table["integrity"]]


def all_pairs(factors):
    """Few rows in which any two values of different factors meet; always the same ones. Greedy: each row starts with a
    pair that has not met yet, and every further value is the one that meets most strangers, or else has been used least."""
    kinds = range(len(factors))
    missing = {(a, x, b, y) for a, b in itertools.combinations(kinds, 2) for x in factors[a] for y in factors[b]}

    used = collections.Counter()

    def pair(a, x, b, y):
        return (a, x, b, y) if a < b else (b, y, a, x)

    while missing:
        a, x, b, y = min(missing, key=str)
        row = {a: x, b: y}
        for kind in kinds:
            if kind not in row:
                row[kind] = max(factors[kind], key=lambda value: (
                    sum(pair(kind, value, o, v) in missing for o, v in row.items()), -used[kind, value]))
        used.update(row.items())
        missing -= {pair(a, row[a], b, row[b]) for a, b in itertools.combinations(kinds, 2)}
        yield [row[kind] for kind in kinds]


def gateway(rows, weak):
    """The configuration of ipsecd."""
    document = {
        "version": 1,
        "defaults": {"allow_weak": weak},
        "tunnel_groups": {"core": {"public": {"addresses": ["192.0.2.1", "2001:db8::1"]},
                                   "private": {"netns": "customers", "vrf": "blue"}, "attachment": "interface"}},
        "credentials": {"peer": {"psk": {"file": "peer.psk"}}},
        "ike_policies": {}, "child_policies": {}, "tunnels": {}}
    for number, _, _, family, ike, esp, pfs in rows:
        name = f"t{number}"
        document["ike_policies"][name] = {"proposals": [ike]}
        document["child_policies"][name] = {"proposals": [esp], "pfs": pfs}
        document["tunnels"][name] = {
            "group": "core", "remote": remote(number, family), "local_id": "gw.example", "remote_id": f"{name}.example",
            "credential": "peer", "ike_policy": name,
            "children": {"lan": {"local": ["10.1.0.0/24"], "remote": [f"10.2.{number}.0/24"], "policy": name}}}
    return json.dumps(document, indent=1)


def remote(number, family):
    return f"192.0.2.{number}" if family == "IPv4" else f"2001:db8::{number}"


def peer(rows):
    """The configuration of strongSwan."""
    text = "connections {\n"
    for number, _, _, family, ike, esp, _ in rows:
        text += (f" t{number} {{ version = 2\n  mobike = no\n  local_addrs = {remote(number, family)}\n"
                 f"  remote_addrs = {'192.0.2.1' if family == 'IPv4' else '2001:db8::1'}\n  proposals = {ike}\n"
                 f"  local {{ auth = psk\n   id = t{number}.example }}\n  remote {{ auth = psk\n   id = gw.example }}\n"
                 f"  children {{ t{number} {{ local_ts = 10.2.{number}.0/24\n   remote_ts = 10.1.0.0/24\n   esp_proposals = {esp} }} }} }}\n")
    return text + '}\nsecrets { ike-1 { secret = "a secret that both sides share" } }\n'


def main():
    folder, what = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    table = algorithms()
    weak = [name for rows in table.values() for name, _, is_weak in rows if is_weak] if what == "rest" else []
    rows = []
    if what == "rest":
        roles = itertools.cycle((("ours", "theirs", "IPv4"), ("theirs", "ours", "IPv6")))
        for (ike, esp), (initiator, rekeyer, family) in zip(rest_of(table), roles):
            rows.append((FIRST + len(rows), initiator, rekeyer, family, ike, f"{esp}-noesn", "modp" in esp))
    else:
        table = {kind: [each for each in rows if not each[2] and each[0] not in SELDOM] for kind, rows in table.items()}
        groups = [name for name, _, _ in table["group"]]
        ciphers = list(suites(table))
        factors = [ciphers, [name for name, _, _ in table["prf"]], groups, ciphers, ["noesn", "esn"], ["", *groups],
                   ["ours", "theirs"], ["ours", "theirs"], ["IPv4", "IPv6"]]
        most = int(what) if what else None
        for ike, prf, group, esp, esn, pfs, initiator, rekeyer, family in itertools.islice(all_pairs(factors), most):
            rows.append((FIRST + len(rows), initiator, rekeyer, family, f"{ike}-{prf}-{group}",
                         "-".join(filter(None, (esp, pfs, esn))), bool(pfs)))
    for name, text in (("gw.json", gateway(rows, weak)), ("swanctl.conf", peer(rows)),
                       ("rows", "".join(" ".join(map(str, row[:-1])) + "\n" for row in rows))):
        with open(f"{folder}/{name}", "w", encoding="utf-8") as out:
            out.write(text)


if __name__ == "__main__":
    main()
