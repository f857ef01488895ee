"""The Python API: what `import semples` offers, put together from the packages that do the work.

`semples.NAME` loads a name when it is first asked for; `semples --help` and `import semples` load nothing heavy.
"""
