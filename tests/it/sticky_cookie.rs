//! The cookie by which a client comes back to the backend that served it.

use longwire::{
    balance::Duty,
    net::{front::inherited::Inherited, operate::handover::Handover},
};

use crate::harness::{Backend, HANDSHAKE_HEADERS, Head, Proxy, Setup, Wire, handshake, tls_connect, trusting, within};

/// Two keys for tests, as `openssl rand -base64 32` makes them.
const KEY: &str = "q3RlbXBsZSBrZXkgZm9yIHRlc3RzIG9mIGxvbmd3aXI=\n";
const OTHER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

fn setup(backends: &[&Backend]) -> Setup {
    sticky(backends, "")
}

/// A proxy with these keys of `sticky_cookie`.
fn sticky(backends: &[&Backend], keys: &str) -> Setup {
    Proxy::before(backends).routes(&format!("routes: [ {{ upstream: chat, sticky_cookie: {{ {keys} }} }} ]"))
}

async fn get(proxy: &Proxy, fields: &str) -> Head {
    proxy.client().await.get("/", fields).await.head
}

/// A new session, and its 101.
async fn session(proxy: &Proxy, fields: &str) -> (Wire, Head) {
    let mut client = proxy.client().await;
    client.send(handshake("/ws", fields)).await;
    let head = client.upgraded().await;
    (client, head)
}

/// The backend that made an answer.
fn backend_of(head: &Head) -> &str {
    head.header("x-backend").expect("an echo backend")
}

/// The cookie that an answer sets: `NAME=VALUE`.
fn cookie_of(head: &Head) -> Option<&str> {
    head.header("set-cookie")?.split(';').next()
}

fn with(cookie: &str) -> String {
    format!("Cookie: {cookie}\r\n")
}

/// The cookie of a client that a backend has served.
async fn cookie_for(proxy: &Proxy, backend: &Backend) -> String {
    loop {
        let head = get(proxy, "").await;
        if backend_of(&head) == backend.to_string() {
            return cookie_of(&head).expect("a cookie").to_owned();
        }
    }
}

/// Sends a plain request and a handshake with this cookie, and returns the answers.
async fn answers(proxy: &Proxy, cookie: &str) -> [Head; 2] {
    let plain = get(proxy, &with(cookie)).await;
    let (client, head) = session(proxy, &with(cookie)).await;
    client.leave().await;
    [plain, head]
}

/// Asserts that the cookie leads to this backend, and is not set again.
async fn assert_stays(proxy: &Proxy, cookie: &str, backend: &Backend) {
    for _ in 0..3 {
        for head in answers(proxy, cookie).await {
            assert_eq!(backend_of(&head), backend.to_string());
            assert_eq!(head.header("set-cookie"), None, "{head:?}");
        }
    }
}

/// Asserts that the cookie does not count: each answer has a new one, which names its own backend.
async fn assert_renewed(proxy: &Proxy, cookie: &str) {
    for head in answers(proxy, cookie).await {
        let renewed = cookie_of(&head).unwrap_or_else(|| panic!("no new cookie for {cookie}: {head:?}"));
        assert_ne!(renewed, cookie);
        let again = get(proxy, &with(renewed)).await;
        assert_eq!((backend_of(&again), cookie_of(&again)), (backend_of(&head), None));
    }
}

#[tokio::test]
async fn client_comes_back_to_its_backend_with_plain_requests_and_handshakes() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = setup(&[&a, &b]).start();
    let first = get(&proxy, "").await;
    let (client, second) = session(&proxy, "").await;
    client.leave().await;
    assert_ne!(backend_of(&first), backend_of(&second), "by turns without the cookie");
    for head in [&first, &second] {
        let own = if backend_of(head) == a.to_string() { &a } else { &b };
        assert_stays(&proxy, cookie_of(head).unwrap(), own).await;
        let set = head.header("set-cookie").unwrap();
        let (value, attributes) = set.strip_prefix("longwire=").unwrap().split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        assert!(value.len() == 22 && !set.contains(&own.address().port().to_string()), "{set}");
    }
    let without = [get(&proxy, "").await, get(&proxy, "Cookie: theme=dark\r\n").await];
    assert_ne!(backend_of(&without[0]), backend_of(&without[1]));
    assert!(without.iter().all(|head| cookie_of(head).is_some()));
    proxy.stop().await;
}

