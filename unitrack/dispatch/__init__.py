"""The dispatcher: it follows journals and feeds trackers, one worker process each."""
