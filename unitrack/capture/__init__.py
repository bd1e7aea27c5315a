"""Collectors of what surrounds a run: one fact a file, each class with `name` and `collect()`.

Collectors run once, in a process of their own beside training (`python -m unitrack.capture`):
`beside` starts it and takes what it finds, `messages` are what it says, `hooks` hands over the
collectors `git`, `environment`, `hardware` and `container`; `source` is made for each run. They change
nothing; what they can't find out they leave out. In the end the process becomes `sampling`. `console`,
`redact` and `seeds` are used by the session in the training process.
"""
