//! What the causes of failed handshakes mean, and which keys are behind them.

/// What a cause of failed handshakes means, in a sentence without its full stop.
pub(super) fn meaning(cause: &str) -> &'static str {
    match cause {
        "bad_handshake" => "A proxy in front of longwire removes `Upgrade` or `Connection`",
        "wrong_version" => "These clients speak another version of the protocol",
        "not_upgraded" => "The backend answers otherwise than with an upgrade: its log says why, by the `request_id`",
        "origin" => "The origin of the page is not in the route's `origins`",
        "denied" => "The route's `allow` and `deny` refuse these addresses",
        "client_cert" => "The route needs a certificate of the client",
        "auth_denied" | "auth_expired" => "The service of `auth_request` refuses them",
        "auth_unavailable" => "The service of `auth_request` is away or too slow",
        "fleet_unavailable" => "The server of `fleet` is away or too slow",
        "no_route" => "No route takes this host and path",
        "connect_timeout" => "The backend takes no connection within `timeouts.connect`",
        "response_timeout" => "The backend does not answer within `timeouts.upgrade`",
        "refused" | "unreachable" | "closed_early" | "backend_tls" | "speaks_tls" | "false_upgrade"
        | "malformed_answer" => "The backend cannot be reached, or speaks something else there",
        "unavailable" | "no_backend" => "No backend is up, or all are full",
        "busy" => "The backends make handshakes more slowly than they come",
        "sessions" | "new_sessions" => "The limit of the whole process is reached",
        "draining" | "route_draining" => "They came to what was being drained",
        "exhausted" => "The process has no file descriptors or ports left",
        _ => "docs/causes.md explains the cause",
    }
}

/// The key behind a cause of failed handshakes.
pub(super) fn key_of_refusal(cause: &str) -> Option<&'static str> {
    Some(match cause {
        "origin" => "routes[].origins",
        "denied" => "routes[].allow",
        "client_cert" => "listeners[].tls.client_auth",
        "auth_denied" | "auth_expired" => "routes[].auth_request",
        "auth_unavailable" => "routes[].auth_request.timeout",
        "fleet_unavailable" => "fleet.on_loss",
        "no_route" => "routes",
        "connect_timeout" => "timeouts.connect",
        "response_timeout" => "timeouts.upgrade",
        "refused" | "unreachable" | "closed_early" | "malformed_answer" | "false_upgrade" | "loop" => {
            "upstreams.NAME.backends[].address"
        }
        "backend_tls" | "speaks_tls" => "upstreams.NAME.tls",
        "unavailable" | "no_backend" => "upstreams.NAME.backends",
        "busy" => "upstreams.NAME.max_handshakes",
        "sessions" => "limits.sessions",
        "new_sessions" => "limits.new_sessions",
        "head_too_large" => "limits.header_size",
        _ => return None,
    })
}
