"""The journal: one writer's append-only file of events, and how it is written, read and proved."""
