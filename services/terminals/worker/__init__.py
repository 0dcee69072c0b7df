"""Terminal workers: speak WebSocket to clients. Stateless; killing one loses nothing."""
