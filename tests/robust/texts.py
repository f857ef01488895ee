"""Hostile texts: tags files, recipes, settings, JSON of wrong shapes."""

from __future__ import annotations

import json

DEEP = "[" * 100_000
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)
ENDLESS = "9" * 5000
ESC = "\x1b[31m\x07\x9b\u202e"

_ROWS = "image,tags\na.png,{}\nb.png,square\nc.png,disc\n"
_GOOD = {"b.png": ["square"], "c.png": ["disc"]}

TAGS = {
    "ESC and BEL in CSV": ("tags.csv", _ROWS.format(f'"{ESC}"')),
    "a newline in a quoted cell": ("tags.csv", _ROWS.format('"disc\nsemples: all is well"')),
    "bidi marks": ("tags.csv", _ROWS.format("\u202edisc\u202c")),
    "a line separator": ("tags.csv", _ROWS.format("disc\u2028square")),
    "ESC in JSON": ("tags.json", json.dumps({"a.png": [f"disc{ESC}"], **_GOOD})),
    "a lone surrogate in JSON": ("tags.json", '{"a.png": ["\\ud800disc"], "b.png": ["square"], "c.png": ["disc"]}'),
    "a lone surrogate in a photo's name": ("tags.json", '{"\\udcff.png": ["disc"], "b.png": ["square"]}'),
    "ESC in a photo's name": ("tags.json", json.dumps({f"{ESC}.png": ["disc"], **_GOOD})),
    "ESC in a column's name": ("tags.csv", f"image,{ESC}disc,square\na.png,1,0\nb.png,0,1\n"),
    "markup": ("tags.csv", _ROWS.format("[red]disc[/red]")),
    "HTML": ("tags.csv", _ROWS.format("<b>disc</b><script>alert(1)</script>")),
    "a formula": ("tags.csv", _ROWS.format("=cmd|' /C calc'!A0")),
    "a megabyte": ("tags.csv", _ROWS.format("x" * 1_000_000)),
    "300 classes": ("tags.csv", _ROWS.format(";".join(f"c{number}" for number in range(300)))),
    "deep JSON": ("tags.json", '{"a.png": ' + DEEP),
    "an endless number": ("tags.json", '{"a.png": [' + ENDLESS + "]}"),
    "wrong shapes": ("tags.json", '[1, null, {"image": 3}, {"image": "a.png", "tags": {"x": 1}}, "b.png"]'),
    "a path out of the folder": ("tags.csv", _ROWS.format("disc") + "../../etc/passwd,disc\n/etc/passwd,disc\n"),
    "zero bytes": ("tags.csv", _ROWS.format("di\0sc")),
}

RECIPES = {
    "nested lists": "a: " + "[" * 10_000,
    "nested dictionaries": "{a: " * 5_000,
    "an endless number": f"matching: {{epochs: {ENDLESS}}}",
    "an endless hexadecimal number": "matching: {epochs: 0x" + "f" * 5000 + "}",
    "an endless fraction": "matching: {base_lr: 0." + "1" * 5000 + "}",
    "billion laughs": LAUGHS,
    "billion laughs in a value": LAUGHS + "matching: {epochs: *i}",
    "a list within itself": "cams: &a [*a]",
    "an object": "name: !!python/object/apply:os.system [touch /tmp/owned]",
    "an empty number": 'matching: {epochs: !!int ""}',
    "an impossible date": "name: 2024-13-45",
    "an unknown tag": "name: !!foo bar",
    "ESC in a key": f'"{ESC}": 1'.replace("\x1b", "\\e").replace("\x07", "\\a").replace("\x9b", "\\x9b"),
    "a newline in a key": '"a\\nsemples: all is well": 1',
    "ESC in a value": 'matching: {epochs: "\\e[31m"}',
    "raw ESC": "name: \x1b[31m",
    "a megabyte key": f"? {'k' * 1000}\n: 1",
    "a long value": f"matching: {{epochs: '{'x' * 100_000}'}}",
    "three megabytes": "#" + "x" * 3_000_000,
    "a list": "- a\n- b",
    "two documents": "name: a\n---\nname: b",
    "a group as a number": "matching: 3",
    "a number as a group": "matching: {epochs: {a: 1}}",
    "a lone surrogate": "name: \ud800",
    "a zero byte": 'name: "a\\0b"',
    "a binary value": "name: !!binary R0lGODlhDAAMAIQAAP",
    "a set": "cams: !!set {a, b}",
    "a merge of nothing": "<<: 3",
}

SETTINGS = {
    "cams.scales=[1000]": "cams.scales=[1000]",
    "10,000 scales": f"cams.scales=[{', '.join(['1'] * 10_000)}]",
    "an image of 100000 pixels": "generator.image_size=100000",
    "a segmenter's image of 100000 pixels": "segmenter.image_size=100000",
    "1e20 epochs": "warmup.epochs=1e20",
    "endless epochs": f"warmup.epochs={ENDLESS}",
    "1e400": "warmup.base_lr=1e400",
    "not a number": "warmup.base_lr=.nan",
    "a batch of 1e12": "warmup.batch=1000000000000",
    "1e9 layers": "generator.depth=1000000000",
    "1e9 channels": "generator.width=1000000000",
    "1e9 workers": "data.workers=1000000000",
    "1e12 iterations": "segmenter.iterations=1000000000000",
    "1e9 rounds": "crf.iterations=1000000000",
    "1e9 powers": "cams.affinity.power=1000000000",
    "1e15 megapixels": "data.max_megapixels=1e15",
    "1e9 region scales": f"regions.scales=[{', '.join(['100'] * 1000)}]",
    "nested lists": "cams.scales=" + "[" * 10_000,
    "billion laughs": "cams.scales=[&a [1, 1, 1], &b [*a, *a, *a], &c [*b, *b, *b], *c]",
    "a deep key": ".".join("a" * 100) + "=1",
    "a long key": "a" * 100_000 + "=1",
    "a long text": "name=" + "x" * 100_000,
    "ESC in a text": "generator.start='\x1b[31m'",
    "no key": "=1",
    "no value": "matching",
    "an object": "name=!!python/object/apply:os.system [ls]",
}
SETTINGS.pop("an object")  # read as text, which a name may be

SHAPES = {
    "nothing": "",
    "a list": "[]",
    "an empty object": "{}",
    "null": "null",
    "a text": '"x"',
    "an endless number": ENDLESS,
    "deep lists": DEEP,
    "a lone surrogate": '{"recipe": "\\ud800", "fingerprint": "\\udcff"}',
    "its own keys with other things": json.dumps(
        {
            key: [[{}]]
            for key in (
                "recipe",
                "data",
                "tags",
                "classes",
                "items",
                "fingerprint",
                "seconds",
                "result",
                "name",
                "root",
                "source",
                "prompts",
                "problems",
                "needs",
                "inputs",
                "step",
            )
        }
    ),
}
SOME = ("nothing", "null", "deep lists", "its own keys with other things")
