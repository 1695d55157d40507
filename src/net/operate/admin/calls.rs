//! The calls of the admin interface, and how each is answered.

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, StatusCode, body::Incoming};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{metrics, page, rebalancing, target, views};
use crate::{
    access_log::endings::{self, Endings, Last},
    balance::Duty,
    config::Severity,
    net::{
        operate::{
            control::{Control, Leaving, ReloadAsker, ReloadError, Unknown},
            desk::{
                access,
                answer::{AdminAnswer, AdminRefusal, json, text, with_type},
            },
        },
        orders::{
            inquiry::{Kill, Search, Sort},
            observed::{self, Chosen, LONGEST_TIME, MOST_CHOICES, TooMany, USUAL_TIME},
        },
    },
    ws::close::CloseCode,
};

/// The most bytes of a body.
const BODY: usize = 16 * 1024;
/// The most time from the head to the end of the body.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for the outcome of a reload. `longwire reload` waits longer than this for the answer.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);
/// The bytes that a Close has for its reason (RFC 6455 §5.5).
const LONGEST_REASON: usize = 123;
/// The code of a Close if the operator gives none (RFC 6455 §7.4.1 on 1008).
const KILLED: CloseCode = CloseCode(1008);
/// The most sessions in one answer.
const MOST_SESSIONS: usize = 1000;
/// The greatest offset into the list of sessions. Nobody should read a list by pages further than that.
const FURTHEST: usize = 100_000;

/// What can be asked here, as JSON: made when somebody asks for the first time.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    let description = serde_yaml::from_str::<Value>(include_str!("../../../../docs/openapi.yaml"));
    serde_json::to_vec(&description.unwrap_or_default()).unwrap_or_default().into()
});

/// One thing that can be asked of the interface.
#[derive(Debug)]
enum Call {
    Page,
    Health,
    Ready,
    Metrics,
    Description,
    Status,
    Config,
    Sessions,
    Session(String),
    Kill(String),
    Upstreams,
    Endings,
    Refusals,
    History,
    Findings,
    SetDuty { upstream: String, backend: String, duty: Duty },
    DrainRoute { route: String, drains: bool },
    DrainAll { drains: bool },
    Reload,
    Choices,
    Choose,
    TakeBack(String),
    LastRebalance,
    BeginRebalance,
    StopRebalance,
}

