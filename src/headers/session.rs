//! What a backend is told of a session that may have several backends, one after the other.

use hyper::header::HeaderName;

/// The id of the session, the same for all its backends.
pub const LONGWIRE_SESSION: HeaderName = HeaderName::from_static("longwire-session");
/// How many backends the session had before.
pub const LONGWIRE_RESUMED: HeaderName = HeaderName::from_static("longwire-resumed");
/// What became of the last one.
pub const LONGWIRE_RESUME_CAUSE: HeaderName = HeaderName::from_static("longwire-resume-cause");

/// Whether a field is the proxy's own word about a session. What a client sends under such a name is removed on every route.
pub(super) fn tells_of_a_session(name: &HeaderName) -> bool {
    *name == LONGWIRE_SESSION || *name == LONGWIRE_RESUMED || *name == LONGWIRE_RESUME_CAUSE
}
