"""The categories of MS COCO, as 80 classes in a row and as 90 under COCO's own numbers."""

from __future__ import annotations

from semples.data.classes import ClassList

# Published id: name. The ten ids without instances keep the names of COCO's first list of 91 categories.
CATEGORIES = dict(
    enumerate(
        (
            "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
            "fire hydrant", "street sign", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse",
            "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "hat", "backpack", "umbrella", "shoe",
            "eye glasses", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
            "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "plate",
            "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
            "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
            "mirror", "dining table", "window", "desk", "toilet", "door", "tv", "laptop", "mouse", "remote",
            "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "blender", "book",
            "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
        ),
        start=1,
    )
)  # fmt: skip
WITHOUT_INSTANCES = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

COCO_CLASSES = ClassList(tuple(name for number, name in CATEGORIES.items() if number not in WITHOUT_INSTANCES))
PUBLISHED_COCO_CLASSES = ClassList(tuple(CATEGORIES.values()))