/// Answers a request that came to `address`. `None`: it came by a path.
pub(super) async fn answer(
    control: &Arc<Control>,
    address: Option<SocketAddr>,
    request: Request<Incoming>,
) -> AdminAnswer {
    let (head, body) = request.into_parts();
    // The body is read first. If bytes of it were unread, a reset could destroy the answer.
    let body = match timeout(BODY_TIMEOUT, Limited::new(body, BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return too_large().into(),
        Err(_) => {
            return AdminRefusal::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body did not come in time").into();
        }
    };
    let answered = match find(&head.method, head.uri.path()) {
        // Load balancers call these two. They use names that the file does not know, and show no token.
        Ok(Call::Health) => Ok(text(StatusCode::OK, "ok\n")),
        Ok(Call::Ready) => readiness(control, head.uri.query().unwrap_or_default()),
        found => {
            let is_write = !matches!(head.method, Method::GET | Method::HEAD);
            let access = control.desk().map(|desk| desk.access());
            let checked = access.map_or(Ok(()), |access| match &found {
                // The page holds no secret, and asks for the token itself.
                Ok(Call::Page) => access.check_names(&head.headers, address),
                _ => access.check(&head.headers, address),
            });
            let checked = checked.and(found).and_then(|call| match is_write {
                true => access::check_write(&head.headers).map(|()| call),
                false => Ok(call),
            });
            match checked {
                Ok(Call::Metrics) => Ok(metrics::answer(control, &head.headers).await),
                Ok(call) => call.run(control, head.uri.query().unwrap_or_default(), &body).await,
                Err(refusal) => Err(refusal),
            }
        }
    };
    answered.unwrap_or_else(AdminAnswer::from)
}

/// Whether clients should be sent here, or those of the upstream that the query names. Other keys of the query are ignored.
fn readiness(control: &Control, query: &str) -> Result<AdminAnswer, AdminRefusal> {
    let named = target::pairs(query)?.into_iter().find(|(key, _)| key == "upstream");
    let is_ready = match &named {
        Some((_, upstream)) => control.readiness_of(upstream)?,
        None => control.is_ready(),
    };
    Ok(match is_ready {
        true => text(StatusCode::OK, "ready\n"),
        false if control.is_willing() => text(StatusCode::SERVICE_UNAVAILABLE, "no backend is known\n"),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    })
}

/// The call of a method and a path.
fn find(method: &Method, path: &str) -> Result<Call, AdminRefusal> {
    let segments = target::segments(path)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let (read, write) = match segments[..] {
        [""] => (Some(Call::Page), None),
        ["healthz"] => (Some(Call::Health), None),
        ["readyz"] => (Some(Call::Ready), None),
        ["metrics"] => (Some(Call::Metrics), None),
        ["api", "openapi.json"] => (Some(Call::Description), None),
        ["api", "status"] => (Some(Call::Status), None),
        ["api", "config"] => (Some(Call::Config), None),
        ["api", "sessions"] => (Some(Call::Sessions), None),
        ["api", "sessions", id] if !id.is_empty() => {
            (Some(Call::Session(id.into())), Some((Method::DELETE, Call::Kill(id.into()))))
        }
        ["api", "endings"] => (Some(Call::Endings), None),
        ["api", "refusals"] => (Some(Call::Refusals), None),
        ["api", "history"] => (Some(Call::History), None),
        ["api", "findings"] => (Some(Call::Findings), None),
        ["api", "upstreams"] => (Some(Call::Upstreams), None),
        ["api", "upstreams", upstream, "backends", backend, duty @ ("drain" | "down" | "up")] => {
            let duty = match duty {
                "drain" => Duty::Drain,
                "down" => Duty::Down,
                _ => Duty::Up,
            };
            let (upstream, backend) = (upstream.into(), backend.into());
            (None, Some((Method::POST, Call::SetDuty { upstream, backend, duty })))
        }
        ["api", "routes", route, order @ ("drain" | "resume")] => {
            let call = Call::DrainRoute { route: route.into(), drains: order == "drain" };
            (None, Some((Method::POST, call)))
        }
        ["api", order @ ("drain" | "resume")] => {
            (None, Some((Method::POST, Call::DrainAll { drains: order == "drain" })))
        }
        ["api", "reload"] => (None, Some((Method::POST, Call::Reload))),
        ["api", "rebalance"] => (Some(Call::LastRebalance), Some((Method::POST, Call::BeginRebalance))),
        ["api", "rebalance", "stop"] => (None, Some((Method::POST, Call::StopRebalance))),
        ["api", "debug"] => (Some(Call::Choices), Some((Method::POST, Call::Choose))),
        ["api", "debug", name] if !name.is_empty() => (None, Some((Method::DELETE, Call::TakeBack(name.into())))),
        _ => return Err(AdminRefusal::not_found("nothing is at this path; /api/openapi.json says what is where")),
    };
    let allow = match (&read, &write) {
        (Some(_), None) => "GET, HEAD",
        (Some(_), Some((Method::POST, _))) => "GET, HEAD, POST",
        (Some(_), Some(_)) => "GET, HEAD, DELETE",
        (None, Some((Method::DELETE, _))) => "DELETE",
        (None, _) => "POST",
    };
    match (read, write) {
        (Some(call), _) if matches!(*method, Method::GET | Method::HEAD) => Ok(call),
        (_, Some((needed, call))) if needed == *method => Ok(call),
        _ => Err(AdminRefusal::wrong_method(allow)),
    }
}

impl Call {
    async fn run(self, control: &Arc<Control>, query: &str, body: &[u8]) -> Result<AdminAnswer, AdminRefusal> {
        Ok(match self {
            Self::Page => page::answer()?,
            Self::Health | Self::Ready | Self::Metrics => text(StatusCode::OK, "ok\n"),
            Self::Description => with_type(StatusCode::OK, "application/json", DESCRIPTION.clone()),
            Self::Status => ok(&views::StatusView::of(control)),
            Self::Config => ok(&control.config().written),
            Self::Sessions => sessions(control, query).await?,
            Self::Session(id) => session(control, id).await?,
            Self::Kill(id) => kill(control, id, body).await?,
            Self::Upstreams => ok(&views::upstreams(control)),
            Self::Endings => endings(control, query)?,
            Self::Refusals => refusals(control, query)?,
            Self::History => ok(&control.history().map(|history| history.show(control.sessions(), Instant::now()))),
            Self::Findings => ok(&json!({ "findings": &*control.patterns() })),
            Self::SetDuty { upstream, backend, duty } => {
                read::<Nothing>(body)?;
                let told = control.set_duty(&upstream, &backend, duty)?;
                ok(&views::upstreams_after(control, told))
            }
            Self::DrainRoute { route, drains } => {
                read::<Nothing>(body)?;
                let told = control.drain_route(&route, drains)?;
                ok(&views::StatusView::after(control, told))
            }
            Self::DrainAll { drains } => {
                read::<Nothing>(body)?;
                let told = control.drain_all(drains)?;
                ok(&views::StatusView::after(control, told))
            }
            Self::Reload => reload(control, body).await?,
            Self::Choices => choices(control),
            Self::Choose => choose(control, body).await?,
            Self::TakeBack(name) => {
                read::<Nothing>(body)?;
                control.orders().stop_observing(&name)?;
                tracing::info!(chosen = name, "an operator looks at its frames no more");
                choices(control)
            }
            Self::LastRebalance => rebalancing::show(control).await,
            Self::BeginRebalance => rebalancing::begin(control, read(body)?).await?,
            Self::StopRebalance => {
                read::<Nothing>(body)?;
                rebalancing::stop(control).await?
            }
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HowToKill {
    /// A float, because 1008.0 is an integer in JSON Schema.
    code: Option<f64>,
    reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HowToReload {
    /// Whether diagnostics are rendered in colour, for a terminal.
    color: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WhatToShow {
    id: Option<String>,
    client: Option<String>,
    /// A float, because 1000.0 is an integer in JSON Schema.
    for_ms: Option<f64>,
}

async fn sessions(control: &Control, query: &str) -> Result<AdminAnswer, AdminRefusal> {
    let (mut search, mut limit, mut offset) = (Search::default(), 100, 0);
    for (key, value) in target::pairs(query)? {
        let wrong = |wanted: &str| AdminRefusal::bad_request(format!("`{key}` is {wanted}, not {value:?}"));
        let number = |most: usize| value.parse().ok().filter(|number| *number <= most);
        match key.as_str() {
            "client" => {
                search.client =
                    Some(observed::parse_network(&value).ok_or_else(|| wrong("an address, a network or unix"))?);
            }
            "text" => search.text = Some(value.to_lowercase()),
            "route" => search.route = Some(value),
            "upstream" => search.upstream = Some(value),
            "backend" => search.backend = Some(value),
            "sort" => {
                let sort = Sort::deserialize(json!(value));
                search.sort = sort.map_err(|_| wrong("age, idle, bytes, messages, buffered or rtt"))?;
            }
            "order" if value == "asc" => search.ascends = true,
            "order" if value == "desc" => search.ascends = false,
            "order" => return Err(wrong("asc or desc")),
            "limit" => limit = number(MOST_SESSIONS).ok_or_else(|| wrong("a number from 0 to 1000"))?,
            "offset" => offset = number(FURTHEST).ok_or_else(|| wrong("a number from 0 to 100000"))?,
            _ => return Err(AdminRefusal::bad_request(format!("`{key}` is not known here"))),
        }
    }
    search.most = offset + limit;
    let found = control.survey().ask(search, None).await.ok_or_else(busy)?;
    let sessions: Vec<_> = found.sights.iter().skip(offset).map(views::SessionView::of).collect();
    Ok(ok(&json!({ "sessions": sessions, "matched": found.matched, "total": control.sessions() })))
}

/// The last endings, the newest first.
fn endings(control: &Control, query: &str) -> Result<AdminAnswer, AdminRefusal> {
    let endings = &kept(control)?.sessions;
    let (last, causes, total) = shown(endings, query)?;
    Ok(ok(&json!({ "endings": last, "causes": causes, "total": total })))
}

/// The last requests that became no session and got no good answer, the newest first.
fn refusals(control: &Control, query: &str) -> Result<AdminAnswer, AdminRefusal> {
    let refusals = &kept(control)?.refusals;
    let (last, causes, total) = shown(refusals, query)?;
    Ok(ok(&json!({ "refusals": last, "causes": causes, "total": total })))
}

fn kept(control: &Control) -> Result<&Endings, AdminRefusal> {
    let history = control.history().ok_or_else(|| AdminRefusal::not_found("nobody has kept them"))?;
    Ok(&history.endings)
}

/// The last ones, as many as the query asks for; how many there were of each cause; how many in all.
fn shown<T: Serialize, C: Serialize + Copy>(
    last: &Last<T, C>,
    query: &str,
) -> Result<(Value, Value, u64), AdminRefusal> {
    let mut limit = endings::KEPT;
    for (key, value) in target::pairs(query)? {
        match key.as_str() {
            "limit" => {
                let number = value.parse().ok().filter(|number| *number <= endings::KEPT);
                let wrong = || AdminRefusal::bad_request(format!("`limit` is a number from 0 to {}", endings::KEPT));
                limit = number.ok_or_else(wrong)?;
            }
            _ => return Err(AdminRefusal::bad_request(format!("`{key}` is not known here"))),
        }
    }
    let (last, counts) = (last.last(limit), last.counts());
    let last: Vec<&T> = last.iter().map(|each| &**each).collect();
    let causes: Vec<_> = counts.values().map(|(cause, count)| views::CauseCount { cause, count: *count }).collect();
    let total = causes.iter().map(|counted| counted.count).sum();
    Ok((json!(last), json!(causes), total))
}

async fn session(control: &Control, id: String) -> Result<AdminAnswer, AdminRefusal> {
    let found = control.survey().ask(one(&id), None).await.ok_or_else(busy)?;
    found.sights.first().map(|sight| ok(&views::SessionView::of(sight))).ok_or_else(|| no_session(&id))
}

async fn kill(control: &Control, id: String, body: &[u8]) -> Result<AdminAnswer, AdminRefusal> {
    let HowToKill { code, reason } = read(body)?;
    // A number that does not fit into 16 bits becomes one that is out of range.
    let code = code.map_or(KILLED, |code| CloseCode(if code.fract() == 0.0 { code as u16 } else { 0 }));
    let reason = reason.unwrap_or_else(|| "killed".to_owned());
    // The codes that an endpoint may send (RFC 6455 §7.4, IANA's registry).
    if !matches!(code.0, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(AdminRefusal::bad_request("`code` is 1000 to 1003, 1007 to 1014, or 3000 to 4999"));
    }
    if reason.len() > LONGEST_REASON {
        return Err(AdminRefusal::bad_request("`reason` has at most 123 bytes: a Close has no room for more"));
    }
    let kill = Kill { code, reason };
    let found = control.survey().ask(one(&id), Some(kill)).await.ok_or_else(busy)?;
    let killed = found.sights.iter().filter(|sight| !sight.is_ending).count();
    if found.matched == 0 {
        return Err(no_session(&id));
    }
    tracing::info!(request_id = id, code = code.0, sessions = killed, "killed by an operator");
    Ok(ok(&json!({ "id": id, "killed": killed })))
}

/// The choices that stand, and how long each still does.
fn choices(control: &Control) -> AdminAnswer {
    let book = control.orders().book();
    let choices = book.choices().standing(Instant::now()).map(|(chosen, left)| {
        let mut choice = json!({ "left_ms": left.as_millis() as u64 });
        let key = if matches!(chosen, Chosen::Session(_)) { "id" } else { "client" };
        choice[key] = chosen.to_string().into();
        choice
    });
    ok(&json!({ "choices": choices.collect::<Vec<Value>>() }))
}

async fn choose(control: &Control, body: &[u8]) -> Result<AdminAnswer, AdminRefusal> {
    let WhatToShow { id, client, for_ms } = read(body)?;
    let longest = LONGEST_TIME.as_millis() as f64;
    let time = match for_ms {
        None => USUAL_TIME,
        Some(millis) if millis.fract() == 0.0 && (1.0..=longest).contains(&millis) => {
            Duration::from_millis(millis as u64)
        }
        Some(_) => return Err(AdminRefusal::bad_request(format!("`for_ms` is a number from 1 to {longest}: an hour"))),
    };
    let chosen = match (id, client) {
        (Some(id), None) => {
            let found = control.survey().ask(one(&id), None).await.ok_or_else(busy)?;
            if found.matched == 0 {
                return Err(no_session(&id));
            }
            Chosen::Session(id)
        }
        (None, Some(client)) => {
            let wrong =
                || AdminRefusal::bad_request(format!("`client` is an address, a network or unix, not {client:?}"));
            Chosen::Client(observed::parse_network(&client).ok_or_else(wrong)?)
        }
        _ => return Err(AdminRefusal::bad_request("either `id` or `client` says whose frames")),
    };
    control.orders().observe(chosen.clone(), time).map_err(|TooMany| {
        let message = format!("{MOST_CHOICES} choices stand: take one back first, or wait for its end");
        AdminRefusal::new(StatusCode::CONFLICT, "too_many", message)
    })?;
    tracing::info!(%chosen, ?time, "an operator looks at its frames");
    Ok(choices(control))
}

async fn reload(control: &Arc<Control>, body: &[u8]) -> Result<AdminAnswer, AdminRefusal> {
    let HowToReload { color } = read(body)?;
    let Some(file) = control.config().origin else {
        let message = "the configuration came from flags: there is no file to read again";
        return Err(AdminRefusal::new(StatusCode::CONFLICT, "no_file", message));
    };
    let refuse = |code, message: String| AdminRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, message);
    let unavailable = |code, message| AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
    let Some(answer) = control.ask_for_reload(file.clone(), ReloadAsker::Operator) else {
        return Err(unavailable(
            "reload_waits",
            "another reload goes on, and one waits that will read the newest files",
        ));
    };
    let Ok(answer) = timeout(RELOAD_PATIENCE, answer).await else {
        return Err(unavailable(
            "reload_goes_on",
            "a file has not come yet: the reload goes on, and the log will tell its outcome",
        ));
    };
    let Ok(reloaded) = answer else {
        return Err(unavailable("reload_failed", "the reload panicked: this is a bug of longwire"));
    };
    match reloaded {
        Ok(reloaded) => Ok(ok(&reloaded)),
        Err(ReloadError::Leaving(leaving)) => Err(leaving.into()),
        Err(ReloadError::Start(error)) => Err(refuse("not_started", error.to_string())),
        Err(ReloadError::Config(diagnostics)) => {
            let items = diagnostics.items().map(|item| {
                json!({
                    "severity": match item.severity { Severity::Error => "error", Severity::Warning => "warning" },
                    "line": item.line,
                    "column": item.column,
                    "message": item.message,
                    "help": item.help,
                })
            });
            let message = format!("{} has {} problems: nothing has changed", file.display(), diagnostics.len());
            Err(refuse("wrong_config", message)
                .with("diagnostics", items.collect())
                .with("rendered", diagnostics.render(color).into()))
        }
    }
}

/// The sessions with this id. Mostly there is one, but a client may choose the id.
fn one(id: &str) -> Search {
    Search { id: Some(id.to_owned()), most: MOST_SESSIONS, ..Search::default() }
}

/// Reads a body of JSON. An empty body is an empty object.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, AdminRefusal> {
    match body.trim_ascii() {
        b"" => Ok(T::default()),
        [b'{', ..] => {
            serde_json::from_slice(body).map_err(|error| AdminRefusal::bad_request(format!("the body: {error}")))
        }
        _ => Err(AdminRefusal::bad_request("the body is no JSON object")),
    }
}

fn ok(value: &impl Serialize) -> AdminAnswer {
    json(StatusCode::OK, value)
}

fn too_large() -> AdminRefusal {
    AdminRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body has at most {BODY} bytes here"))
}

fn busy() -> AdminRefusal {
    AdminRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "a worker did not answer in time")
}

fn no_session(id: &str) -> AdminRefusal {
    AdminRefusal::not_found(format!("no live session has the id {id:?}"))
}

impl From<Unknown> for AdminRefusal {
    fn from(unknown: Unknown) -> Self {
        Self::not_found(unknown.to_string())
    }
}

impl From<Leaving> for AdminRefusal {
    fn from(leaving: Leaving) -> Self {
        Self::new(StatusCode::CONFLICT, "leaving", leaving.to_string())
    }
}
