//! Programs beside the proxy, built on its rooms.
