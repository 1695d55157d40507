//! The operator's commands: they look at a running longwire and give it orders, through its admin interface.

mod client;
mod names;
mod rebalancing;
mod screen;
mod tables;

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::MissedTickBehavior,
};

use self::{
    client::encode,
    names::What,
    screen::{AlternateScreen, Keyboard},
};
pub use self::{
    client::{Address, AdminClient, CallError},
    rebalancing::RebalanceStep,
};

/// Time between two looks of `status --watch`.
const LOOK: Duration = Duration::from_secs(1);

/// An order of an operator.
#[derive(Debug)]
pub enum OperatorOrder {
    /// Show the proxy as a whole.
    Status {
        /// Whether to show it again and again, until a signal or `q`.
        watch: bool,
    },
    /// Show a page of the live sessions. The pairs are keys and values of the query of `/api/sessions`.
    Sessions(Vec<(&'static str, String)>),
    /// End a session.
    Kill {
        /// The id of the session.
        id: String,
        /// The close code that both sides read; `None` = the default.
        code: Option<u16>,
        /// The close reason that both sides read; `None` = the default.
        reason: Option<String>,
    },
    /// Take something out of service, or put it back.
    Drain {
        /// What to drain.
        what: DrainScope,
        /// Whether to put it back into service.
        undo: bool,
        /// Whether somebody is there who can be asked.
        asks: bool,
    },
    /// Let the oldest sessions leave.
    Rebalance(RebalanceStep),
    /// Show the frames of sessions.
    Debug {
        /// The sessions; `None` = only list the sessions whose frames are shown.
        what: Option<Observed>,
        /// For how long; `None` = the default.
        run_for: Option<Duration>,
        /// Whether to stop showing them.
        off: bool,
    },
    /// Read the file again.
    Reload,
}

/// The sessions whose frames can be shown.
#[derive(Debug)]
pub enum Observed {
    /// The session with this id.
    Session(String),
    /// The sessions of a client address or network.
    Client(String),
}

/// What can be drained.
#[derive(Debug)]
pub enum DrainScope {
    /// Everything.
    All,
    /// A route, by its name.
    Route(String),
    /// A backend.
    Backend {
        /// The name of the backend's upstream.
        upstream: String,
        /// The address of the backend.
        address: String,
        /// Whether its sessions stay and are not told to leave.
        keep_sessions: bool,
    },
}

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Whether answers are printed as JSON.
    pub json: bool,
    /// Whether diagnostics are printed in colour.
    pub color: bool,
    /// Whether tables are printed in colour.
    pub color_tables: bool,
}

impl Form {
    fn paint(self, table: String) -> String {
        if self.color_tables { table } else { tables::plain(&table) }
    }
}

/// Where the admin interface of a running longwire is, and its token.
#[derive(Debug)]
pub struct AdminLocation {
    /// The address; `None` = the one that the file names.
    pub address: Option<Address>,
    /// The path of the file.
    pub config: PathBuf,
    /// The file of the token; `None` = the one that the file names.
    pub token_file: Option<PathBuf>,
}

/// Carries out an order, and prints the answer.
///
/// [`OperatorOrder::Status`] with `watch` ends only with a signal or `q`.
///
/// # Errors
/// Nobody answers, or the order was refused.
pub async fn run(
    admin: &AdminClient,
    order: OperatorOrder,
    form: Form,
    mut print: impl FnMut(&str),
) -> Result<(), CallError> {
    let show = |value: &Value, table: fn(&Value) -> String| match form.json {
        true => format!("{value:#}"),
        false => form.paint(table(value)),
    };
    match order {
        OperatorOrder::Status { watch: false } => print(&show(&status(admin).await?, tables::status)),
        OperatorOrder::Status { watch: true } => watch(admin, form, print).await?,
        OperatorOrder::Sessions(filters) => {
            let query = &filters;
            let query: Vec<_> = query.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect();
            let sessions = admin.get(&format!("/api/sessions?{}", query.join("&"))).await?;
            if sessions["matched"] == 0 {
                for (key, value) in &filters {
                    let Some(what) = What::of_filter(key) else { continue };
                    names::check(admin, what, value).await?;
                }
            }
            print(&show(&sessions, tables::sessions));
        }
        OperatorOrder::Kill { id, code, reason } => {
            let path = format!("/api/sessions/{}", encode(&id));
            let killed = admin.delete(&path, &json!({ "code": code, "reason": reason })).await?;
            print(&show(&killed, tables::killed));
        }
        OperatorOrder::Drain { what, undo, asks } => {
            if asks && !undo {
                ask_before(admin, &what).await?;
            }
            let named = match &what {
                DrainScope::All => None,
                DrainScope::Route(route) => Some((What::Route, route.clone())),
                DrainScope::Backend { address, .. } => Some((What::Backend, address.clone())),
            };
            let of_upstream = match &what {
                DrainScope::Backend { upstream, .. } => Some(upstream.clone()),
                DrainScope::All | DrainScope::Route(_) => None,
            };
            let (path, table): (_, fn(&Value) -> String) = match what {
                DrainScope::All => (format!("/api/{}", if undo { "resume" } else { "drain" }), tables::proxy),
                DrainScope::Route(route) => {
                    let order = if undo { "resume" } else { "drain" };
                    (format!("/api/routes/{}/{order}", encode(&route)), tables::routes)
                }
                DrainScope::Backend { upstream, address, keep_sessions } => {
                    let duty = match (undo, keep_sessions) {
                        (true, _) => "up",
                        (false, true) => "down",
                        (false, false) => "drain",
                    };
                    let path = format!("/api/upstreams/{}/backends/{}/{duty}", encode(&upstream), encode(&address));
                    (path, tables::backends)
                }
            };
            let drained = admin.post(&path, &json!({})).await;
            if let (Err(CallError::Refused(_)), Some((what, name))) = (&drained, named) {
                names::check(admin, what, &name).await?;
            }
            let drained = drained?;
            print(&show(&drained, table));
            if !form.json {
                print(&format!("\n{}", tables::told(&drained, of_upstream.as_deref(), undo)));
            }
        }
        OperatorOrder::Rebalance(step) => rebalancing::run(admin, step, form, print).await?,
        OperatorOrder::Debug { what, run_for, off } => {
            let chosen = match (what, off) {
                (None, _) => admin.get("/api/debug").await?,
                (Some(Observed::Session(name) | Observed::Client(name)), true) => {
                    admin.delete(&format!("/api/debug/{}", encode(&name)), &json!({})).await?
                }
                (Some(what), false) => {
                    let mut body = json!({ "for_ms": run_for.map(|time| time.as_millis() as u64) });
                    match what {
                        Observed::Session(id) => body["id"] = id.into(),
                        Observed::Client(client) => body["client"] = client.into(),
                    }
                    admin.post("/api/debug", &body).await?
                }
            };
            print(&show(&chosen, tables::choices));
        }
        OperatorOrder::Reload => {
            let reloaded = admin.post("/api/reload", &json!({ "color": form.color })).await?;
            print(&show(&reloaded, tables::reloaded));
        }
    }
    Ok(())
}

/// Asks before the last backend of an upstream is taken off duty, because the upstream is then closed for everybody.
async fn ask_before(admin: &AdminClient, what: &DrainScope) -> Result<(), CallError> {
    let DrainScope::Backend { upstream, address, keep_sessions } = what else { return Ok(()) };
    let upstreams = admin.get("/api/upstreams").await?;
    let Some(sessions) = tables::sessions_of_last(&upstreams, upstream, address) else { return Ok(()) };
    let leave = match (keep_sessions, sessions) {
        (false, 1) => "1 session is told to leave, and new ones".to_owned(),
        (false, sessions) if sessions > 0 => format!("{sessions} sessions are told to leave, and new ones"),
        _ => "new ones".to_owned(),
    };
    eprint!("{address} is the last backend of {upstream} on duty: {leave} read 503 until --undo. Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(CallError::Terminal)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CallError::Declined),
    }
}

/// `/api/status` with the upstreams of `/api/upstreams`.
async fn status(admin: &AdminClient) -> Result<Value, CallError> {
    let mut status = admin.get("/api/status").await?;
    if !status["uptime_ms"].is_u64() {
        return Err(admin.strange("it knows no /api/status"));
    }
    let mut upstreams = admin.get("/api/upstreams").await?;
    status["upstreams"] = upstreams["upstreams"].take();
    Ok(status)
}

/// Looks every second: in place on a terminal, otherwise one answer below the other. Only the first look must succeed,
/// because longwire may be restarting later.
async fn watch(admin: &AdminClient, form: Form, mut print: impl FnMut(&str)) -> Result<(), CallError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CallError::Signal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(CallError::Signal)?;
    let mut seen = Some(status(admin).await?);
    let in_place = io::stdout().is_terminal() && !form.json;
    let mut screen =
        in_place.then(|| AlternateScreen::borrow(io::stdout())).transpose().map_err(CallError::Terminal)?;
    let keyboard = in_place.then(Keyboard::listen).flatten();
    let quit = async {
        match &keyboard {
            Some(keyboard) => keyboard.quit().await,
            None => std::future::pending().await,
        }
    };
    let mut quit = pin!(quit);
    let mut resized = signal(SignalKind::window_change()).map_err(CallError::Signal)?;
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = resized.recv() => {}
            () = &mut quit => return Ok(()),
        }
        let look = match seen.take() {
            Some(first) => Ok(first),
            None => status(admin).await,
        };
        let text = match look {
            Ok(status) if form.json => status.to_string(),
            Ok(status) => {
                let parts = tables::status_parts(&status);
                form.paint(match screen::rows().filter(|_| in_place) {
                    Some(rows) => screen::fit(&parts, rows),
                    None => parts.join("\n\n"),
                })
            }
            Err(error) if form.json => json!({ "error": { "message": error.to_string() } }).to_string(),
            Err(error) => error.to_string(),
        };
        match &mut screen {
            Some(screen) => screen.show(&text).map_err(CallError::Terminal)?,
            None if form.json => print(&text),
            None => print(&format!("{text}\n")),
        }
    }
}
