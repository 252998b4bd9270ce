"""Open load: prompts that are due by the clock."""
