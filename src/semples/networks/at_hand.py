"""Whether weights are on this machine, told without reading them."""

from __future__ import annotations

from pathlib import Path

from semples.core.systems import family_of
from semples.networks.hub import CONFIG, FORMS, cached, cached_weights
from semples.networks.weights import PACKAGED, SHIPPED, local_source

OTHER_FORMS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
OTHER_CONFIGS = ("open_clip_config.json",)


def hub_id(source: str) -> str | None:
    """The hub repository that a source of weights names; None where it is random, shipped, or lies on this machine.

    Raises UserError for a path that is not there.
    """
    family, colon, rest = family_of(source)
    if not source or source in ("random", PACKAGED) or (family == "scratch" and not Path(rest).exists()):
        return None
    if colon and f"{family}:" != SHIPPED and not Path(source).exists():
        return hub_id(rest)
    return source if local_source(source) is None else None


def is_cached(repo: str, *, config: bool) -> bool:
    """Whether the local cache has the weights of a hub repository, all shards; with `config` their config.json too."""
    if cached_weights(repo, (*FORMS, *OTHER_FORMS)) is None:
        return False
    return not config or any(cached(repo, name) is not None for name in (CONFIG, *OTHER_CONFIGS))
