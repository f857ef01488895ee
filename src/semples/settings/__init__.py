"""Every setting of a run, each with its default, meaning, range and source, as frozen dataclasses; no network is known.

`semples.recipe` puts the groups together and reads recipes; import from there. `kinds` has the registries of what comes
in kinds: a kind brings settings of its own. The defaults are the values published for PASCAL VOC 2012. In sources
"SemPLeS" is arXiv 2401.11791, "WeakTr" arXiv 2304.01184, "published program" the settings its authors ran.
"""
