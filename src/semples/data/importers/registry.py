"""The formats of annotations by name."""

from __future__ import annotations

from semples.core.registry import Registry
from semples.data.importers.base import Importer

_HERE = "semples.data.importers"

# Asked in this order; the first that recognises the files reads them.
IMPORTERS: Registry[type[Importer]] = Registry(
    kind="format",
    group="semples.importers",
    shipped={
        "panoptic": f"{_HERE}.panoptic:Panoptic",
        "coco": f"{_HERE}.coco:Coco",
        "label-studio": f"{_HERE}.label_studio:LabelStudio",
        "supervisely": f"{_HERE}.supervisely:Supervisely",
        "labelme": f"{_HERE}.labelme:LabelMe",
        "via": f"{_HERE}.via:Via",
        "darwin": f"{_HERE}.darwin:Darwin",
        "createml": f"{_HERE}.createml:CreateMl",
        "cvat": f"{_HERE}.cvat_xml:CvatXml",
        "voc": f"{_HERE}.voc_xml:VocXml",
        "yolo": f"{_HERE}.yolo:Yolo",
        "automl": f"{_HERE}.automl:AutoMl",
        "huggingface": f"{_HERE}.hf_folder:HfFolder",
        "csv": f"{_HERE}.tables:Tables",
        "masks": f"{_HERE}.class_masks:ClassMasks",
        "folders": f"{_HERE}.folders:Folders",
    },
    base=Importer,
)
