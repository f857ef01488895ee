"""The training stages of SemPLeS: what each trains and which loss it minimises, nothing else; no file is read here."""

from semples.evaluation.verdict import Verdict
from semples.stages.base import Stage
from semples.stages.matching import Matching
from semples.stages.prompting import Prompting
from semples.stages.refinement import Refinement
from semples.stages.warmup import Warmup

__all__ = ["Matching", "Prompting", "Refinement", "Stage", "Verdict", "Warmup"]
