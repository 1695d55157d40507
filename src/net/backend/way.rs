//! How connections with the backends of an upstream come about.

use std::sync::Arc;

use super::tls::ClientTls;

/// How connections with the backends of an upstream come about, apart from their addresses. Whatever tells two connections
/// to one address apart stands here: the pool never uses a connection for a request that goes another way.
#[derive(Debug, Clone, Default)]
pub(in crate::net) struct Way {
    /// `None` = plain TCP.
    pub(in crate::net) tls: Option<Arc<ClientTls>>,
}

impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        match (&self.tls, &other.tls) {
            (None, None) => true,
            // Two upstreams with the same settings have two ways.
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Way {}