#[tokio::test]
async fn backend_does_not_get_the_cookie_and_of_several_the_first_that_counts_decides() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = setup(&[&a, &b]).start();
    let (of_a, of_b) = (cookie_for(&proxy, &a).await, cookie_for(&proxy, &b).await);
    let forged = format!("longwire={}", "A".repeat(22));
    for (fields, left) in [
        (with(&of_b), vec![]),
        (with(&format!("a=1; {of_b}; c=3")), vec!["a=1; c=3"]),
        (with(&format!("{forged}; {of_b}; {of_a}")), vec![]),
        (
            with("a=1") + &with(&format!("longwire=; {of_b}")) + &with(&format!("x={forged}; {of_a}")),
            vec!["a=1", "x=longwire"],
        ),
    ] {
        let before = b.heads().len();
        let mut client = proxy.client().await;
        for (method, body) in [("GET", ""), ("POST", "ok")] {
            let length = if body.is_empty() { "" } else { "Content-Length: 2\r\n" };
            client.send(format!("{method} /ws HTTP/1.1\r\nHost: a\r\n{fields}{length}\r\n{body}")).await;
            assert_eq!(client.response().await.status(), 200);
        }
        client.send(format!("GET /ws HTTP/1.1\r\nHost: a\r\n{HANDSHAKE_HEADERS}{fields}\r\n")).await;
        assert_eq!(client.upgraded().await.header("set-cookie"), None);
        client.leave().await;
        let heads = b.heads().split_off(before);
        assert_eq!(heads.len(), 3, "{fields}");
        for head in heads {
            let cookies = head.headers("cookie");
            assert_eq!(cookies.len(), left.len(), "{head:?}");
            assert!(cookies.iter().zip(&left).all(|(cookie, left)| cookie.starts_with(left)), "{head:?}");
            assert!(!head.as_str().contains(&of_b) && !head.as_str().contains(&of_a), "{head:?}");
        }
    }
    proxy.stop().await;
}

#[tokio::test]
async fn forged_cut_and_foreign_cookies_are_ignored_and_renewed() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let (proxy, other) = (setup(&[&a, &b]).start(), setup(&[&a, &b]).start());
    let good = cookie_for(&proxy, &a).await;
    let swapped = if good.ends_with('A') { "B" } else { "A" };
    for bad in [
        "longwire=".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        format!("{}{swapped}", &good[..good.len() - 1]),
        format!("longwire={a}"),
        format!("longwire=\"{}\"", &good["longwire=".len()..]),
        // Another process has another key.
        cookie_for(&other, &a).await,
    ] {
        assert_renewed(&proxy, &bad).await;
    }
    assert_stays(&proxy, &good, &a).await;
    drop(other);
    proxy.stop().await;
}

#[tokio::test]
async fn proxies_with_one_key_file_agree_whatever_the_order_of_their_backends() {
    let (a, b, c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("sticky.key"), KEY).unwrap();
    let with_key = |backends: &[&Backend]| setup(backends).with("sticky_key_file: sticky.key").base(folder.path());
    let (one, other) = (with_key(&[&a, &b]).start(), with_key(&[&c, &b, &a]).start());
    for backend in [&a, &b] {
        let cookie = cookie_for(&one, backend).await;
        assert_stays(&other, &cookie, backend).await;
        assert_eq!(cookie_for(&other, backend).await, cookie);
    }
    assert_renewed(&one, &cookie_for(&other, &c).await).await;
    drop(other);
    one.stop().await;
}

