"""The recording: the one place where those who produce and those who analyse meet."""
