"""Every setting of a run, each with its default, meaning, range and source, as frozen dataclasses.

A group of a recipe, and the module that has it:

    data                                          settings/data.py
    generator, clip, prompts                      settings/models.py
    warmup, matching, prompting, refinement, run  settings/training.py
    cams                                          settings/cams.py
    labels, crf, regions, selection, scores       settings/labels.py
    segmenter                                     settings/segmenter.py

`semples.recipe` puts them together and reads recipes; import from there. The defaults are the values published for
PASCAL VOC 2012. In sources "SemPLeS" is arXiv 2401.11791, "WeakTr" arXiv 2304.01184, "published program" the settings
its authors ran.
"""
