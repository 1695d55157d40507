//! A request that may go to a backend, and what its backend gets of it.

use std::sync::Arc;

use hyper::{HeaderMap, http::request::Parts};

use super::{auth::Permission, connection::Connection, stickiness::Stickiness};
use crate::{
    balance::{Backend, Pick, Upstream},
    config::Config,
    headers::{self, GrantedFields, Hop, ToldCertificate, ValueFacts},
    net::{
        backend::{
            dialer::Terms,
            pool::Bond,
            request_head::{Purpose, Request},
            way::Way,
        },
        worker::plan::Plan,
    },
    routing::Route,
    sender::Client,
};

/// The route that a request takes to a backend, and who is on it.
#[derive(Clone, Copy)]
pub(super) struct OnRoute<'a> {
    pub(super) client: Client,
    pub(super) host: &'a str,
    /// The place of the route among all routes.
    pub(super) place: usize,
    pub(super) route: &'a Route,
    pub(super) upstream: &'a Arc<Upstream>,
    /// How connections with its backends come about.
    pub(super) way: &'a Way,
}

/// A request that may go to a backend.
pub(super) struct Asked<'a, T> {
    pub(super) parts: &'a Parts,
    pub(super) on_route: OnRoute<'a>,
    /// The prefix that was taken off the path.
    pub(super) prefix: Option<&'a str>,
    /// What a service says of the request; `None` = none was asked.
    pub(super) permission: Option<Box<Permission>>,
    /// `None` = the route has no sticky cookie.
    pub(super) sticky: Option<Stickiness<'a>>,
    /// For a handshake: the upgrade that the client asks for. For another request: the `Max-Forwards` that the backend gets.
    pub(super) wants: T,
}

impl<'r> OnRoute<'r> {
    /// The hop by which the request came, as it is told on this route.
    pub(super) fn hop<'a>(&self, connection: &'a Connection, plan: &Plan, request_id: &'a str) -> Hop<'a>
    where
        'r: 'a,
    {
        let sender = connection.entrance.sender;
        let fields = &*self.route.told_of_client;
        let shown = connection.entrance.certificate.as_deref().filter(|_| !fields.is_empty());
        Hop {
            sender,
            client: self.client,
            trusted: headers::is_trusted(sender.client(), &plan.config.trusted_proxies),
            tls: connection.entrance.tls.is_some(),
            host: self.host,
            port: connection.entrance.local.map_or(0, |local| local.port()),
            prefix: None,
            request_id,
            certificate: shown.map(|certificate| ToldCertificate { certificate, fields }),
        }
    }
}

impl<'r, T> Asked<'r, T> {
    /// The backend that the client's sticky cookie names.
    pub(super) fn wanted_backend(&self) -> Option<Arc<Backend>> {
        self.sticky.as_ref()?.named().cloned()
    }

    /// Tells the client by the sticky cookie which backend has answered.
    pub(super) fn tell_backend(&self, pick: &Pick, answer: &mut HeaderMap) {
        if let Some(sticky) = &self.sticky {
            sticky.tell(self.on_route.upstream, pick.backend(), answer);
        }
    }

    /// How the request is sent to backends.
    pub(super) fn terms<'a>(&self, connection: &'a Connection, plan: &'a Plan, announcement: &'a [u8]) -> Terms<'a>
    where
        'r: 'a,
    {
        let Config { timeouts, tcp, limits, .. } = &plan.config;
        let OnRoute { route, upstream, way, .. } = self.on_route;
        Terms {
            connect: timeouts.connect,
            way,
            timeouts: &route.timeouts,
            tcp,
            limits,
            reuses_connections: upstream.reuses_connections(),
            announcement,
            alarm: &connection.alarm,
        }
    }

    /// The connection with a backend of this upstream that belongs to the client's connection. One that began with another
    /// PROXY header is closed: a proxy in front of longwire sends requests of several clients over one connection.
    pub(super) fn bond(&self, connection: &Connection, terms: Terms<'_>) -> Option<Bond> {
        let bond = connection.bonds.take(self.on_route.upstream.name(), terms.way);
        bond.filter(|bond| *bond.link.announcement == *terms.announcement)
    }

    /// The client's request, as its backend gets it.
    pub(super) fn for_backend<'a>(
        &'a self,
        connection: &'a Connection,
        plan: &Plan,
        request_id: &'a str,
        purpose: Purpose<'a>,
    ) -> Request<'a> {
        let Self { parts, on_route, prefix, permission, .. } = self;
        let OnRoute { client, host, route, way, .. } = *on_route;
        let granted = permission.as_deref().zip(route.auth_request.as_deref());
        let granted = granted.map(|(permission, auth)| GrantedFields { names: &auth.pass, fields: &permission.fields });
        Request {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            hop: Hop { prefix: *prefix, ..on_route.hop(connection, plan, request_id) },
            host_header: &route.host_header,
            way,
            granted,
            rules: route.request_fields.bind(ValueFacts { client, request_id, host: Some(host), route: &route.name }),
            via: plan.config.via_header.then(|| headers::via(parts.version)),
            purpose,
        }
    }
}
