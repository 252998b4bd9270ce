"""WebSockets that are kept: of users, of watchers, and of those that only come and go."""
