"""The servers a process sends to: what is known of each, and which a prompt goes to."""
