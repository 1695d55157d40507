//! Makes a [`Config`] from a file, a text or two flags, and reports every problem found on the way.

use std::{fmt, path::Path};

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::ring;

use super::{
    Account, Admin, AdminBind, Config, FleetSettings, ListenAddress, Listener, Tls, UnixName,
    addresses::{BackendAddress, Bind},
    backend_list,
    certificates::{self, clients},
    check,
    diagnostics::{Diagnostic, Diagnostics, Severity},
    document::{self, At, Node},
    environment::{Env, of_process},
    expiry,
    file::{self, Backend, File, Route, Upstream},
    lint,
    resolve::{self, Problem, Resolved},
    sticky_key, text, token, trust,
};
use crate::discovery::{BackendEntry, FindingPlace};

/// A configuration that can run.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration to run.
    pub config: Config,
    /// Problems that do not keep the configuration from running.
    pub warnings: Diagnostics,
}

/// Why `--listen` and `--to` do not make a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagsError(Vec<String>);

/// The name of the upstream in a configuration made from flags.
const FLAGS_UPSTREAM: &str = "default";

/// Reads a file and every certificate that it names.
///
/// # Errors
/// The file cannot be read, or has errors. The error lists every problem in the file.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    let text = text::read(path).map_err(|error| {
        let diagnostic = Diagnostic::of_file(format!("cannot read the file: {error}"));
        Diagnostics::new(&name, "", vec![diagnostic])
    })?;
    let base = path.parent().unwrap_or_else(|| Path::new(""));
    let draft = Draft::read(&text, base, &of_process)
        .check_certificates()
        .check_client_auth()
        .check_trust()
        .check_tokens()
        .check_sticky_key()
        .check_folders()
        .check_accounts()
        .check_backend_lists();
    let mut loaded = draft.finish(&text, &name)?;
    loaded.config.origin = Some(path.to_owned());
    Ok(loaded)
}

/// The admin interface of a file, however wrong the rest of the file is; `None` = the file has none.
///
/// # Errors
/// The file cannot be read, is no YAML, or has an error in what it says of the admin interface.
pub fn admin_of(path: &Path) -> Result<Option<Admin>, Diagnostics> {
    let name = path.display().to_string();
    let fail = |text: &str, found| Err(Diagnostics::new(&name, text, found));
    let text = match text::read(path) {
        Ok(text) => text,
        Err(error) => return fail("", vec![Diagnostic::of_file(format!("cannot read the file: {error}"))]),
    };
    let draft = Draft::read(&text, path.parent().unwrap_or_else(|| Path::new("")), &of_process);
    let is_wrong = draft.replaced.iter().any(|at| at.touches(&At::default().key("admin")));
    match draft.config {
        Some(config) if !is_wrong => Ok(config.admin),
        _ => fail(&text, draft.found),
    }
}

/// The configuration that a file asks for, as far as it can be read: what is wrong in it has another value here. `None` = the file
/// cannot be read, or is no YAML.
pub(super) fn draft_of(path: &Path) -> Option<Config> {
    let text = text::read(path).ok()?;
    Draft::read(&text, path.parent().unwrap_or_else(|| Path::new("")), &of_process).config
}

/// Reads `text` as the file `name`, with paths relative to `base`. Opens no file, so certificates are not checked.
///
/// # Errors
/// Every problem in the text.
pub fn parse(text: &str, name: &str, base: &Path) -> Result<Loaded, Diagnostics> {
    parse_with(text, name, base, &of_process)
}

/// [`parse`] with another environment.
///
/// # Errors
/// Every problem in the text.
pub fn parse_with(text: &str, name: &str, base: &Path, env: Env<'_>) -> Result<Loaded, Diagnostics> {
    Draft::read(text, base, env).finish(text, name)
}