#[tokio::test]
async fn backends_that_come_and_go_without_a_reload_have_their_cookies() {
    let (a, b, c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("backends.yaml");
    let write = |backends: &[&Backend]| {
        let entries: String = backends.iter().map(|backend| format!("- address: {backend}\n")).collect();
        fs_err::write(&list, entries).unwrap();
    };
    write(&[&a, &b]);
    let proxy = setup(&[]).entry(&format!("file: \"{}\"", list.display())).start();
    let of_a = within("a", cookie_for(&proxy, &a)).await;
    write(&[&c, &b, &a]);
    let of_c = within("c", cookie_for(&proxy, &c)).await;
    assert_stays(&proxy, &of_a, &a).await;
    assert_stays(&proxy, &of_c, &c).await;
    write(&[&b, &c]);
    within("the end of a", async { while backend_of(&get(&proxy, &with(&of_a)).await) == a.to_string() {} }).await;
    assert_renewed(&proxy, &of_a).await;
    assert_stays(&proxy, &of_c, &c).await;
    proxy.stop().await;
}

#[tokio::test]
async fn backend_that_takes_no_more_is_left_and_the_cookie_renewed() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let mut proxy = setup(&[&a, &b]).start();
    let of_a = cookie_for(&proxy, &a).await;
    let assert_left = async |proxy: &Proxy, why: &str| {
        for head in answers(proxy, &of_a).await {
            assert_eq!(backend_of(&head), b.to_string(), "{why}");
            assert_stays(proxy, cookie_of(&head).unwrap_or_else(|| panic!("{why}")), &b).await;
        }
    };
    for duty in [Duty::Drain, Duty::Down] {
        proxy.control().set_duty("chat", &a.to_string(), duty).unwrap();
        assert_left(&proxy, duty.as_str()).await;
        proxy.control().set_duty("chat", &a.to_string(), Duty::Up).unwrap();
        assert_stays(&proxy, &of_a, &a).await;
    }
    proxy.reload(&setup(&[&a, &b]).backend(0, "down: true"));
    assert_left(&proxy, "down in the file").await;
    proxy.reload(&setup(&[&b]));
    assert_left(&proxy, "gone from the file").await;
    proxy.reload(&setup(&[&a, &b]).backend(0, "max_conns: 1"));
    let (client, head) = session(&proxy, &with(&of_a)).await;
    assert_eq!(backend_of(&head), a.to_string(), "a backend that is back is known again");
    assert_left(&proxy, "full").await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn cookie_names_the_backend_that_served_in_the_end() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = setup(&[&a, &b]).upstream("balance: round_robin, max_fails: 2").start();
    let of_a = cookie_for(&proxy, &a).await;
    let address = a.address();
    a.kill().await;
    // The first two requests fail there and move on. By then the backend is out, and is not asked any more.
    for (tries, head) in
        [2, 2, 1, 1].into_iter().zip(answers(&proxy, &of_a).await.into_iter().chain(answers(&proxy, &of_a).await))
    {
        assert_eq!(backend_of(&head), b.to_string());
        let renewed = cookie_of(&head).unwrap();
        assert_eq!(backend_of(&get(&proxy, &with(renewed)).await), b.to_string(), "{tries}");
    }
    let records: Vec<_> = proxy.stop().await;
    let tries: Vec<_> =
        records.iter().filter_map(|record| record["tries"].as_u64()).filter(|tries| *tries > 1).collect();
    assert_eq!(tries, [2, 2], "{address}");
}

