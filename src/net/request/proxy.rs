//! One request, read downwards: it is refused here, forwarded as plain HTTP, or upgraded to a session.

use std::{
    mem,
    sync::{Arc, PoisonError},
    time::Instant,
};

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    ext::ReasonPhrase,
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, VIA},
    http::request::Parts,
};

use super::{
    admitting::{admit, limits_here},
    announcement::announcement,
    answer::{AnswerBody, AnswerEnding, Keep, Patience},
    answer_rules::answer_rules,
    asked::{Asked, OnRoute},
    attempts::{Attempt, Attempts, Wishes},
    auth::{AuthAnswer, AuthRefusal, ask},
    comeback::{RESUME, Reclaimed, Return},
    connection::{AfterHttp, Connection},
    farewell::Acceptance,
    own_answer::{self, CLOSE},
    probe_end::{self, AdmittedProbe},
    resuming::{ResumePromise, reclaim, recognize, withdraw_extensions},
    successor::KeptHandshake,
    taking::{find_route, rewritten, take_cookie},
};
use crate::{
    access_log::Record,
    balance::{Key, Pick, Upstream},
    error::{Error, Kind},
    headers::{self, BoundRules, Reach},
    net::{
        backend::{
            dialer::{Answered, Greeting, Switched, is_repeatable},
            handshake::switching,
            request_body::{BytesSent, RequestBody},
            request_head::Purpose,
            way::Way,
        },
        counts::admission::Admitted,
        session::{
            held::{Holdings, Opening},
            reclaim::FirstWords,
        },
        worker::plan::Plan,
    },
    routing::{AuthRequest, HttpsRedirect, Route, RouteAction},
    sender::{Client, Network},
    ws::{
        handshake::{self, Upgrade},
        offer::{self, Agreed},
        resume_offer::withdraw_resume,
    },
};

/// The `Via` of this hop in a 101.
static VIA_HERE: HeaderValue = HeaderValue::from_static(headers::VIA_1_1);

/// The outcome of a request that is not refused.
enum RequestOutcome {
    /// A backend's answer, to be passed on as plain HTTP.
    Answer(BackendAnswer),
    /// A 101 that was believed.
    Upgrade(Upgraded),
    /// An OPTIONS or TRACE that may not be forwarded.
    EndsHere(Method),
    /// A redirect: its status and where it leads.
    Redirect(StatusCode, HeaderValue),
    /// The answer of a service that refused the request.
    Refused(Box<AuthRefusal>),
    /// A probe that ends here.
    Probe(AdmittedProbe),
    /// A client that comes back to its session.
    Return(Box<Reclaimed>),
}

/// A backend's answer.
struct BackendAnswer {
    answered: Answered,
    pick: Pick,
    /// How much of the request's body has been sent.
    sent: BytesSent,
    patience: Patience,
    /// The upstream of the backend that answered.
    upstream: Arc<Upstream>,
    /// How the connection came about.
    way: Way,
    /// Whether the client may send another request on its connection.
    keep_alive: bool,
}

/// What a request wants of a backend.
enum Errand {
    Session(Upgrade),
    /// An answer. The `Max-Forwards` that the backend gets.
    Answer(Option<u64>),
}

/// A backend's 101 that was believed, with what the new session needs.
struct Upgraded {
    switched: Switched,
    pick: Pick,
    agreed: Agreed,
    /// The number of the route among all routes.
    place: usize,
    admitted: Admitted,
    /// When the session has to end, if a service says so.
    expires: Option<Instant>,
    /// What the session keeps to be taken by another backend; `None` = the route holds no sessions.
    caller: Option<Box<KeptHandshake>>,
    promise: ResumePromise,
}