/// The configuration of `run --listen A --to B`: one upstream gets every request, and everything else has its default.
///
/// `listen` takes what `bind` takes, and `:8080` or `8080` for all addresses. `to` takes what `address` takes, and `:3000` or
/// `3000` for this machine.
///
/// # Errors
/// Every flag that is no address, or whose address the file would refuse.
pub fn from_flags(listen: &[String], to: &[String]) -> Result<Config, FlagsError> {
    let mut wrong = Vec::new();
    let listeners: Vec<file::Listener> = listen
        .iter()
        .map(|text| Bind::parse(&with_host("0.0.0.0", text)).map_err(|bad| format!("--listen: {bad}")))
        .filter_map(|bind| bind.map_err(|error| wrong.push(error)).ok())
        .map(file::Listener::at)
        .collect();
    let backends: Vec<Backend> = to
        .iter()
        .map(|text| BackendAddress::parse(&with_host("127.0.0.1", text)).map_err(|bad| format!("--to: {bad}")))
        .filter_map(|address| address.map_err(|error| wrong.push(error)).ok())
        .map(Backend::at)
        .collect();
    if !wrong.is_empty() {
        return Err(FlagsError(wrong));
    }
    let upstream = Upstream { backends, ..Upstream::default() };
    let file = File {
        listeners,
        upstreams: [(FLAGS_UPSTREAM.to_owned(), upstream)].into(),
        routes: vec![Route::all_to(FLAGS_UPSTREAM.to_owned())],
        ..File::default()
    };
    let Resolved { config, problems, routes: _ } = resolve::resolve(file, Path::new(""));
    let errors = problems.into_iter().filter(|problem| problem.severity == Severity::Error);
    let errors: Vec<_> = errors.map(|problem| problem.message).collect();
    if errors.is_empty() { Ok(config) } else { Err(FlagsError(errors)) }
}

impl fmt::Display for FlagsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for FlagsError {}

/// A configuration that is being made, and the problems found so far.
struct Draft {
    document: Option<Node>,
    config: Option<Config>,
    /// Where the configuration differs from the document, because the value in the document was refused.
    replaced: Vec<At>,
    found: Vec<Diagnostic>,
}

impl Draft {
    fn read(text: &str, base: &Path, env: Env<'_>) -> Self {
        let (document, mut found) = document::read(text, env);
        let Some(root) = document else {
            return Self { document, config: None, replaced: Vec::new(), found };
        };
        let checked = check::check(&root, &File::schema());
        found.extend(checked.found);
        let config = match serde_yaml::from_value::<File>(checked.value) {
            Ok(file) => {
                let Resolved { config, problems, routes } = resolve::resolve(file, base);
                // A value that only stands in for a refused one is no reason for a second complaint.
                let believed = |problem: &Problem| !checked.replaced.iter().any(|at| at.touches(&problem.at));
                found.extend(problems.into_iter().filter(believed).map(|problem| problem.locate(&root)));
                // Beside an error nobody is told of warnings, and the configuration is not what the file says.
                if found.iter().all(|problem| problem.severity != Severity::Error) {
                    found.extend(lint::lint(&config, &routes, &root));
                }
                Some(config)
            }
            Err(error) => {
                // The checker should have found this error, with its position. If it found any, this error only repeats them.
                if found.is_empty() {
                    found.push(Diagnostic::of_file(error.to_string()));
                }
                None
            }
        };
        Self { document: Some(root), config, replaced: checked.replaced, found }
    }