#[tokio::test]
async fn handshake_that_a_backend_answers_with_503_moves_on_and_its_cookie_too() {
    let echo = Backend::echo();
    let starting = Backend::script(|mut wire, head| async move {
        let status = if head.header("upgrade").is_some() { "503 Starting" } else { "200 OK" };
        wire.send(format!(
            "HTTP/1.1 {status}\r\nX-Backend: starting\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ))
        .await;
        wire.finish().await;
    });
    let proxy = setup(&[&starting, &echo]).start();
    let first = get(&proxy, "").await;
    assert_eq!(backend_of(&first), "starting");
    let (client, head) = session(&proxy, &with(cookie_of(&first).unwrap())).await;
    client.leave().await;
    assert_eq!(backend_of(&head), echo.to_string());
    assert_stays(&proxy, cookie_of(&head).unwrap(), &echo).await;
    proxy.stop().await;
}

#[tokio::test]
async fn own_key_lasts_over_reloads_and_a_key_of_the_file_is_read_again() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("proxy.yaml"), folder.path().join("sticky.key"));
    let setup = setup(&[&a, &b]);
    let proxy = setup.clone().start_from(&path);
    let own = cookie_for(&proxy, &a).await;
    fs_err::write(&path, setup.clone().with("via_header: true").text()).unwrap();
    proxy.control().reload_from(&path).unwrap();
    assert_stays(&proxy, &own, &a).await;
    // From here on, a key of the file.
    fs_err::write(&key, KEY).unwrap();
    fs_err::write(&path, setup.clone().with("sticky_key_file: sticky.key").text()).unwrap();
    let reloaded = proxy.control().reload_from(&path).unwrap();
    assert!(reloaded.settings_changed.contains(&"sticky_key_file".to_owned()), "{reloaded:?}");
    let of_file = cookie_for(&proxy, &a).await;
    assert_renewed(&proxy, &own).await;
    // A bad file keeps the old key.
    fs_err::write(&key, "c2hvcnQ=\n").unwrap();
    let error = proxy.control().reload_from(&path).unwrap_err().to_string();
    assert!(error.contains("sticky.key: a key has 32 bytes or more, and this one has 5"), "{error}");
    assert!(error.contains("proxy.yaml:") && error.contains("openssl rand -base64 32"), "{error}");
    assert_stays(&proxy, &of_file, &a).await;
    // Another key, though `proxy.yaml` says the same.
    fs_err::write(&key, OTHER_KEY).unwrap();
    proxy.control().reload_from(&path).unwrap();
    assert_renewed(&proxy, &of_file).await;
    // Without the file, the process has the key that it had at first.
    fs_err::write(&path, setup.text()).unwrap();
    proxy.control().reload_from(&path).unwrap();
    assert_stays(&proxy, &own, &a).await;
    proxy.stop().await;
}

#[tokio::test]
async fn successor_of_a_hand_over_knows_the_cookies() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwire.sock");
    let mut old = setup(&[&a, &b]).start();
    let cookie = cookie_for(&old, &a).await;
    let handover = Handover::bind(&path, &mut Inherited::default()).unwrap();
    let next = setup(&[&b, &a]).listener(&format!("bind: \"{}\"", old.address()));
    let successor = async {
        let path = path.clone();
        let collect = move || Inherited::collect(Some(&path));
        let mut inherited = tokio::task::spawn_blocking(collect).await.unwrap().unwrap();
        let new = next.start_with(&mut inherited);
        assert!(tokio::task::spawn_blocking(|| inherited.ready()).await.unwrap().unwrap());
        new
    };
    let (new, ()) = tokio::join!(successor, handover.handed_over(old.control()));
    old.drain().await;
    assert_stays(&new, &cookie, &a).await;
    new.stop().await;
    old.stop().await;
}

#[tokio::test]
async fn cookies_of_the_backend_itself_stay() {
    const OWN: &str = "Set-Cookie: sid=1; HttpOnly\r\nSet-Cookie: theme=dark\r\n";
    let backend = Backend::script(|mut wire, head| async move {
        match (head.header("upgrade"), head.first_line()) {
            (None, _) => wire.send(format!("HTTP/1.1 200 OK\r\n{OWN}Content-Length: 0\r\n\r\n")).await,
            (_, line) if line.contains("/refused") => {
                wire.send(format!("HTTP/1.1 401 Unauthorized\r\n{OWN}Content-Length: 0\r\n\r\n")).await;
            }
            _ => wire.accept(&head, OWN).await,
        }
        wire.whatever_comes().await;
    });
    let proxy = setup(&[&backend]).start();
    let refused = proxy.client().await.refused_upgrade("/refused").await;
    assert_eq!(refused.status(), 401);
    let (client, upgraded) = session(&proxy, "").await;
    for head in [get(&proxy, "").await, refused.head, upgraded] {
        let cookies = head.headers("set-cookie");
        assert_eq!(cookies[..2], ["sid=1; HttpOnly", "theme=dark"], "{head:?}");
        assert!(cookies.len() == 3 && cookies[2].starts_with("longwire="), "{head:?}");
    }
    drop(client);
    proxy.stop().await;
}

