//! The body of a backend's answer, as it comes from the backend.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{
    exchange::Rest,
    pool::{Link, Waiting},
    request_body::BodyError,
};

/// What a backend sends behind the head of its answer, and the connection it comes over.
#[derive(Debug)]
pub(in crate::net) enum Source {
    /// hyper reads the body. `None` once the connection has been taken.
    Hyper(Incoming, Option<Link>),
    /// We read it ourselves.
    Ours(Rest),
}

impl Source {
    /// Whether the connection may be used for one client only.
    pub(in crate::net) fn is_private(&self) -> bool {
        matches!(self, Self::Hyper(_, Some(link)) if link.is_private)
    }

    /// Takes the connection, if another request may go over it. To be called when the body has ended.
    pub(in crate::net) fn take_connection(&mut self) -> Option<Waiting> {
        match self {
            Self::Hyper(_, link) => link.take().map(Waiting::Link),
            Self::Ours(rest) => rest.take_connection().map(Waiting::Bare),
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Hyper(body, _) => Pin::new(body).poll_frame(cx).map_err(BodyError::Broken),
            Self::Ours(rest) => rest.poll_piece(cx).map_ok(Frame::data),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body, _) => body.is_end_stream(),
            Self::Ours(rest) => rest.length() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body, _) => body.size_hint(),
            Self::Ours(rest) => SizeHint::with_exact(rest.length()),
        }
    }
}
