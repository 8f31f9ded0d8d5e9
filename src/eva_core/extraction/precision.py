"""Precision of the forward pass: what a result says is what was computed."""

from collections.abc import Callable
from dataclasses import replace

import yaml

from eva_core.contracts.cards import ModelCard
from eva_core.contracts.protocol import Protocol
from eva_core.extraction.launching import on_cpu


def settled(
    protocol: Protocol, card: ModelCard, device: str, there: Callable[[Protocol], bool], tell: Callable[[str], None]
) -> Protocol:
    """A protocol whose precision the device computes in reasonable time.

    Processors have no arithmetic of fp16: torch takes 5 to 30 times as long as for fp32. Where the protocol leaves the
    precision to a card, and that says fp16, a CPU computes in fp32 instead, and the protocol is then another one, which
    its title says. Who asks for fp16 by name gets it.

    Args:
        protocol: What was asked for.
        card: Card of the model.
        device: `auto`, `cpu`, `cuda` or `mps`.
        there: Whether nothing needs to be computed under a protocol, as the cache holds it.
        tell: Receives lines for the user.
    """
    by_card = protocol.precision == "card" and card.precision == "fp16"
    if not by_card or not on_cpu(device) or there(protocol):
        return protocol
    tell(
        f"{card.name} is made for fp16, which takes a CPU 5 to 30 times as long as fp32: computing in fp32, and the "
        "protocol says so. --precision fp16 computes in fp16 all the same."
    )
    return replace(protocol, precision="fp32")


def in_config(config: str, protocol: Protocol) -> str:
    """A resolved configuration with the precision of a protocol."""
    content = yaml.safe_load(config)
    content["protocol"]["precision"] = protocol.precision
    return yaml.safe_dump(content, sort_keys=False)
