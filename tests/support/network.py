"""A model of Kubernetes' network policies, as far as our manifests use them.

A connection must be allowed on both sides: by the egress rules of the sender and the ingress rules of the receiver. A
pod that no policy selects for a direction is open in it. Fields that the model does not know are an error.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Policy = Mapping[str, Any]


@dataclass(frozen=True)
class Peer:
    """A pod of a namespace, by its labels; or an address outside the cluster."""

    labels: Mapping[str, str] = field(default_factory=dict)
    namespace: str = "bonafide"
    address: str = ""


def sends(policies: Sequence[Policy], sender: Peer, receiver: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return True if the sender may connect; addresses outside have no rules."""
    return bool(sender.address) or _open(policies, "Egress", sender, receiver, port, protocol)


def receives(policies: Sequence[Policy], sender: Peer, receiver: Peer, port: int, protocol: str = "TCP") -> bool:
    """Return True if the receiver accepts connections from the sender."""
    return bool(receiver.address) or _open(policies, "Ingress", receiver, sender, port, protocol)


def _open(policies: Sequence[Policy], way: str, mine: Peer, other: Peer, port: int, protocol: str) -> bool:
    about = [
        each["spec"]
        for each in policies
        if each["metadata"]["namespace"] == mine.namespace
        and way in each["spec"]["policyTypes"]
        and selects(each["spec"]["podSelector"], mine.labels)
    ]
    return not about or any(_rules(spec, way, mine, other, port, protocol) for spec in about)


def _rules(spec: Mapping[str, Any], way: str, mine: Peer, other: Peer, port: int, protocol: str) -> bool:
    peers = {"Egress": "to", "Ingress": "from"}[way]
    return any(
        (not rule.get("ports") or any((each["port"], each["protocol"]) == (port, protocol) for each in rule["ports"]))
        and (not rule.get(peers) or any(_is(each, mine, other) for each in rule[peers]))
        for rule in spec.get(way.lower(), [])
    )


def _is(peer: Mapping[str, Any], mine: Peer, other: Peer) -> bool:
    if set(peer) - {"ipBlock", "podSelector", "namespaceSelector"}:
        raise ValueError(f"{sorted(peer)}: not known here")
    if "ipBlock" in peer:
        if not other.address:
            return False
        address = ipaddress.ip_address(other.address)
        left_out = (ipaddress.ip_network(each) for each in peer["ipBlock"].get("except", []))
        return address in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(
            address in each for each in left_out
        )
    if other.address:
        return False
    if "namespaceSelector" in peer:
        there = selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        there = other.namespace == mine.namespace
    return there and selects(peer.get("podSelector", {}), other.labels)


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return True if a label selector matches labels; an empty selector matches all."""
    if set(selector) - {"matchLabels", "matchExpressions"}:
        raise ValueError(f"{sorted(selector)}: not known here")
    for each in selector.get("matchExpressions", []):
        if each["operator"] != "In":
            raise ValueError(f"{each['operator']}: not known here")
        if labels.get(each["key"]) not in each["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())