    /// Reads every certificate and key. A self-signed pair that is not made yet is no problem.
    fn check_certificates(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        for (index, listener) in config.listeners.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let at = At::default().key("listeners").index(index).key("tls");
            for (position, pair) in tls.certificates.iter().enumerate() {
                let listed = at.key("certificates").index(position);
                let at = if document.has(&listed) { listed } else { at.clone() };
                if self.replaced.iter().any(|replaced| replaced.touches(&at)) {
                    continue;
                }
                // Each pair is checked alone, so that its errors point at that pair.
                let self_signed = tls.self_signed && position == 0;
                let one = Tls { certificates: vec![pair.clone()], self_signed, client_auth: None };
                for error in certificates::check(&one).err().into_iter().flatten() {
                    let key = if error.path == pair.key { "key" } else { "cert" };
                    let message = format!("cannot use this {key}: {error}");
                    self.found.push(Diagnostic::error(document.locate(&at.key(key)), message));
                }
            }
        }
        self
    }

    /// Reads the authorities of clients and their revocation lists. One that is out of date is a warning.
    fn check_client_auth(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        for (index, listener) in config.listeners.iter().enumerate() {
            let at = At::default().key("listeners").index(index).key("tls").key("client_auth");
            let trust = listener.tls.as_ref().and_then(|tls| tls.client_auth.as_ref());
            let Some(trust) = trust.filter(|_| !self.replaced.iter().any(|replaced| replaced.touches(&at))) else {
                continue;
            };
            for error in clients::check(trust) {
                let key = if error.path == trust.ca { "ca" } else { "crl" };
                let message = format!("cannot use this {key}: {error}");
                self.found.push(Diagnostic::error(document.locate(&at.key(key)), message));
            }
            let ended = expiry::of_authorities(&trust.ca).into_iter().filter(|(_, end)| *end < Timestamp::now());
            for (subject, end) in ended {
                let message =
                    format!("the authority `{subject}` has ended at {end}, and its clients are let in all the same");
                let diagnostic = Diagnostic::error(document.locate(&at.key("ca")), message)
                    .help("take it out of the file, if it should end");
                self.found.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
            }
            let enforced = trust.revocation.as_ref().filter(|revocation| !revocation.takes_expired);
            let lists = enforced.map_or_else(Vec::new, |revocation| expiry::of_crls(&revocation.crl));
            for (issuer, due) in lists.into_iter().filter(|(_, due)| *due < Timestamp::now()) {
                let message = format!("the revocation list of `{issuer}` is out of date since {due}");
                let help = "its clients are refused until a newer list is there; crl_expired: ignore takes the old one";
                let diagnostic = Diagnostic::error(document.locate(&at.key("crl")), message).help(help);
                self.found.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
            }
        }
        self
    }

    /// Reads the files that the TLS of upstreams, of services and of the fleet names.
    fn check_trust(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        let provider = ring::default_provider();
        let of_upstreams = config.upstreams.iter().map(|upstream| At::default().key("upstreams").key(&upstream.name));
        let written = config.written["routes"].as_array().into_iter().flatten().enumerate();
        let of_services = written
            .filter(|(_, route)| !route["auth_request"].is_null())
            .map(|(index, _)| At::default().key("routes").index(index).key("auth_request"));
        let ways = of_upstreams.zip(&config.ways).chain(of_services.zip(&config.service_ways));
        let of_ways = ways.filter_map(|(at, way)| Some((at.key("tls"), way.tls.as_ref()?)));
        let speaks_tls = |fleet: &&FleetSettings| fleet.servers.iter().any(|server| server.is_tls);
        let of_fleet = config.fleet.as_ref().filter(speaks_tls).map(|fleet| &fleet.tls);
        for (at, tls) in of_ways.chain(of_fleet.map(|tls| (At::default().key("fleet"), tls))) {
            let mut wrong = Vec::new();
            for (place, authority) in tls.authorities.iter().enumerate().filter(|_| !tls.insecure) {
                let listed = at.key("ca").index(place);
                let at = if document.has(&listed) { listed } else { at.key("ca") };
                wrong.extend(trust::read_authority(authority).err().map(|error| (at, error)));
            }
            if let Some(pair) = &tls.certificate
                && let Err(error) = certificates::read_pair(pair, &provider)
            {
                let key = if error.path == pair.key { "key" } else { "cert" };
                wrong.push((at.key(key), error));
            }
            let crl = tls.crl.as_ref().filter(|_| !tls.insecure);
            wrong.extend(crl.and_then(|crl| certificates::read_crls(crl).err()).map(|error| (at.key("crl"), error)));
            for (at, error) in wrong {
                if !self.replaced.iter().any(|replaced| replaced.touches(&at)) {
                    let message = format!("cannot use this: {error}");
                    self.found.push(Diagnostic::error(document.locate(&at), message));
                }
            }
        }
        self
    }

    /// Reads the tokens of the admin interface and of probes.
    fn check_tokens(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        let of_admin = config.admin.as_ref().and_then(|admin| admin.token_file.as_ref());
        let of_probes = config.probe.as_ref().map(|probe| &probe.token_file);
        for (section, file) in [("admin", of_admin), ("probe", of_probes)] {
            let at = At::default().key(section).key("token_file");
            let is_refused = self.replaced.iter().any(|replaced| replaced.touches(&at));
            if let Some(Err(error)) = file.filter(|_| !is_refused).map(|file| token::read(file)) {
                self.found.push(Diagnostic::error(document.locate(&at), format!("cannot use this token: {error}")));
            }
        }
        self
    }

    /// Reads the key of sticky cookies.
    fn check_sticky_key(mut self) -> Self {
        let file = self.config.as_ref().and_then(|config| config.sticky_key_file.as_ref());
        if let (Some(document), Some(file)) = (&self.document, file)
            && let Err(error) = sticky_key::read(file)
        {
            let at = document.locate(&At::default().key("sticky_key_file"));
            let diagnostic = Diagnostic::error(at, format!("cannot use this key: {error}"));
            self.found.push(diagnostic.help(sticky_key::ADVICE));
        }
        self
    }

    /// Checks the folders in which longwire will make files.
    ///
    /// A missing folder of a socket is only a warning, because the program that starts longwire may make that folder.
    fn check_folders(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        let root = At::default();
        let socket = match &config.admin {
            Some(Admin { bind: AdminBind::Unix(path), .. }) => Some(path),
            _ => None,
        };
        let named = [
            (config.log.file.as_ref(), root.key("log").key("file"), Severity::Error),
            (socket, root.key("admin").key("bind"), Severity::Warning),
            (config.handover.as_ref(), root.key("handover"), Severity::Warning),
        ];
        let listeners = config.listeners.iter().enumerate().map(|(index, listener)| {
            let path = match &listener.bind {
                ListenAddress::Unix(UnixName::Path(path)) => Some(path),
                ListenAddress::Unix(UnixName::Abstract(_)) | ListenAddress::Tcp(_) => None,
            };
            (path, root.key("listeners").index(index).key("bind"), Severity::Warning)
        });
        for (path, at, severity) in named.into_iter().chain(listeners) {
            let Some(path) = path.filter(|_| !self.replaced.iter().any(|replaced| replaced.touches(&at))) else {
                continue;
            };
            if let Some((message, help)) = file_problem(path) {
                let diagnostic = Diagnostic::error(document.locate(&at), message).help(help);
                self.found.push(Diagnostic { severity, ..diagnostic });
            }
        }
        self
    }

    /// Reads each list of backends. A wrong list is only a warning: a proxy starts without the backends of a list that has
    /// not come yet, and keeps those that it has.
    fn check_backend_lists(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        for (upstream, entries) in config.upstreams.iter().zip(&config.backend_entries) {
            let all = At::default().key("upstreams").key(&upstream.name).key("backends");
            for (index, entry) in entries.iter().enumerate() {
                let BackendEntry::Found { place: FindingPlace::File(path), .. } = entry else { continue };
                let at = all.index(index).key("file");
                if let Err(problems) = backend_list::read(path)
                    && !self.replaced.iter().any(|replaced| replaced.touches(&at))
                {
                    let problems = problems.in_one_line();
                    let diagnostic =
                        Diagnostic::error(document.locate(&at), format!("cannot use this list: {problems}"));
                    let diagnostic = diagnostic.help("until the list can be read, longwire has no backends of it");
                    self.found.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
                }
            }
        }
        self
    }

    /// Looks for the users and groups that are to have the files of sockets. One that is missing is only a warning, because
    /// longwire may run on another machine.
    fn check_accounts(mut self) -> Self {
        let (Some(document), Some(config)) = (&self.document, &self.config) else {
            return self;
        };
        for (index, Listener { rights, .. }) in config.listeners.iter().enumerate() {
            let at = At::default().key("listeners").index(index);
            let found = [
                ("owner", rights.owner.as_ref().map(Account::user)),
                ("group", rights.group.as_ref().map(Account::group)),
            ];
            for (key, found) in found {
                if let Some(Err(error)) = found {
                    let diagnostic = Diagnostic::error(document.locate(&at.key(key)), error.to_string());
                    let help = "make it before longwire starts, or write its number";
                    self.found.push(Diagnostic { severity: Severity::Warning, ..diagnostic.help(help) });
                }
            }
        }
        self
    }

    fn finish(self, text: &str, name: &str) -> Result<Loaded, Diagnostics> {
        let (errors, warnings) = self.found.into_iter().partition(|d: &Diagnostic| d.severity == Severity::Error);
        match self.config {
            Some(config) if Vec::is_empty(&errors) => {
                Ok(Loaded { config, warnings: Diagnostics::new(name, text, warnings) })
            }
            _ => Err(Diagnostics::new(name, text, errors)),
        }
    }
}

