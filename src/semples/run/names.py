"""Names of steps and of the files in their folders that others look for."""

from __future__ import annotations

from semples.recipe import Recipe
from semples.settings.judges import NO_JUDGE

TRAINED = ("warmup", "matching", "prompting", "refinement")  # the stages in their order
LAST = "refinement"  # the stage whose CAMs become label maps
FIRST = "warmup"  # the stage that needs no judge
LEARNED = "prompting"  # the stage that learns backgrounds
CAM_STAGES = tuple(stage for stage in TRAINED if stage != LEARNED)  # those that leave a generator
JUDGE = "judge"  # the step of a judge that learns from the tags
RUN, RECIPE = "run.json", "recipe.yaml"  # what a run's folder says of it
SELECTION, SELECTION_FILE = "selection", "selection.json"
CURVE, CURVE_FILE = "curve", "curve.json"
BEFORE = "before"  # folder in a step's with the weights that an update goes on from
HEALTH, RECORD = "health", "health.json"  # verdict and figures of a stage
BY_CORRECTIONS, BY_CORRECTIONS_FILE = "corrected", "corrected.json"  # the threshold that corrected photos choose
SEGMENTER, MODEL = "segmenter", "model"  # the finished segmenter is a folder in its step's


def last_stage(recipe: Recipe) -> str:
    """The stage whose generator makes the CAMs of a run by this recipe: without a judge there is only the first."""
    return FIRST if recipe.judge.kind == NO_JUDGE else LAST


def cams_name(stage: str = LAST) -> str:
    """Name of the step (and folder) with the CAMs of a stage's generator."""
    return "cams" if stage == LAST else f"cams-{stage}"


def curve_name(stage: str = LAST) -> str:
    """Name of the step (and folder) with the threshold curve of a stage's CAMs."""
    return CURVE if stage == LAST else f"{CURVE}-{stage}"


def health_name(of: str) -> str:
    """Name of the step (and folder) that looks after a stage or another step."""
    return f"{HEALTH}-{of}"


BANK = "bank.safetensors"  # what label maps by a region bank have learned, beside them
