//! What a request knows of the connection that it came on, and what the connection becomes when it leaves HTTP.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use super::{comeback::Return, farewell::CloseRefusal, probe_end::ProbeOpening};
use crate::{
    access_log::TlsVersion,
    headers::ClientCertificate,
    net::{
        backend::pool::Bonds, counts::live::ConnectionGuard, session::held::Opening, stream::client_io::Debt,
        thread::alarm::Alarm, worker::shared::Worker,
    },
    proxy_protocol::ProxyTlvs,
    sender::{PeerProcess, Sender},
    ws::termination::{HowEnded, Loss},
};

/// Who connected, and how. A session that may outlive its backend has a copy.
#[derive(Debug, Clone)]
pub(in crate::net) struct Entrance {
    /// By the PROXY header, if one names a client.
    pub(in crate::net) sender: Sender,
    /// The process at the other end of a Unix socket, whomever a PROXY header names.
    pub(in crate::net) process: Option<PeerProcess>,
    /// What the client connected to, by the same header, else the address of our socket. `None` = a Unix socket.
    pub(in crate::net) local: Option<SocketAddr>,
    pub(in crate::net) tls: Option<TlsVersion>,
    /// What an upstream may be told of TLS. `None` = no upstream was told anything when the client connected, or the client
    /// speaks no TLS.
    pub(in crate::net) hello: Option<Box<TlsHello>>,
    /// The verified certificate of the client, if it has shown one.
    pub(in crate::net) certificate: Option<Box<ClientCertificate>>,
    /// The client speaks plain HTTP on a port for TLS.
    pub(in crate::net) is_misled: bool,
    /// What a PROXY header told beside the addresses.
    pub(in crate::net) told: Option<Box<ProxyTlvs>>,
}

/// What client and listener agreed on in a TLS handshake.
#[derive(Debug, Clone)]
pub(in crate::net) struct TlsHello {
    /// The name that the client asked for (SNI).
    pub(in crate::net) server_name: Option<String>,
    /// By ALPN.
    pub(in crate::net) protocol: Option<Vec<u8>>,
}

/// What a request knows of the connection that it came on.
#[derive(Debug)]
pub(in crate::net) struct Connection {
    pub(in crate::net) worker: Arc<Worker>,
    pub(in crate::net) entrance: Entrance,
    pub(in crate::net) debt: Debt,
    /// Connections with backends that belong to this connection. No request of another may use them.
    pub(in crate::net) bonds: Bonds,
    pub(in crate::net) guard: ConnectionGuard,
    /// Rings when an answer takes too long.
    pub(super) alarm: Mutex<Alarm>,
    /// Set when a request leaves HTTP. Behind a lock because tasks must be `Send`; only this connection's task takes the lock.
    leaving: Mutex<Option<AfterHttp>>,
}

/// What a connection becomes when it leaves HTTP. Its stream is ours from then on, and a 101 is still to be written.
#[derive(Debug)]
pub(in crate::net) enum AfterHttp {
    Session(Box<Opening>),
    Refusal(Box<CloseRefusal>),
    Probe(Box<ProbeOpening>),
    Return(Box<Return>),
}

impl AfterHttp {
    /// Notes that the client's connection broke before anything was sent.
    pub(in crate::net) fn fail(self) {
        match self {
            Self::Session(opening) => opening.fail(HowEnded::Lost(Loss::Reset)),
            // The record tells of the refusal, and that no answer was sent.
            Self::Refusal(refusal) => drop(refusal),
            // The record says that the client has gone.
            Self::Probe(opening) => drop(opening),
            // The session waits on for its client.
            Self::Return(comeback) => drop(comeback),
        }
    }
}

impl Connection {
    pub(in crate::net) fn new(worker: Arc<Worker>, entrance: Entrance, debt: Debt, guard: ConnectionGuard) -> Self {
        Self {
            worker,
            entrance,
            debt,
            bonds: Bonds::default(),
            guard,
            alarm: Mutex::default(),
            leaving: Mutex::default(),
        }
    }

    /// What the connection becomes, if its last request has left HTTP. To be called after each poll of hyper. `None`
    /// while hyper still has bytes of an earlier answer that the client does not take.
    pub(in crate::net) fn take_leaving(&self) -> Option<AfterHttp> {
        if self.debt.is_unsent() {
            return None;
        }
        self.give_up_leaving()
    }

    /// What the connection would have become, if hyper has ended first. Bytes of earlier answers may still be unsent.
    pub(in crate::net) fn give_up_leaving(&self) -> Option<AfterHttp> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves HTTP. hyper gets no answer, `A`, to the request: this never returns, and is dropped with hyper's connection.
    pub(super) async fn leave_http<A>(&self, leaving: AfterHttp) -> A {
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaving);
        pending().await
    }
}
