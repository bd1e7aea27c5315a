"""Collectors of what surrounds a run: one fact a file, each class with `name` and `collect()`.

Collectors run once, in a process of their own beside training (`python -m unitrack.capture`):
`beside` starts it and takes what it finds, `messages` are what it says, `hooks` hands over the
collectors `git`, `environment` and `hardware`. They change nothing; what they can't find out they
leave out. `console` and `redact` are used by the session in the training process.
"""
