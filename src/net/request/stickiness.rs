//! The sticky cookie of one request: the backend that it names, and what the answer tells the client.

use std::sync::Arc;

use hyper::{HeaderMap, header::SET_COOKIE};

use crate::{
    balance::{Backend, StickyTags, Upstream},
    headers::take_cookies,
    routing::StickyCookie,
};

/// The most cookies of the name that are looked at in one request. Each takes two locks, and a client has one.
const MOST_LOOKED_AT: usize = 8;

/// The sticky cookie of one request.
#[derive(Debug)]
pub(super) struct Stickiness<'p> {
    cookie: &'p StickyCookie,
    tags: &'p StickyTags,
    /// The backend that the client's cookie names; `None` = the client has no cookie that counts.
    named: Option<Arc<Backend>>,
    /// Whether the request came over TLS.
    is_secure: bool,
}

impl<'p> Stickiness<'p> {
    /// Takes the cookie out of the client's fields, so that the backend does not get it. Of several, the first counts that
    /// names a backend.
    pub(super) fn take(
        (cookie, tags): (&'p StickyCookie, &'p StickyTags),
        upstream: &Upstream,
        headers: &mut HeaderMap,
        is_secure: bool,
    ) -> Self {
        let (mut named, mut left) = (None, MOST_LOOKED_AT);
        take_cookies(headers, &cookie.name, |tag| {
            if named.is_none() && left > 0 {
                left -= 1;
                named = tags.find(upstream, tag);
            }
        });
        Self { cookie, tags, named, is_secure }
    }

    /// The backend that the client's cookie names.
    pub(super) const fn named(&self) -> Option<&Arc<Backend>> {
        self.named.as_ref()
    }

    /// Tells the client which backend has answered, unless its cookie says so already.
    pub(super) fn tell(&self, upstream: &Upstream, backend: &Arc<Backend>, answer: &mut HeaderMap) {
        let is_known = self.named.as_ref().is_some_and(|named| Arc::ptr_eq(named, backend));
        if is_known && !self.cookie.is_renewed() {
            return;
        }
        if let Some(field) = self.cookie.field(&self.tags.tag(upstream, backend), self.is_secure) {
            answer.append(SET_COOKIE, field);
        }
    }
}