impl Problem {
    fn locate(self, root: &Node) -> Diagnostic {
        let at = self.or_at.filter(|_| !root.has(&self.at)).unwrap_or(self.at);
        // A wrong value is an error. A warning is of what a value means beside others, and there the key says which value.
        let span = match self.severity {
            Severity::Error => root.locate(&at),
            Severity::Warning => root.locate_key(&at),
        };
        Diagnostic { severity: self.severity, span: Some(span), message: self.message, help: self.help }
    }
}

/// Why no file can be made at `path`, and what to do; `None` = one can be made.
#[expect(clippy::disallowed_methods, reason = "no worker reads the file")]
fn file_problem(path: &Path) -> Option<(String, &'static str)> {
    if path.is_dir() {
        return Some((format!("{} is a folder", path.display()), "name a file in it"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty())?;
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some((format!("{} is no folder", folder.display()), "name a file in a folder that is there")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some((format!("there is no folder {}", folder.display()), "make it first: longwire makes none"))
        }
        Err(error) => Some((format!("cannot look into {}: {error}", folder.display()), "longwire must be let into it")),
    }
}

/// Completes `8080` and `:8080` with `host`. Other text stays as it is.
fn with_host(host: &str, text: &str) -> String {
    match text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        Ok(port) => format!("{host}:{port}"),
        Err(_) => text.to_owned(),
    }
}
