"""What is to be thought of something, in plain words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Grade = Literal["good", "doubtful", "failed", "not looked at"]


@dataclass(frozen=True)
class Verdict:
    """Good, doubtful, failed or not looked at, why, and what to do about it."""

    grade: Grade
    why: str
    advice: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)
