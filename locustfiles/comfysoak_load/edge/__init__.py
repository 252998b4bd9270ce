"""Bytes to and from a server: sockets, TLS, HTTP, WebSocket frames, and when they arrived."""
