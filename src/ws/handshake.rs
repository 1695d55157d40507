//! Which request is a WebSocket handshake, and which 101 is believed (RFC 6455 §4). PURE.
