"""Where a verdict goes: comments, checks and statuses of code forges, and the files of their runners."""
