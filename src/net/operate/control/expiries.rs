//! When the files by which listeners serve TLS end, for the metrics. Reads these files.

use std::{cmp::Reverse, path::Path};

use jiff::Timestamp;

use crate::{
    config::{ClientTrust, Config, Listener, Revocation, Tls, expiry},
    metrics::{Expiries, Expiry},
};

/// The ends of everything that a configuration's listeners read.
pub(super) fn expiries(config: &Config) -> Expiries {
    let mut expiries = Expiries::default();
    for Listener { bind, tls, .. } in &config.listeners {
        let Some(Tls { certificates, client_auth, .. }) = tls else { continue };
        let of = |file: &Path, name: String, at: Timestamp| {
            let (listener, file) = (bind.to_string(), file.display().to_string());
            Expiry { listener, file, name, at: at.as_second() }
        };
        let own = certificates.iter().filter_map(|files| Some((&files.cert, expiry::of_file(&files.cert)?)));
        expiries.certificates.extend(own.map(|(file, at)| of(file, String::new(), at)));
        let Some(ClientTrust { ca, revocation, .. }) = client_auth else { continue };
        let authorities = expiry::of_authorities(ca).into_iter();
        expiries.client_authorities.extend(authorities.map(|(name, at)| of(ca, name, at)));
        let Some(Revocation { crl, .. }) = revocation else { continue };
        expiries.client_crls.extend(expiry::of_crls(crl).into_iter().map(|(name, at)| of(crl, name, at)));
    }
    // Of several with one name, the last one is shown: the one that ends first.
    expiries.client_authorities.sort_by_key(|expiry| Reverse(expiry.at));
    expiries.client_crls.sort_by_key(|expiry| Reverse(expiry.at));
    expiries
}
