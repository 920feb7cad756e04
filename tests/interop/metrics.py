"""The output of `ipsecctl metrics`, read by the parsers of Prometheus' own client.

metrics.py openmetrics|prometheus FILE              parses; prints how many families have samples
metrics.py value FILE NAME [LABEL=VALUE ...]        the sum of the samples of this name with these labels; "none" without any
metrics.py agrees METRICS STATUS SAS CHILDREN DEVICES    that the numbers are those of `ipsecctl --json status | list ...`
"""

import collections
import json
import sys

from prometheus_client import parser as older
from prometheus_client.openmetrics import parser as newer


def families_of(path, parse=newer.text_string_to_metric_families):
    with open(path, encoding="utf-8") as file:
        return list(parse(file.read()))


def samples_of(families):
    return [sample for family in families for sample in family.samples]


def total(samples, name, **labels):
    found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
    return sum(found) if found else None


def counted(rows, *keys):
    return collections.Counter(tuple(str(row[key]) for key in keys) for row in rows)


def agrees(metrics, status, sas, children, devices):
    """Each difference as a line."""
    samples = samples_of(families_of(metrics))
    status, sas, children, devices = (json.load(open(each, encoding="utf-8")) for each in (status, sas, children, devices))
    sas, children, devices = sas["rows"], children["rows"], devices["rows"]

    def same(what, found, wanted):
        if found != wanted:
            yield f"{what}: metrics say {found}, the lists {wanted}"

    for state, count in status["tunnels"].items():
        yield from same(f"tunnels {state}", total(samples, "ipsecd_tunnels", state=state), count)
    for mode, name in (("packet", "packet"), ("crypto", "crypto"), ("none", "software")):
        yield from same(f"SAs {name}", total(samples, "ipsecd_sas", mode=mode) or 0, status["offload"][name])
    yield from same("established IKE SAs", total(samples, "ipsecd_ike_sas"), status["ike_sas"])
    yield from same("half-open IKE SAs", total(samples, "ipsecd_ike_sas_establishing"), status["half_open"])
    yield from same("health", total(samples, "ipsecd_health", ipsecd_health=status["health"]), 1)
    yield from same("warnings", total(samples, "ipsecd_warnings"), len(status["warnings"]))
    for code, count in status["counters"].items():
        events = [each.value for each in samples if each.name.endswith("_events_total") and each.labels["reason"] == code]
        yield from same(f"events {code}", events, [count])
    refusals = {(each["netns"] or "", each["device"], each["code"]): each["count"] for each in status["offload_refusals"]}
    found = {(each.labels["netns"], each.labels["device"], each.labels["reason"]): each.value
             for each in samples if each.name == "ipsecd_offload_refusals_total" and each.value}
    yield from same("refusals", found, refusals)
    for (direction, wanted, mode), count in counted(sas, "direction", "offload_requested", "offload_effective").items():
        yield from same(f"list sas: {direction} {wanted} {mode}",
                        total(samples, "ipsecd_sas", direction=direction, wanted=wanted, mode=mode), count)
    for (direction, reason), count in counted(sas, "direction", "offload_reason").items():
        yield from same(f"list sas: {direction} {reason}",
                        total(samples, "ipsecd_sas_by_offload_reason", direction=direction, reason=reason), count)
    for (state,), count in counted(children, "state").items():
        yield from same(f"list children: {state}", total(samples, "ipsecd_child_sas", state=state), count)
    for device in devices:
        name, netns = device["name"], device["netns"] or ""
        yield from same(f"SAs on {name}", total(samples, "ipsecd_offload_device_sas", device=name, netns=netns), device["sas"])
        yield from same(f"children on {name}", total(samples, "ipsecd_offload_device_children", device=name, netns=netns),
                        device["children"])
        yield from same(f"room of {name}", total(samples, "ipsecd_offload_device_room_children", device=name, netns=netns),
                        device["room"])
        yield from same(f"state of {name}", total(samples, "ipsecd_offload_device_state", device=name, netns=netns,
                                                  ipsecd_offload_device_state=device["state"]), 1)


def main(verb, *arguments):
    if verb in ("openmetrics", "prometheus"):
        parse = (newer if verb == "openmetrics" else older).text_string_to_metric_families
        families = families_of(arguments[0], parse)
        undocumented = [each.name for each in families if not each.documentation]
        print(sum(1 for each in families if each.samples))
        return "\n".join(undocumented)
    if verb == "value":
        labels = dict(each.split("=", 1) for each in arguments[2:])
        value = total(samples_of(families_of(arguments[0])), arguments[1], **labels)
        print("none" if value is None else f"{value:g}")
        return None
    return "\n".join(agrees(*arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