/// Answers one request.
pub(in crate::net) async fn answer(connection: &Arc<Connection>, request: Request<Incoming>) -> Response<AnswerBody> {
    connection.debt.pay();
    let plan = connection.worker.shared.plan();
    let trusted = &plan.config.trusted_proxies;
    let sender = connection.entrance.sender;
    let client = headers::client(sender, request.headers(), trusted);
    if headers::is_forwarded(request.headers()) && !headers::is_trusted(sender.client(), trusted) {
        note_stranger(connection, sender.client());
    }
    let log = plan.access_log.clone();
    let mut record = Record::new(log, client, request.method().as_str(), request.uri().path());
    (record.peer, record.tls) = (connection.entrance.process, connection.entrance.tls);
    record.told.clone_from(&connection.entrance.told);
    record.client_cert = connection.entrance.certificate.as_ref().map(|shown| Arc::clone(shown.facts()));
    // After a handshake, the client may have sent frames already. Behind a refusal they must never be read as a next request.
    let handshake = handshake::is_attempt(request.headers());
    record.count_in(Arc::clone(&connection.worker.shared.metrics), plan.endings.clone(), handshake);
    record.trace_in(connection.worker.shared.traces.begin(&request, handshake));
    let acceptance = Acceptance::prepare(plan.config.limits.refuse, &request);
    let mut route = None;
    let (mut parts, body) = request.into_parts();
    match serve(connection, &plan, (&mut parts, body), client, &mut route, &mut record).await {
        Ok(RequestOutcome::Answer(answer)) => pass_on(connection, &plan, answer, route, record),
        Ok(RequestOutcome::EndsHere(method)) => own_answer::end_here(connection, &method, route, record),
        Ok(RequestOutcome::Redirect(status, location)) => {
            own_answer::redirect(connection, (status, location), handshake, route, record)
        }
        Ok(RequestOutcome::Refused(refusal)) => {
            own_answer::pass_refusal(connection, *refusal, plan.config.via_header, handshake, route, record)
        }
        Ok(RequestOutcome::Upgrade(upgraded)) => {
            let opening = Box::new(opening(connection, &plan, upgraded, route, record));
            drop(plan);
            connection.leave_http(AfterHttp::Session(opening)).await
        }
        Ok(RequestOutcome::Return(reclaimed)) => {
            let comeback = Box::new(Return::new(&connection.worker.shared, &plan, *reclaimed, route, record));
            drop(plan);
            connection.leave_http(AfterHttp::Return(comeback)).await
        }
        Ok(RequestOutcome::Probe(probe)) => {
            let (shared, timeouts) = (&connection.worker.shared, plan.config.timeouts);
            let opening = Box::new(probe.open(shared, connection.guard.again(), timeouts, record));
            drop(plan);
            connection.leave_http(AfterHttp::Probe(opening)).await
        }
        Err(error) => {
            // What took no route is a probe. It reads a status, and a 101 would tell it that its orders are obeyed.
            let acceptance = acceptance.filter(|_| error.is_temporary() && route.is_some());
            match acceptance.zip(connection.worker.shared.admission.farewell_permit()) {
                Some((acceptance, permit)) => {
                    let refusal = Box::new(acceptance.refuse(
                        connection.guard.again(),
                        permit,
                        plan.config.timeouts.close,
                        &error,
                        route,
                        record,
                    ));
                    connection.leave_http(AfterHttp::Refusal(refusal)).await
                }
                None => own_answer::refuse(connection, &error, handshake, route, record),
            }
        }
    }
}

/// Finds out what a request is, and gets its answer. `taken`: the route that it takes, also if it is refused there.
async fn serve<'p>(
    connection: &Connection,
    plan: &'p Plan,
    (parts, body): (&mut Parts, Incoming),
    client: Client,
    taken: &mut Option<&'p Route>,
    record: &mut Record,
) -> Result<RequestOutcome, Error> {
    let shared = &connection.worker.shared;
    record.request_id = headers::request_id(&parts.headers, shared.nonces.next());
    if connection.entrance.is_misled {
        return Err(Error::from_source(Kind::PlainHttp, "this port speaks TLS: use https:// or wss://"));
    }
    headers::check_framing(&parts.method, &parts.uri, parts.version, &parts.headers)
        .map_err(|error| Error::from_source(Kind::BadRequest, error))?;
    let host = headers::host(&parts.uri, &parts.headers).to_owned();
    record.set_host(&host);
    if let Some(place) = plan.probe.as_ref().filter(|place| place.is_at(parts.uri.path())) {
        return probe_end::admit(shared, place, parts).map(RequestOutcome::Probe);
    }
    let (place, route) = find_route(connection, plan, parts, &host).ok_or(Kind::NoRoute)?;
    *taken = Some(route);
    let (name, upstream) = plan.terms[place].log.names();
    record.route = Some(Arc::clone(name));
    record.upstream = matches!(route.action, RouteAction::Forward(_)).then(|| Arc::clone(upstream));
    if !route.addresses.admits(client) {
        return Err(Kind::Denied.into());
    }
    if let Some(kind) = shared.orders.refusal(&route.name) {
        return Err(kind.into());
    }
    let (upstream, way) = match route.action {
        RouteAction::Forward(upstream) => (&plan.upstreams[upstream], &plan.ways[upstream]),
        RouteAction::Redirect(redirect) => return redirected(redirect, &host, parts),
    };
    if route.needs_client_cert && connection.entrance.certificate.is_none() {
        return Err(Kind::ClientCert.into());
    }
    let on_route = OnRoute { client, host: &host, place, route, upstream, way };
    go_on(connection, plan, (parts, body), on_route, record).await
}

