//! From the mirror of the file to what runs. PURE: no file, no socket, no clock.
//!
//! Every mirror is taken apart without `..`, so a key that is parsed but never read does not compile.

mod admin;
mod auth_request;
mod backend_tls;
mod client_auth;
mod discovery;
mod field_rules;
mod fleet;
mod hold;
mod listeners;
mod probe;
mod proxy_protocol;
mod resume;
mod route_rules;
mod routes;
mod sticky_cookie;
mod tracing;
mod upstreams;
mod via;

use std::{
    collections::HashMap,
    mem,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration as StdDuration,
};

use self::routes::Surroundings;
use super::{
    Config, Drain, Limits, Log, LogFormat, Refuse, Tcp, Timeouts, WaySettings,
    diagnostics::{Severity, nearest},
    document::At,
    file, foreign, values,
};
use crate::{
    sender::Network,
    ws::{close::CloseCode, meter::MessageLimits, rate::Rate},
};

/// A problem in the file: an error or a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) severity: Severity,
    pub(super) at: At,
    /// The place to point at if nothing stands at `at`. Example: a default does not fit a value that the file sets.
    pub(super) or_at: Option<At>,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// The read buffer bounds a head, and hyper refuses a smaller read buffer.
const SMALLEST_HEADER_SIZE: u64 = 8 * 1024;
const LARGEST_HEADER_SIZE: u64 = 1024 * 1024;

/// `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL` of Linux.
const LONGEST_TCP_KEEPALIVE: StdDuration = StdDuration::from_secs(32_767);

/// The kernel keeps `TCP_USER_TIMEOUT` as an int of milliseconds.
const LONGEST_USER_TIMEOUT: StdDuration = StdDuration::from_secs(24 * 24 * 3600);

/// What a file says.
pub(super) struct Resolved {
    /// What runs. Use it only if no problem is an error, because a refused part is left out of it.
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    /// The place of each route in the file, by its name.
    pub(super) routes: HashMap<String, At>,
}

/// Turns `file` into what runs. Paths are relative to `base`.
pub(super) fn resolve(file: file::File, base: &Path) -> Resolved {
    let written = serde_json::to_value(&file).unwrap_or_default();
    let file::File {
        workers,
        coalesce,
        listeners,
        upstreams,
        routes,
        via,
        keepalive,
        timeouts,
        drain,
        handover,
        limits,
        fleet,
        tcp,
        trusted_proxies,
        sticky_key_file,
        via_header,
        log,
        admin,
        probe,
        tracing,
    } = file;
    let mut resolver = Resolver::default();
    let timeouts = resolver.timeouts(timeouts);
    let listeners = resolver.listeners(listeners, base);
    let client_limits = resolver.path_limits(&via, &At::default().key("via"));
    let backend_limits = resolver.backend_limits(&upstreams);
    let (upstreams, ways, backend_entries) = resolver.upstreams(upstreams, base);
    resolver.client_certs(&routes, &listeners);
    let can_be_secure = !trusted_proxies.is_empty() || listeners.iter().any(|listener| listener.tls.is_some());
    let surroundings = Surroundings {
        upstreams: &upstreams,
        listeners: &listeners,
        client_limits: &client_limits,
        backend_limits: &backend_limits,
        keepalive: &keepalive,
        timeouts: &timeouts,
        drain_code: CloseCode(drain.close_code),
        trusted_proxies: &trusted_proxies,
        can_be_secure,
        base,
    };
    let routes = resolver.routes(routes, &surroundings);
    let client_ping_interval = routes::client_ping_interval(&surroundings);
    if sticky_key_file.is_some() && routes.routes().all(|route| route.sticky.is_none()) {
        let at = resolver.root.key("sticky_key_file");
        resolver.warn(at, "no route has a sticky cookie", "write sticky_cookie: { } in a route, or remove this key");
    }
    let admin = admin.map(|admin| resolver.admin(admin, base));
    let handover = handover.map(|path| resolver.handover(&path, base));
    resolver.loops(&upstreams, &backend_entries, &listeners, admin.as_ref(), handover.as_deref());
    resolver.admin_address(admin.as_ref(), &listeners);
    resolver.handover_address(handover.as_deref(), &listeners);
    let limits = resolver.limits(limits);
    let fleet = fleet.map(|fleet| resolver.fleet(fleet, &limits, base));
    let config = Config {
        workers: workers.0,
        coalesce: coalesce.0,
        listeners,
        upstreams,
        ways,
        backend_entries,
        service_ways: mem::take(&mut resolver.service_ways),
        routes,
        client_ping_interval,
        timeouts,
        drain: resolver.drain(drain, timeouts.drain),
        handover,
        limits,
        fleet,
        tcp: resolver.tcp(tcp),
        trusted_proxies: resolver.networks(trusted_proxies, &At::default().key("trusted_proxies")),
        sticky_key_file: sticky_key_file.map(|file| base.join(file)),
        via_header,
        log: resolver.log(log, base),
        admin,
        probe: probe.map(|probe| resolver.probe(probe, base)),
        tracing: tracing.map(|tracing| resolver.tracing(tracing)),
        written,
        origin: None,
    };
    Resolved { config, problems: resolver.problems, routes: resolver.route_places }
}

