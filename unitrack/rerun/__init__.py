"""Run a training command again, from a commit, with pinned inputs."""