/// Finds out whether a request may go on from its route to a backend, and gets its answer.
async fn go_on(
    connection: &Connection,
    plan: &Plan,
    (parts, body): (&mut Parts, Incoming),
    on_route: OnRoute<'_>,
    record: &mut Record,
) -> Result<RequestOutcome, Error> {
    let (shared, limits) = (&connection.worker.shared, &plan.config.limits);
    let OnRoute { client, place, route, upstream, .. } = on_route;
    let Some(errand) = errand_of(route, parts)? else {
        return Ok(RequestOutcome::EndsHere(mem::take(&mut parts.method)));
    };
    let wants = match &errand {
        Errand::Session(wants) => Some(wants),
        Errand::Answer(_) => None,
    };
    let known = match wants.filter(|_| route.resume.is_some()) {
        Some(wants) => recognize(shared, client, wants)?,
        None => None,
    };
    let (target, prefix) = rewritten(route, parts)?.unzip();
    // A client that comes back begins no session.
    let begins = wants.map(|_| known.is_none());
    let permission = match route.auth_request.as_deref() {
        None => None,
        // Boxed, because requests on other routes have no use for so large a future.
        Some(auth) => match Box::pin(permit(connection, plan, parts, (auth, on_route), begins, record)).await? {
            AuthAnswer::Permitted(permission) => Some(permission),
            AuthAnswer::Refused(refusal) => return Ok(RequestOutcome::Refused(refusal)),
        },
    };
    let promise = wants.map_or(ResumePromise::Nothing, |wants| {
        ResumePromise::new(connection, route, wants, &parts.headers, permission.as_deref())
    });
    let is_in_rates = permission.is_some() && known.is_none();
    if let Some((known, likeness)) = known.zip(promise.likeness()) {
        let expires = permission.as_ref().and_then(|permission| permission.expires);
        let claim = Box::pin(reclaim(connection, plan, known, (client, likeness), expires));
        if let Some(reclaimed) = claim.await? {
            return Ok(RequestOutcome::Return(Box::new(reclaimed)));
        }
    }
    let caller = (wants.is_some() && route.hold.is_some())
        .then(|| Box::new(KeptHandshake::keep(connection, parts, client, (&route.name, upstream.name()))));
    let granted = permission.as_deref().zip(route.auth_request.as_deref());
    // A value that only the service may say is not that of the client.
    let hashed = granted.filter(|(_, auth)| upstream.hashed_field().is_some_and(|name| auth.pass.contains(&name)));
    let fields = hashed.map_or(&parts.headers, |(permission, _)| &permission.fields);
    let key = upstream.key(client, fields, parts.uri.query());
    // The service was asked about the target of the client.
    if let Some(target) = target {
        parts.uri = target;
    }
    let prefix = prefix.flatten();
    let sticky = take_cookie(connection, plan, (route, place), upstream, &mut parts.headers);
    // Both futures are large, and this one is moved several times. In a box they are moved once.
    match errand {
        Errand::Session(wants) => {
            let admitted = admit(connection, plan, client, is_in_rates).await?;
            let asked = Asked { parts, on_route, prefix, permission, sticky, wants };
            Box::pin(upgrade(connection, plan, (admitted, caller, promise), asked, key, record)).await
        }
        Errand::Answer(wants) => {
            let body = RequestBody::new(body, plan.config.timeouts.request_body, limits.body_size)?;
            let asked = Asked { parts, on_route, prefix, permission, sticky, wants };
            Box::pin(forward(connection, plan, asked, body, key, record)).await
        }
    }
}