#[derive(Default)]
struct Resolver {
    problems: Vec<Problem>,
    /// How connections with the services that routes ask come about, in the order of the file.
    service_ways: Vec<WaySettings>,
    /// The place of each route in the file, by its name.
    route_places: HashMap<String, At>,
    root: At,
}

impl Resolver {
    fn error(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, at, message.into(), help.into());
    }

    fn warn(&mut self, at: At, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Warning, at, message.into(), help.into());
    }

    fn report(&mut self, severity: Severity, at: At, message: String, help: String) {
        let help = Some(help).filter(|help| !help.is_empty());
        self.problems.push(Problem { severity, at, or_at: None, message, help });
    }

    fn timeouts(&mut self, timeouts: file::Timeouts) -> Timeouts {
        let at = self.root.key("timeouts");
        let file::Timeouts {
            tls_handshake,
            request_header,
            request_body,
            keep_alive,
            connect,
            upgrade,
            response,
            idle,
            close,
            drain,
        } = timeouts;
        let mut positive = |key, timeout| self.positive(at.key(key), timeout);
        Timeouts {
            tls_handshake: positive("tls_handshake", tls_handshake),
            request_header: positive("request_header", request_header),
            request_body: positive("request_body", request_body),
            keep_alive: positive("keep_alive", keep_alive),
            connect: positive("connect", connect),
            upgrade: positive("upgrade", upgrade),
            response: unless_zero(&response),
            idle: unless_zero(&idle),
            close: positive("close", close),
            drain: positive("drain", drain),
        }
    }

    fn drain(&mut self, drain: file::Drain, deadline: StdDuration) -> Drain {
        let at = self.root.key("drain");
        let file::Drain { wait, close_code, spread, on_removed } = drain;
        if wait.0 >= deadline && !deadline.is_zero() {
            let shown = values::Duration(deadline);
            let message = format!("`wait` ({wait}) is not shorter than `timeouts.drain` ({shown})");
            self.error(at.key("wait"), message, "no time would be left to end the sessions");
        }
        if !matches!(close_code, 1001 | 1012 | 1013 | 3000..=4999) {
            let help = "1001 (going away), 1012 (service restart), 1013 (try again later), or 3000 to 4999";
            self.error(at.key("close_code"), format!("`close_code` cannot be {close_code}"), help);
        }
        let closes_removed = on_removed == file::OnRemoved::Close;
        Drain { wait: wait.0, close_code: CloseCode(close_code), spread: spread.0, closes_removed }
    }

    fn limits(&mut self, limits: file::Limits) -> Limits {
        let file::Limits {
            header_size,
            headers,
            answer_headers,
            body_size,
            sessions,
            sessions_per_client,
            new_sessions,
            new_sessions_per_client,
            message_size,
            frame_size,
            backend_message_size,
            messages_per_second,
            bytes_per_second,
            unsent_memory,
            resume_memory,
            away,
            refuse,
        } = limits;
        if !(SMALLEST_HEADER_SIZE..=LARGEST_HEADER_SIZE).contains(&header_size.0) {
            let at = self.root.key("limits").key("header_size");
            self.error(at, format!("`header_size` ({header_size}) is out of range"), "from 8KiB to 1MiB");
        }
        Limits {
            header_size: usize::try_from(header_size.0).unwrap_or(usize::MAX),
            headers,
            answer_headers,
            body_size: bytes_unless_zero(body_size),
            sessions: Some(sessions).filter(|most| *most > 0),
            sessions_per_client: Some(sessions_per_client).filter(|most| *most > 0),
            new_sessions: Rate::per_second(new_sessions.into()),
            new_sessions_per_client: Rate::per_second(new_sessions_per_client.into()),
            messages: MessageLimits {
                message_size: bytes_unless_zero(message_size),
                frame_size: bytes_unless_zero(frame_size),
                backend_message_size: bytes_unless_zero(backend_message_size),
                frames: Rate::per_second(messages_per_second.into()),
                bytes: Rate::per_second(bytes_per_second.0),
            },
            unsent_memory: bytes_unless_zero(unsent_memory).map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            resume_memory: bytes_unless_zero(resume_memory).map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            away: Some(away).filter(|most| *most > 0),
            refuse: match refuse {
                file::Refuse::Http => Refuse::Http,
                file::Refuse::Close => Refuse::Close,
            },
        }
    }

    fn tcp(&mut self, tcp: file::Tcp) -> Tcp {
        let at = self.root.key("tcp");
        let file::Tcp { keepalive_idle, keepalive_interval, keepalive_probes, user_timeout } = tcp;
        for (key, time) in [("keepalive_idle", keepalive_idle), ("keepalive_interval", keepalive_interval)] {
            if time.0.subsec_nanos() != 0 || time.0 > LONGEST_TCP_KEEPALIVE {
                let help = "the kernel takes whole seconds, at most 32767s";
                self.error(at.key(key), format!("`{key}` cannot be {time}"), help);
            }
        }
        if user_timeout.0 > LONGEST_USER_TIMEOUT {
            self.error(at.key("user_timeout"), format!("`user_timeout` cannot be {user_timeout}"), "at most 24d");
        }
        Tcp {
            keepalive_idle: unless_zero(&keepalive_idle),
            keepalive_interval: self.positive(at.key("keepalive_interval"), keepalive_interval),
            keepalive_probes,
            user_timeout: unless_zero(&user_timeout),
        }
    }

    /// The networks of a list that stands at `list`.
    fn networks(&mut self, networks: Vec<values::Cidr>, list: &At) -> Vec<Network> {
        for (index, values::Cidr(network)) in networks.iter().enumerate() {
            if *network != network.trunc() {
                self.warn(
                    list.index(index),
                    format!("`{network}` has bits beyond its prefix"),
                    format!("read as {}", network.trunc()),
                );
            }
        }
        networks.into_iter().map(|network| network.0.trunc()).collect()
    }

    fn handover(&mut self, path: &Path, base: &Path) -> PathBuf {
        if let Some(bare) = path.to_str().and_then(|path| path.strip_prefix("unix:")) {
            let message = format!("`{}` is not a path", path.display());
            self.error(self.root.key("handover"), message, format!("write {bare}: it is always a Unix socket"));
        }
        base.join(path)
    }

    fn log(&mut self, log: file::Log, base: &Path) -> Log {
        const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
        let file::Log { format, level, access, file, sample_requests } = log;
        let at = self.root.key("log").key("level");
        let is_filter = level.contains(['=', ',']);
        if is_filter && tracing_subscriber::EnvFilter::try_new(&level).is_err() {
            let help = "write levels per module: info,longwire::net=debug";
            self.error(at, format!("`{level}` is not a filter"), help);
        } else if !is_filter && !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let help = match foreign::word(&level, &LEVELS).or_else(|| nearest(&level, LEVELS)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("one of {}, or a filter such as info,longwire::net=debug", LEVELS.join(", ")),
            };
            self.error(at, format!("`{level}` is not a level"), help);
        }
        if let Some(word) = file.as_deref().and_then(Path::to_str) {
            let help = match word.split(':').next().unwrap_or_default() {
                "stdout" | "-" => "leave `file` out for standard output",
                "off" | "none" => "write access: false for no records",
                "syslog" | "stderr" => "leave `file` out: what runs longwire takes its standard output",
                _ => "",
            };
            if !help.is_empty() {
                self.warn(self.root.key("log").key("file"), format!("`{word}` is a file of that name here"), help);
            }
        }
        let format = match format {
            file::LogFormat::Json => LogFormat::Json,
            file::LogFormat::Text => LogFormat::Text,
        };
        let sample_requests = NonZeroU32::new(sample_requests).unwrap_or(NonZeroU32::MIN);
        Log { format, level, access, file: file.map(|file| base.join(file)), sample_requests }
    }

    fn positive(&mut self, at: At, time: values::Duration) -> StdDuration {
        if time.0.is_zero() {
            self.error(
                at.clone(),
                format!("`{at}` cannot be 0s"),
                "give it a time; only some waits can be without end",
            );
        }
        time.0
    }
}

fn bytes_unless_zero(size: values::Size) -> Option<u64> {
    Some(size.0).filter(|bytes| *bytes > 0)
}

/// The time that is written; `None` = it follows from the path.
fn unless_auto(time: values::DurationOrAuto) -> Option<values::Duration> {
    match time {
        values::DurationOrAuto::Auto => None,
        values::DurationOrAuto::Fixed(time) => Some(time),
    }
}

fn unless_zero(time: &values::Duration) -> Option<StdDuration> {
    Some(time.0).filter(|time| !time.is_zero())
}
