//! TLS of the listeners.
