"""Virtual users, pacing, and the HTTP and WebSocket edge: what runs inside Locust."""
