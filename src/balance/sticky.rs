//! What a sticky cookie says in the place of a backend's address, and which backend it means.
//!
//! A tag is an HMAC over the names of an upstream and of its backend: name and signature in one. Nobody can make a tag, or
//! read an address from one, without the key. Proxies with the same key make the same tags.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, Weak},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;

use super::{
    backend::{Backend, lock},
    members::Member,
    upstream::Upstream,
};

/// The bytes of a signature that a tag keeps: half of them, as RFC 2104 §5 allows.
const KEPT: usize = 16;

/// The characters of a tag: base64 without padding.
const CHARACTERS: usize = (KEPT * 4).div_ceil(3);

/// What the key signs here. Another form of the tags needs another label.
const LABEL: &str = "longwire sticky cookie 1";

/// What the key signs to show which key it is.
const SHOWN: &str = "longwire sticky key 1";

/// The key by which tags are made.
#[derive(Clone)]
pub struct StickyKey(hmac::Key);

impl StickyKey {
    /// `secret`: random bytes, 32 or more.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// What tells two keys apart, and says nothing of either.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut fingerprint = [0; 32];
        let signature = hmac::sign(&self.0, SHOWN.as_bytes());
        fingerprint.iter_mut().zip(signature.as_ref()).for_each(|(byte, signed)| *byte = *signed);
        fingerprint
    }

    fn tag(&self, upstream: &str, address: &str) -> String {
        let mut signature = hmac::Context::with_key(&self.0);
        for part in [LABEL, upstream, address] {
            // The length keeps apart what is one text: `a` and `bc`, `ab` and `c`.
            signature.update(&(part.len() as u64).to_be_bytes());
            signature.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(&signature.sign().as_ref()[..KEPT])
    }
}

impl fmt::Debug for StickyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StickyKey")
    }
}

/// The tags of an upstream's members.
#[derive(Debug)]
pub struct StickyTags {
    key: StickyKey,
    /// A lock, because the tags follow the members. It is taken for each cookie of a request, and held while the tags of new
    /// members are made.
    known: Mutex<KnownTags>,
}

/// The tags of the members that an upstream had when somebody last asked.
#[derive(Debug, Default)]
struct KnownTags {
    /// Weak, so that a backend that is no member any more is not kept for its tag.
    members: Option<Weak<[Member]>>,
    /// The place of each member, by its tag.
    places: HashMap<String, usize>,
}

impl StickyTags {
    /// `key`: the key of the tags.
    #[must_use]
    pub fn new(key: StickyKey) -> Self {
        Self { key, known: Mutex::default() }
    }

    /// The tag of a backend of this upstream.
    #[must_use]
    pub fn tag(&self, upstream: &Upstream, backend: &Backend) -> String {
        self.key.tag(upstream.name(), backend.address())
    }

    /// The member of this upstream that has the tag. `None`: the tag is forged, cut, of another key or upstream, or of a
    /// backend that is no member any more.
    pub fn find(&self, upstream: &Upstream, tag: &[u8]) -> Option<Arc<Backend>> {
        // A request may have many cookies, and most foreign ones need no lock.
        let tag = str::from_utf8(tag).ok().filter(|tag| tag.len() == CHARACTERS)?;
        let members = upstream.members();
        let mut known = lock(&self.known);
        if !known.is_of(&members) {
            let tags = members.iter().map(|member| self.tag(upstream, &member.backend));
            *known = KnownTags { members: Some(Arc::downgrade(&members)), places: tags.zip(0..).collect() };
        }
        let member = members.get(*known.places.get(tag)?)?;
        Some(Arc::clone(&member.backend))
    }
}

impl KnownTags {
    fn is_of(&self, members: &Arc<[Member]>) -> bool {
        self.members.as_ref().and_then(Weak::upgrade).is_some_and(|known| Arc::ptr_eq(&known, members))
    }
}
