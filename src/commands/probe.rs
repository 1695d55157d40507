//! `longwire probe`: what it probes by its command line and a configuration, and its exit code.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use jiff::SignedDuration;
use tokio::runtime;

use super::{USAGE, complain, fail, misuse, refuse, say};
use crate::{
    cli::ProbeArgs,
    config::{self, Config, Loaded},
    paths::LONGEST_INTERVAL,
    tools::{
        self,
        opening::Target,
        probe::{Interval, ProbeOptions},
    },
};

/// `longwire probe`
pub fn probe(args: ProbeArgs) -> ExitCode {
    let as_json = args.json;
    let options = match options(args) {
        Ok(options) => options,
        Err(code) => return code,
    };
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(error),
    };
    let report = runtime.block_on(tools::probe::run(&options));
    say(if as_json { format!("{:#}", report.json()) } else { report.to_string().trim_end().to_owned() });
    ExitCode::from(report.exit_code())
}

/// What to probe.
///
/// # Errors
/// The exit code of a file that cannot be used. The reason is told.
fn options(args: ProbeArgs) -> Result<ProbeOptions, ExitCode> {
    let (interval, lifetime) = match (&args.config, args.interval) {
        (Some(file), _) => {
            let (interval, lifetime) = configured(file, &args.url)?;
            (Some(interval), lifetime)
        }
        (None, interval) => (interval.map(Interval::Every), None),
    };
    let token = args.token_file.as_deref().map(token).transpose()?;
    Ok(ProbeOptions {
        target: args.url,
        interval,
        lifetime,
        quick: args.quick,
        max: args.max,
        life: args.life,
        idle_times: args.idle_times,
        scale: args.scale,
        token,
        subprotocols: args.subprotocol,
        headers: args.header,
        insecure: args.insecure,
    })
}

#[expect(clippy::disallowed_methods, reason = "a command of its own, which has no worker")]
fn token(file: &Path) -> Result<String, ExitCode> {
    match fs::read_to_string(file) {
        Ok(token) => Ok(token.trim().to_owned()),
        Err(error) => Err(misuse(format_args!("cannot read the token in {}: {error}", file.display()))),
    }
}

/// The interval of pings toward clients, and the longest life of a session, that a file has for this URL.
fn configured(file: &Path, url: &Target) -> Result<(Interval, Option<Duration>), ExitCode> {
    let Loaded { config, .. } = config::load(file).map_err(|diagnostics| {
        refuse(&diagnostics);
        ExitCode::from(USAGE)
    })?;
    let path = url.resource.split('?').next().unwrap_or_default();
    let (interval, lifetime) = match config.routes.find(&url.authority, path, || url.tls) {
        Some((_, route)) => (route.keepalive.ping_interval.client, route.max_lifetime),
        None => {
            complain(format_args!(
                "longwire: no route of {} takes {url}: `keepalive` of all routes is judged",
                file.display()
            ));
            (of_all_routes(&config), None)
        }
    };
    Ok((interval.map_or(Interval::Off, Interval::Every), lifetime))
}

/// `keepalive.ping_interval` of the file; `None` = no pings go to clients.
fn of_all_routes(config: &Config) -> Option<Duration> {
    let keepalive = &config.written["keepalive"];
    let sides = keepalive["sides"].as_array();
    let to_clients = sides.is_none_or(|sides| sides.iter().any(|side| side == "client"));
    let interval = match keepalive["ping_interval"].as_str()?.parse::<SignedDuration>() {
        Ok(interval) => Duration::try_from(interval).ok()?,
        Err(_) => LONGEST_INTERVAL,
    };
    Some(interval).filter(|interval| to_clients && !interval.is_zero())
}
