//! The token by which a client comes back to its session (docs/resume.md). PURE.
//!
//! A token is a random number, signed. Nobody can make one without the key, which lives as long as the process. So a token of an
//! earlier process is worth nothing.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq as _;

/// The form of the tokens.
const VERSION: u8 = 1;

/// The bytes of a signature that a token keeps: half of them, as RFC 2104 §5 allows.
const SIGNATURE: usize = 16;

/// The length of an instance's name, in bytes.
const INSTANCE: usize = 8;

/// The random number that tells a session that can be resumed from all others.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResumeId(pub [u8; Self::BYTES]);

impl ResumeId {
    /// Its length.
    pub const BYTES: usize = 16;
}

/// Without the number, because messages must not have a part of a token.
impl fmt::Debug for ResumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeId")
    }
}

/// The key by which a process signs its tokens, and the name by which it knows them again.
pub struct ResumeKey {
    key: hmac::Key,
    /// Random, so that it tells nothing of the machine.
    instance: [u8; INSTANCE],
}

impl fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResumeKey")
    }
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenOrigin {
    /// This process has signed it.
    Ours(ResumeId),
    /// Another process, or nobody: it does not have our name.
    Elsewhere,
    /// It has our name, and not our signature.
    Forged,
}

impl ResumeKey {
    /// The random bytes that [`Self::new`] takes.
    pub const RANDOM: usize = 32 + INSTANCE;

    /// `random`: known to nobody else.
    #[must_use]
    pub fn new(random: &[u8; Self::RANDOM]) -> Self {
        let (secret, name) = random.split_at(32);
        let mut instance = [0; INSTANCE];
        instance.copy_from_slice(name);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), instance }
    }

    /// The token of a session. It is the same each time.
    #[must_use]
    pub fn token(&self, ResumeId(id): ResumeId) -> String {
        let mut token = Vec::with_capacity(1 + ResumeId::BYTES + INSTANCE + SIGNATURE);
        token.push(VERSION);
        token.extend(id);
        token.extend(self.instance);
        let signature = self.signature(&token);
        token.extend(signature);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Whose `token` is. A signature is compared in the same time wherever it is wrong.
    #[must_use]
    pub fn origin(&self, token: &str) -> TokenOrigin {
        let read = || {
            let token = URL_SAFE_NO_PAD.decode(token).ok()?;
            let (signed, signature) = token.split_last_chunk::<SIGNATURE>()?;
            let (version, rest) = signed.split_first()?;
            let (id, name) = rest.split_first_chunk::<{ ResumeId::BYTES }>()?;
            let is_named = *version == VERSION && *name == self.instance;
            is_named.then(|| bool::from(self.signature(signed).ct_eq(signature)).then_some(ResumeId(*id)))
        };
        match read() {
            None => TokenOrigin::Elsewhere,
            Some(None) => TokenOrigin::Forged,
            Some(Some(id)) => TokenOrigin::Ours(id),
        }
    }

    fn signature(&self, signed: &[u8]) -> [u8; SIGNATURE] {
        let whole = hmac::sign(&self.key, signed);
        let mut signature = [0; SIGNATURE];
        signature.iter_mut().zip(whole.as_ref()).for_each(|(kept, byte)| *kept = *byte);
        signature
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ws::resume_offer::LONGEST_TOKEN;

    fn key(of: u8) -> ResumeKey {
        ResumeKey::new(&[of; ResumeKey::RANDOM])
    }

    #[test]
    fn a_token_is_read_where_it_was_made_and_nowhere_else() {
        let (one, other, id) = (key(1), key(2), ResumeId([9; 16]));
        let token = one.token(id);
        assert_eq!(token, one.token(id));
        assert!(token.len() <= LONGEST_TOKEN, "{}", token.len());
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{token}");
        assert_eq!((one.origin(&token), other.origin(&token)), (TokenOrigin::Ours(id), TokenOrigin::Elsewhere));
        assert_ne!(token, one.token(ResumeId([8; 16])));
    }

    #[test]
    fn the_signature_is_that_of_rfc_2104_cut_to_half() {
        let token = URL_SAFE_NO_PAD.decode(key(7).token(ResumeId([0; 16]))).unwrap();
        let signed = [&[1][..], &[0; 16], &[7; 8]].concat();
        let whole = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &signed);
        assert_eq!(token, [&signed, &whole.as_ref()[..16]].concat());
    }

    #[test]
    fn what_has_our_name_and_another_signature_is_forged() {
        let key = key(1);
        let whole = URL_SAFE_NO_PAD.decode(key.token(ResumeId([9; 16]))).unwrap();
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let is_name = at == 0 || (17..25).contains(&at);
                let expected = if is_name { TokenOrigin::Elsewhere } else { TokenOrigin::Forged };
                assert_eq!(key.origin(&URL_SAFE_NO_PAD.encode(changed)), expected, "bit {bit} of byte {at}");
            }
        }
        for length in 0..whole.len() {
            assert_eq!(key.origin(&URL_SAFE_NO_PAD.encode(&whole[..length])), TokenOrigin::Elsewhere, "{length} bytes");
        }
    }

    #[test]
    fn no_message_shows_a_number_or_a_key() {
        assert_eq!(format!("{:?} {:?}", key(1), TokenOrigin::Ours(ResumeId([9; 16]))), "ResumeKey Ours(ResumeId)");
    }

    proptest! {
        #[test]
        fn no_text_is_taken_for_a_token(text in "[A-Za-z0-9_=.-]{0,80}") {
            prop_assert_eq!(key(1).origin(&text), TokenOrigin::Elsewhere);
        }
    }
}
