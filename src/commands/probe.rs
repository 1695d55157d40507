//! `longwire probe`: what it probes by its command line and a configuration, and its exit code.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use tokio::runtime;

use super::{USAGE, complain, fail, misuse, refuse, say};
use crate::{
    cli::ProbeArgs,
    config::{self, Loaded},
    tools::{
        self,
        opening::Target,
        probe::{Interval, ProbeOptions},
    },
};

/// The longest `--max` with a far end, which ends a probe after a little more ([the life of a probe](../../docs/operations.md)).
const LONGEST_AT_A_FAR_END: Duration = Duration::from_secs(60 * 60);

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
    let (interval, lifetime, interval_from) = match (&args.config, args.interval) {
        (Some(file), _) => configured(file, &args.url)?,
        (None, Some(interval)) => (Some(Interval::Every(interval)), None, "by --interval".to_owned()),
        (None, None) => (None, None, "which longwire has by itself".to_owned()),
    };
    if args.token_file.is_some() && args.max.is_some_and(|max| max > LONGEST_AT_A_FAR_END) {
        return Err(misuse("--max is 1h at most with --token-file: the far end answers no probe for longer"));
    }
    let token = args.token_file.as_deref().map(token).transpose()?;
    Ok(ProbeOptions {
        target: args.url,
        interval,
        interval_from,
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

/// The interval of pings toward clients, and the longest life of a session, that a file has for this URL; and where they are from.
fn configured(file: &Path, url: &Target) -> Result<(Option<Interval>, Option<Duration>, String), ExitCode> {
    let Loaded { config, .. } = config::load(file).map_err(|diagnostics| {
        refuse(&diagnostics);
        ExitCode::from(USAGE)
    })?;
    let (path, file) = (url.resource.split('?').next().unwrap_or_default(), file.display());
    let (interval, lifetime, from) = match config.routes.find(&url.authority, path, || url.tls) {
        Some((_, route)) => {
            (route.keepalive.ping_interval.client, route.max_lifetime, format!("of the route {} in {file}", route.name))
        }
        None => {
            complain(format_args!(
                "longwire: no route of {file} takes {url}: `keepalive` and `via` of all routes are judged"
            ));
            (config.client_ping_interval, None, format!("of all routes in {file}: none takes this URL"))
        }
    };
    Ok((Some(interval.map_or(Interval::Off, Interval::Every)), lifetime, from))
}
