"""The key of an entry: a hash over all that its content depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import JsonValue


@dataclass(frozen=True)
class Key:
    """``kind`` is the step's name, ``digest`` the hexadecimal SHA-256 of what the step works on.

    ``places`` are the folders of the samples. They are no part of the content: a dataset that was moved finds its
    entries again, but for those whose text names a place (a skipped sample's reason, say).
    """

    kind: str
    digest: str
    places: tuple[str, ...] = ()

    @property
    def placed(self) -> Key:
        """The key of the same content where the place counts too."""
        return replace(self, digest=digest_of({"digest": self.digest, "places": list(self.places)}))

    def named_in(self, text: str) -> bool:
        """Whether a JSON text names one of the places."""
        return any(json.dumps(place, ensure_ascii=False)[1:-1] in text for place in self.places)


def digest_of(parts: Mapping[str, JsonValue]) -> str:
    """SHA-256 of the parts as JSON in one fixed form (keys sorted)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