#[tokio::test]
async fn cookie_is_secure_where_the_request_came_over_tls() {
    let trusted = "trusted_proxies: [ 127.0.0.0/8 ]";
    for (keys, settings, scheme, expected) in [
        ("", trusted, "https", true),
        ("", trusted, "wss, http", true),
        ("", trusted, "http", false),
        ("", "", "https", false),
        ("secure: always", "", "http", true),
        ("secure: never", trusted, "https", false),
    ] {
        let backend = Backend::echo();
        let proxy = sticky(&[&backend], keys).with(settings).start();
        let fields = format!("X-Forwarded-Proto: {scheme}\r\n");
        let (client, upgraded) = session(&proxy, &fields).await;
        client.leave().await;
        for head in [get(&proxy, &fields).await, upgraded] {
            let set = head.header("set-cookie").unwrap();
            assert_eq!(set.ends_with("; SameSite=Lax; Secure"), expected, "{keys} {scheme}: {set}");
        }
        proxy.stop().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = "{ cert: dev.crt, key: dev.key, self_signed: true }";
    let backend = Backend::echo();
    let proxy = sticky(&[&backend], "name: s, same_site: strict").tls(tls, folder.path()).start();
    let connector = trusting(&folder.path().join("dev.crt"), &[], &["http/1.1"]);
    let mut client = tls_connect(&connector, proxy.address(), "localhost").await.unwrap();
    let head = client.get("/", "X-Forwarded-Proto: http\r\n").await.head;
    let (name, attributes) = head.header("set-cookie").unwrap().split_once("; ").unwrap();
    assert!(name.starts_with("s="), "{name}");
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Strict; Secure");
    client.send(handshake("/ws", &with(name))).await;
    assert_eq!(client.upgraded().await.header("set-cookie"), None);
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn cookie_with_an_age_is_renewed_by_every_answer() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let proxy = sticky(&[&a, &b], "max_age: 1h").start();
    let cookie = cookie_for(&proxy, &b).await;
    for head in answers(&proxy, &cookie).await {
        assert_eq!(backend_of(&head), b.to_string());
        let expected = format!("{cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600");
        assert_eq!(head.header("set-cookie"), Some(&*expected));
    }
    proxy.stop().await;
}

#[tokio::test]
async fn answers_of_our_own_set_no_cookie() {
    let backend = Backend::echo();
    let routes = "routes: [ { upstream: chat, sticky_cookie: { }, deny: [192.0.2.0/24], origins: [none] }, \
                  { path: /strip, upstream: chat, sticky_cookie: { }, strip_prefix: /strip } ]";
    let setup = Proxy::before(&[&backend]).routes(routes).with("trusted_proxies: [ 127.0.0.0/8 ]");
    let proxy = setup.clone().start();
    let plain = |target: &str, fields: &str| format!("{target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut requests = vec![
        (plain("GET /", "X-Forwarded-For: 192.0.2.1\r\n"), 403),
        (handshake("/", "Origin: https://a.example\r\n"), 403),
        (handshake("/", "").replace("Version: 13", "Version: 12"), 426),
        (plain("GET /strip/../b", ""), 400),
        (plain("OPTIONS /", "Max-Forwards: 0\r\n"), 204),
    ];
    let asked = async |proxy: &Proxy, requests: &[(String, u16)]| {
        for (request, status) in requests {
            let mut client = proxy.client().await;
            client.send(request).await;
            let response = client.response().await;
            assert_eq!(response.status(), *status, "{request}");
            assert_eq!(response.head.header("set-cookie"), None, "{request}");
        }
    };
    asked(&proxy, &requests).await;
    assert_eq!(backend.heads().len(), 0);
    proxy.stop().await;
    requests = vec![(plain("GET /", ""), 503), (handshake("/", ""), 503)];
    let proxy = setup.backend(0, "down: true").start();
    asked(&proxy, &requests).await;
    proxy.stop().await;
}

#[tokio::test]
async fn rules_of_the_route_come_after_the_cookie() {
    for (rules, expected) in
        [("add: { Set-Cookie: seen=1 }", 2), ("set: { Set-Cookie: seen=1 }", 1), ("remove: [Set-Cookie]", 0)]
    {
        let routes = format!("routes: [ {{ upstream: chat, sticky_cookie: {{ }}, response_headers: {{ {rules} }} }} ]");
        let backend = Backend::echo();
        let proxy = Proxy::before(&[&backend]).routes(&routes).start();
        for head in answers(&proxy, "a=1").await {
            let cookies = head.headers("set-cookie");
            assert_eq!(cookies.len(), expected, "{rules}: {cookies:?}");
            assert_eq!(cookies.iter().any(|cookie| cookie.starts_with("longwire=")), expected == 2, "{cookies:?}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn handshake_waits_for_its_busy_backend_and_then_goes_to_another() {
    let (busy, free) = (Backend::by_hand(), Backend::echo());
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("sticky.key"), KEY).unwrap();
    let with_key = |backends: &[&Backend]| setup(backends).with("sticky_key_file: sticky.key").base(folder.path());
    // The cookie of `busy` comes from a proxy of the fleet that had nothing else.
    let alone = with_key(&[&busy]).start();
    let mut client = alone.client().await;
    client.send(handshake("/", "")).await;
    let (mut at_backend, head) = busy.asked().await;
    at_backend.accept(&head, "").await;
    let cookie = with(cookie_of(&client.upgraded().await).unwrap());
    let upstream = "balance: round_robin, max_handshakes: 1";
    let patient = with_key(&[&busy, &free]).upstream(upstream).start();
    let mut first = patient.client().await;
    first.send(handshake("/", &cookie)).await;
    let (mut first_at_backend, head) = busy.asked().await;
    let mut second = patient.client().await;
    second.send(handshake("/", &cookie)).await;
    // Who asks for no backend passes by.
    for _ in 0..2 {
        let (client, head) = session(&patient, "").await;
        assert_eq!(backend_of(&head), free.to_string());
        client.leave().await;
    }
    first_at_backend.accept(&head, "").await;
    first.upgraded().await;
    let (mut second_at_backend, head) = within("the second handshake", busy.asked()).await;
    second_at_backend.accept(&head, "").await;
    assert_eq!(second.upgraded().await.header("set-cookie"), None);
    // With less patience: the place never comes free.
    let hasty = with_key(&[&busy, &free]).upstream(upstream).timeout("connect", "3s").start();
    let mut first = hasty.client().await;
    first.send(handshake("/", &cookie)).await;
    let (_held, _) = busy.asked().await;
    let (client, head) = session(&hasty, &cookie).await;
    assert_eq!(backend_of(&head), free.to_string());
    assert_stays(&hasty, cookie_of(&head).unwrap(), &free).await;
    drop((client, first));
    drop((alone, patient));
    hasty.stop().await;
}

#[tokio::test]
async fn route_without_the_key_passes_cookies_and_sets_none() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let sticky = setup(&[&a, &b]).start();
    let cookie = cookie_for(&sticky, &a).await;
    let proxy = Proxy::start(&[&a, &b]);
    let before = (a.heads().len(), b.heads().len());
    for head in answers(&proxy, &cookie).await {
        assert_eq!(head.header("set-cookie"), None);
    }
    let heads: Vec<_> = a.heads().into_iter().skip(before.0).chain(b.heads().into_iter().skip(before.1)).collect();
    assert_eq!(heads.len(), 2);
    assert!(heads.iter().all(|head| head.header("cookie") == Some(&cookie)), "{heads:?}");
    drop(sticky);
    proxy.stop().await;
}