/// What a request wants of a backend; `None` = it ends here. What no backend may see is taken out of it.
fn errand_of(route: &Route, parts: &mut Parts) -> Result<Option<Errand>, Error> {
    if !route.may_compress {
        offer::withdraw_compression(&mut parts.headers);
    }
    withdraw_extensions(route, &mut parts.headers);
    Ok(match handshake::classify(&parts.method, parts.version, &parts.headers) {
        handshake::RequestKind::Bad(bad) => return Err(bad.into()),
        handshake::RequestKind::WebSocket(wants) => {
            let foreign = |origin| Error::from_source(Kind::Origin, origin);
            // The fields as the client sent them: `Connection` cannot remove `Origin` before this.
            route.origins.check(&parts.headers).map_err(foreign)?;
            if wants.offer.resume().is_some() {
                withdraw_resume(&mut parts.headers);
            }
            Some(Errand::Session(wants))
        }
        handshake::RequestKind::Plain => {
            withdraw_resume(&mut parts.headers);
            match headers::reach(&parts.method, &parts.headers) {
                Reach::Here => None,
                Reach::Open => Some(Errand::Answer(None)),
                Reach::Beyond(left) => Some(Errand::Answer(Some(left))),
            }
        }
    })
}

/// Asks the service of the route. `begins`: whether the request begins a session; `None` = it is no handshake.
async fn permit(
    connection: &Connection,
    plan: &Plan,
    parts: &Parts,
    (auth, on_route): (&AuthRequest, OnRoute<'_>),
    begins: Option<bool>,
    record: &Record,
) -> Result<AuthAnswer, Error> {
    let OnRoute { client, route, .. } = on_route;
    let shared = &connection.worker.shared;
    if begins == Some(true) {
        let limits = limits_here(plan, &shared.fleet);
        shared.admission.take_from_rates(client, &limits, Instant::now())?;
    }
    let hop = on_route.hop(connection, plan, &record.request_id);
    let answer = ask(connection, plan, (auth, &route.name), parts, hop).await?;
    // A drain that began meanwhile would end the session at once. A plain request is finished, as others on their way are.
    if begins.is_some()
        && matches!(answer, AuthAnswer::Permitted(_))
        && let Some(kind) = shared.orders.refusal(&route.name)
    {
        return Err(kind.into());
    }
    Ok(answer)
}

/// The redirect of a request for this host.
fn redirected(redirect: HttpsRedirect, host: &str, parts: &Parts) -> Result<RequestOutcome, Error> {
    let bad = |why: &'static str| Error::from_source(Kind::BadRequest, why);
    let location = redirect.location(host, &parts.uri).ok_or_else(|| bad("a redirect needs a host"))?;
    let location = HeaderValue::try_from(location).map_err(|_| bad("the target cannot stand in a redirect"))?;
    Ok(RequestOutcome::Redirect(redirect.status, location))
}

/// Sends a handshake to one backend after another, until one gives an answer that counts.
async fn upgrade(
    connection: &Connection,
    plan: &Plan,
    (admitted, caller, promise): (Admitted, Option<Box<KeptHandshake>>, ResumePromise),
    asked: Asked<'_, Upgrade>,
    key: Key,
    record: &mut Record,
) -> Result<RequestOutcome, Error> {
    let OnRoute { client, host, route, upstream, .. } = asked.on_route;
    let fields = &asked.parts.headers;
    let announcement = announcement(connection, plan, upstream, fields, host, client, &record.request_id);
    let terms = asked.terms(connection, plan, &announcement);
    let wishes = Wishes { key, bond: asked.bond(connection, terms), backend: asked.wanted_backend() };
    let mut attempts = Attempts::new(upstream, wishes, &connection.worker.shared.metrics);
    let mut last_answer = None;
    loop {
        let Attempt { mut pick, link } = match attempts.next_handshake(plan.config.timeouts.connect, record).await {
            Ok(attempt) => attempt,
            Err(error) => return last_answer.ok_or(error),
        };
        let told = caller.as_ref().map(|caller| caller.fields());
        let purpose = Purpose::Session { traced: record.trace.context_headers(), told };
        let request = asked.for_backend(connection, plan, &record.request_id, purpose);
        let greeting = connection.worker.dialer.handshake(attempts.destination(&pick), &request, link, terms).await;
        match greeting {
            Ok(Greeting::Switched(mut switched)) => match handshake::verify(&asked.wants, &switched.headers) {
                Ok(agreed) => {
                    asked.tell_backend(&pick, &mut switched.headers);
                    attempts.succeed(&mut pick, StatusCode::SWITCHING_PROTOCOLS, switched.connect, record);
                    let expires = asked.permission.as_ref().and_then(|permission| permission.expires);
                    let place = asked.on_route.place;
                    let upgraded = Upgraded { switched, pick, agreed, place, admitted, expires, caller, promise };
                    return Ok(RequestOutcome::Upgrade(upgraded));
                }
                Err(error) => {
                    attempts.fail(&mut pick, Error::from_source(Kind::FalseUpgrade, error), true, record)?;
                }
            },
            Ok(Greeting::Answered(mut answered)) => {
                asked.tell_backend(&pick, answered.response.headers_mut());
                attempts.succeed(&mut pick, answered.response.status(), answered.connect, record);
                let moves_on = matches!(answered.response.status().as_u16(), 502..=504);
                // The client may have sent frames already. They must never be read as a next request, so its connection
                // is closed. NTLM is the exception: it needs a second request on the same connection, and its clients
                // wait for the answer before they send more.
                let keep_alive = headers::asks_to_authenticate_connection(answered.response.headers());
                let (sent, upstream, way) = (BytesSent::default(), Arc::clone(upstream), terms.way.clone());
                let patience = Patience::new(answered.response.headers(), &route.timeouts);
                let answer =
                    RequestOutcome::Answer(BackendAnswer { answered, pick, sent, patience, upstream, way, keep_alive });
                if !moves_on {
                    return Ok(answer);
                }
                last_answer = Some(answer);
            }
            Err(error) => attempts.fail(&mut pick, error, true, record)?,
        }
    }
}

/// Sends a plain request to one backend after another, for as long as it may be sent again.
async fn forward(
    connection: &Connection,
    plan: &Plan,
    asked: Asked<'_, Option<u64>>,
    body: RequestBody,
    key: Key,
    record: &mut Record,
) -> Result<RequestOutcome, Error> {
    let OnRoute { client, host, route, upstream, .. } = asked.on_route;
    let fields = &asked.parts.headers;
    let announcement = announcement(connection, plan, upstream, fields, host, client, &record.request_id);
    let terms = asked.terms(connection, plan, &announcement);
    let repeatable = is_repeatable(&asked.parts.method, &body);
    let mut body = Some(body);
    let wishes = Wishes { key, bond: asked.bond(connection, terms), backend: asked.wanted_backend() };
    let mut attempts = Attempts::new(upstream, wishes, &connection.worker.shared.metrics);
    loop {
        let Attempt { mut pick, link } = attempts.next(record)?;
        let sent = body.as_ref().map(RequestBody::progress).unwrap_or_default();
        let purpose = Purpose::Answer { max_forwards: asked.wants };
        let request = asked.for_backend(connection, plan, &record.request_id, purpose);
        match connection.worker.dialer.exchange(attempts.destination(&pick), &request, &mut body, link, terms).await {
            Ok(mut answered) => {
                asked.tell_backend(&pick, answered.response.headers_mut());
                attempts.succeed(&mut pick, answered.response.status(), answered.connect, record);
                let (upstream, way, keep_alive) = (Arc::clone(upstream), terms.way.clone(), true);
                let patience = Patience::new(answered.response.headers(), &route.timeouts);
                return Ok(RequestOutcome::Answer(BackendAnswer {
                    answered,
                    pick,
                    sent,
                    patience,
                    upstream,
                    way,
                    keep_alive,
                }));
            }
            Err(error) => {
                record.traffic.bytes_to_backend = sent.bytes();
                attempts.fail(&mut pick, error, repeatable, record)?;
            }
        }
    }
}

/// Counts a request whose forwarding headers are dropped, and warns of a sender of many such requests. The sender may be
/// the operator's own load balancer. Then backends take the load balancer for the client, and plain HTTP for the
/// client's scheme. Some backends redirect such a client to `https` again and again.
fn note_stranger(connection: &Connection, sender: Client) {
    let strangers = &connection.worker.shared.strangers;
    let name = if sender.is_of_unix() { Network::UNIX.to_owned() } else { sender.to_string() };
    if strangers.lock().unwrap_or_else(PoisonError::into_inner).note(sender, Instant::now()) {
        tracing::warn!(
            address = %sender,
            set = format!("trusted_proxies: [ \"{name}\" ]"),
            "X-Forwarded-* headers from this address are dropped, because it is not trusted; if it is your load balancer, trust it"
        );
    }
}

/// Passes a backend's answer on, with its body as it comes.
fn pass_on(
    connection: &Arc<Connection>,
    plan: &Plan,
    answer: BackendAnswer,
    route: Option<&Route>,
    mut record: Record,
) -> Response<AnswerBody> {
    let BackendAnswer { answered: Answered { response, .. }, pick, sent, patience, upstream, way, keep_alive } = answer;
    let (mut parts, body) = response.into_parts();
    record.status = Some(parts.status.as_u16());
    headers::strip_hop_by_hop(&mut parts.headers);
    headers::merge_lengths(&mut parts.headers);
    if plan.config.via_header {
        headers::add_via(&mut parts.headers, parts.version);
    }
    if !keep_alive || connection.worker.shared.orders.is_announced() {
        parts.headers.insert(CONNECTION, CLOSE);
    }
    if let Some(rules) = answer_rules(route, &record) {
        rules.apply(&mut parts.headers);
    }
    let keep = match keep_alive && upstream.may_keep_connections() {
        true if body.is_private() => Some(Keep::ForClient(Arc::clone(connection), upstream.name().to_owned())),
        true if upstream.reuses_connections() => Some(Keep::ForAll(Arc::clone(connection))),
        _ => None,
    };
    let ending = AnswerEnding { debt: connection.debt.clone(), keep: keep.map(|keep| (keep, way)), pick, record };
    let body = AnswerBody::backends(body, patience, sent, ending);
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    // hyper writes the usual reason phrase by itself.
    if let Some(reason) = parts.extensions.remove::<ReasonPhrase>() {
        response.extensions_mut().insert(reason);
    }
    response
}

/// The 101 for the client, and the session that follows it.
fn opening(connection: &Connection, plan: &Plan, upgraded: Upgraded, route: Option<&Route>, record: Record) -> Opening {
    let Upgraded { switched, pick, agreed, place, admitted, expires, caller, promise } = upgraded;
    let shared = &connection.worker.shared;
    let protocol = agreed.subprotocol.as_deref();
    let greeted = route.and_then(|route| promise.greet(connection, route, record.client, protocol));
    let rules = answer_rules(route, &record);
    let of_route: Vec<_> = rules.into_iter().flat_map(BoundRules::fields).collect();
    let chosen_by_backend = protocol.is_some() && greeted.is_none();
    let fields = fields_of_101(plan, chosen_by_backend, &switched.headers)
        .filter(|(name, _)| !rules.is_some_and(|rules| rules.drops(name)))
        .chain(of_route.iter().map(|(name, value)| (*name, value)))
        .chain(greeted.is_some().then_some((&SEC_WEBSOCKET_PROTOCOL, &RESUME)));
    let mut answer = switching(&switched.reason, fields);
    let reclaimable = greeted.and_then(|greeted| {
        answer.extend(greeted.frame);
        greeted.reclaimable
    });
    let caller = caller.filter(|caller| caller.may_call(&switched.headers));
    let (log, common) = plan.terms[place].of_session(agreed.extensions, caller.is_some());
    let redial = caller.map(|caller| caller.into_redial(&switched.headers));
    let record = record.into_session(log, Arc::clone(pick.backend()));
    let (counted, permit) = admitted.into_session(|| connection.guard.open_session());
    let holdings = Holdings { guards: (Some(pick.into_seat()), counted, permit), record };
    Opening {
        answer: FirstWords(answer),
        patience: plan.config.timeouts.request_header,
        backend: (switched.stream, switched.early),
        common,
        nonce: shared.nonces.next() as u64,
        expires,
        redial,
        reclaimable,
        holdings,
    }
}

/// The fields of a backend's 101 that the client gets, without the fields that make it a 101. `has_subprotocol`: whether the
/// backend's choice of a subprotocol is among them.
fn fields_of_101<'a>(
    plan: &Plan,
    has_subprotocol: bool,
    headers: &'a HeaderMap,
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    // A 1xx has no body, so that a length means nothing there (RFC 9112 §6.3). An empty subprotocol means that there is none.
    let passes =
        move |name: &HeaderName| *name != CONTENT_LENGTH && (has_subprotocol || *name != SEC_WEBSOCKET_PROTOCOL);
    let via = plan.config.via_header.then_some((&VIA, &VIA_HERE));
    headers::end_to_end(headers).filter(move |(name, _)| passes(name)).chain(via)
}
