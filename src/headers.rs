//! Hop-by-hop removal, forwarding headers, trusted proxies. PURE.
