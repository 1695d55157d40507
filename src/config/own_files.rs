//! The files of a configuration and what they hold: `longwire run --watch` finds by this that one of them has changed.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use ring::digest::{Context, SHA256};

use super::{Authority, BackendTls, CertificateFiles, ClientTrust, Config, Tls, load};

/// The most bytes of a file that count. A longer one is refused by whoever reads it.
const MOST_BYTES: u64 = 16 << 20;

/// What files hold, as far as two looks can be told apart by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContents(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl FileContents {
    /// Reads the files. One that cannot be read, or that is no regular file, holds nothing. Blocks.
    #[must_use]
    pub fn read(files: Vec<PathBuf>) -> Self {
        let read = |file: PathBuf| {
            let digest = digest(&file).ok();
            (file, digest)
        };
        Self(files.into_iter().map(read).collect())
    }

    /// The files that hold something else than in `before`, and those that are new or left out.
    #[must_use]
    pub fn changed_since<'f>(&'f self, before: &'f Self) -> Vec<&'f Path> {
        let changed = self.0.iter().filter(|(file, digest)| before.0.get(*file) != Some(*digest));
        let gone = before.0.iter().filter(|(file, _)| !self.0.contains_key(*file));
        changed.chain(gone).map(|(file, _)| file.as_path()).collect()
    }
}

/// A configuration's file, and those that it names and that a reload reads again, however wrong the file is. Lists of backends
/// are not among them: they need no reload. Blocks.
#[must_use]
pub fn own_files(file: &Path) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    // What is no regular file, such as a pipe, can be read only once.
    if is_regular(file)
        && let Some(config) = load::draft_of(file)
    {
        files.extend(named(&config).into_iter().map(Path::to_owned));
    }
    files
}

/// The files that a configuration names.
fn named(config: &Config) -> Vec<&Path> {
    let mut files: Vec<&Path> = Vec::new();
    for Tls { certificates, self_signed, client_auth } in config.listeners.iter().filter_map(|l| l.tls.as_ref()) {
        // longwire itself makes the first pair then.
        files.extend(certificates.iter().skip(usize::from(*self_signed)).flat_map(pair));
        if let Some(ClientTrust { ca, revocation, .. }) = client_auth {
            files.push(ca);
            files.extend(revocation.iter().map(|revocation| revocation.crl.as_path()));
        }
    }
    let of_ways = config.ways.iter().chain(&config.service_ways).filter_map(|way| way.tls.as_ref());
    let of_fleet = config.fleet.iter().map(|fleet| &fleet.tls);
    for BackendTls { authorities, certificate, crl, .. } in of_ways.chain(of_fleet) {
        files.extend(authorities.iter().filter_map(|authority| match authority {
            Authority::System => None,
            Authority::File(file) => Some(file.as_path()),
        }));
        files.extend(certificate.iter().flat_map(pair));
        files.extend(crl.as_deref());
    }
    files.extend(config.sticky_key_file.as_deref());
    files.extend(config.admin.iter().filter_map(|admin| admin.token_file.as_deref()));
    files.extend(config.probe.iter().map(|probe| probe.token_file.as_path()));
    files
}

fn pair(files: &CertificateFiles) -> [&Path; 2] {
    [&files.cert, &files.key]
}

#[expect(clippy::disallowed_methods, reason = "no worker reads the file")]
fn is_regular(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| found.is_file())
}

#[expect(clippy::disallowed_methods, reason = "no worker reads the file")]
fn digest(file: &Path) -> io::Result<Vec<u8>> {
    if !is_regular(file) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut digest = DigestOf(Context::new(&SHA256));
    io::copy(&mut io::Read::take(std::fs::File::open(file)?, MOST_BYTES), &mut digest)?;
    Ok(digest.0.finish().as_ref().to_vec())
}

/// Takes the bytes of a file, and keeps none.
struct DigestOf(Context);

impl io::Write for DigestOf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn every_file_that_a_reload_reads_is_named_but_not_those_that_longwire_makes_or_follows() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("proxy.yaml");
        let text = "
            listeners:
              - bind: 127.0.0.1:0
                tls: { cert: own.crt, key: own.key, client_auth: { mode: required, ca: clients.pem, crl: clients.crl } }
              - { bind: '127.0.0.2:0', tls: { cert: made.crt, key: made.key, self_signed: true } }
            upstreams:
              app:
                tls: { ca: [system, backends.pem], cert: client.crt, key: client.key, crl: backends.crl }
                backends: [{ file: list.yaml }]
            routes:
              - upstream: app
                auth_request: { url: 'https://127.0.0.1:1/', tls: { ca: auth.pem } }
            sticky_key_file: sticky.key
            admin: { bind: '127.0.0.1:0', token_file: admin.token }
            probe: { token_file: probe.token }";
        fs::write(&file, text).unwrap();
        let expected = [
            "proxy.yaml",
            "own.crt",
            "own.key",
            "clients.pem",
            "clients.crl",
            "backends.pem",
            "client.crt",
            "client.key",
            "backends.crl",
            "auth.pem",
            "sticky.key",
            "admin.token",
            "probe.token",
        ];
        assert_eq!(own_files(&file), expected.map(|name| folder.path().join(name)));
        // However wrong the file is, as long as it is YAML.
        fs::write(&file, format!("{text}\n            no_such_key: 1")).unwrap();
        assert_eq!(own_files(&file).len(), expected.len());
        fs::write(&file, "listeners: [").unwrap();
        assert_eq!(own_files(&file), [file]);
    }

    #[test]
    fn what_a_file_holds_counts_and_not_when_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        fs::write(&one, "a").unwrap();
        let look = |files: &[&PathBuf]| FileContents::read(files.iter().map(|file| (*file).clone()).collect());
        let before = look(&[&one, &other]);
        fs::write(&one, "b").unwrap();
        assert_eq!(look(&[&one, &other]).changed_since(&before), [&one]);
        fs::remove_file(&one).unwrap();
        fs::write(&one, "a").unwrap();
        assert_eq!(look(&[&one, &other]), before);
        fs::write(&other, "").unwrap();
        assert_eq!(look(&[&one, &other]).changed_since(&before), [&other], "a file that comes");
        assert_eq!(look(&[&one]).changed_since(&before), [&other], "a file that is named no more");
    }
}
