//! What a reload does to TLS with backends: connections and sessions of TLS stay while the file and its files say the same, and
//! none is used after a change.

use super::*;

#[tokio::test]
async fn connections_resume_from_the_second_on_and_over_a_reload_of_the_same_files() {
    let trusting = Trusting::new();
    for version in [&TLS12, &TLS13] {
        trusting.write("ca.pem", trusting.authority.pem());
        let (backend, handshakes) = Backend::secure_echo(trusting.authority.sign(&[HERE]).server(&[version], None));
        let setup = trusting.before(&[&backend], "").upstream(&format!("{}, reuse: never", trusting.upstream("")));
        let mut proxy = setup.clone().start();
        // All workers and both kinds of request share the sessions.
        for _ in 0..2 {
            assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
            proxy.session().await.leave().await;
        }
        assert_eq!(handshakes.kinds(), [Full, Resumed, Resumed, Resumed], "{version:?}");
        proxy.reload(&setup);
        // The files are written anew, but say what they said.
        trusting.write("ca.pem", trusting.authority.pem());
        proxy.reload(&setup.clone().with("via_header: true"));
        proxy.session().await.leave().await;
        assert_eq!(handshakes.kinds()[4..], [Resumed], "{version:?}");
        trusting.write("ca.pem", &format!("{}{}", Authority::new("one more").pem(), trusting.authority.pem()));
        proxy.reload(&setup);
        proxy.session().await.leave().await;
        proxy.session().await.leave().await;
        assert_eq!(handshakes.kinds()[5..], [Full, Resumed], "{version:?}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn each_of_several_backends_of_one_name_resumes_its_own_sessions() {
    let trusting = Trusting::new();
    for version in [&TLS12, &TLS13] {
        let certified = trusting.authority.sign(&["chat.internal"]);
        let [(one, at_one), (other, at_other)] =
            [(); 2].map(|()| Backend::secure_echo(certified.server(&[version], None)));
        let setup = trusting.before(&[&one, &other], "");
        let keys = trusting.upstream("server_name: chat.internal");
        let proxy = setup.upstream(&format!("{keys}, reuse: never")).start();
        for _ in 0..6 {
            assert_eq!(proxy.client().await.get("/", "").await.status(), 200);
        }
        for handshakes in [at_one, at_other] {
            assert_eq!(handshakes.kinds(), [Full, Resumed, Resumed], "{version:?}");
        }
        proxy.stop().await;
    }
}

#[tokio::test]
async fn as_many_connections_resume_at_once_as_came_before() {
    const MANY: usize = 30;
    let trusting = Trusting::new();
    // Each connection uses one ticket at most, and brings two.
    let (backend, handshakes) = Backend::secure_echo(trusting.authority.sign(&[HERE]).server(&[&TLS13], None));
    let proxy = trusting.before(&[&backend], "").start();
    let first = futures_util::future::join_all((0..MANY).map(|_| proxy.session())).await;
    let kinds = handshakes.kinds();
    let second = futures_util::future::join_all((0..MANY).map(|_| proxy.session())).await;
    assert_eq!(handshakes.kinds()[kinds.len()..], [Resumed; MANY]);
    for client in first.into_iter().chain(second) {
        client.leave().await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_not_used_after_a_reload_that_changes_its_tls() {
    let trusting = Trusting::new();
    let (backend, handshakes) = trusting.echo();
    let clients = Authority::new("of clients");
    clients.sign(&["longwire"]).write(trusting.folder.path(), "own");
    let setup = trusting.before(&[&backend], "");
    let mut proxy = setup.clone().start();
    let mut client = proxy.client().await;
    let mut connections = Vec::new();
    let mut get = async |connections: &mut Vec<usize>| {
        assert_eq!(client.get("/", "").await.status(), 200);
        connections.push(handshakes.kinds().len());
    };
    get(&mut connections).await;
    get(&mut connections).await;
    proxy.reload(&setup);
    get(&mut connections).await;
    assert_eq!(connections, [1, 1, 1], "nothing has changed");
    // Another authority, our certificate, its renewal, and another name.
    trusting.write("ca.pem", &format!("{}{}", Authority::new("one more").pem(), trusting.authority.pem()));
    proxy.reload(&setup);
    get(&mut connections).await;
    let with_own = trusting.before(&[&backend], "cert: own.crt, key: own.key");
    proxy.reload(&with_own);
    get(&mut connections).await;
    clients.sign(&["longwire"]).write(trusting.folder.path(), "own");
    proxy.reload(&with_own);
    get(&mut connections).await;
    proxy.reload(&trusting.before(&[&backend], "server_name: \"127.0.0.1\""));
    get(&mut connections).await;
    assert_eq!(connections[3..], [2, 3, 4, 5]);
    proxy.stop().await;
}

#[tokio::test]
async fn plain_connections_are_not_used_once_the_upstream_has_tls_and_the_reverse() {
    let trusting = Trusting::new();
    let certified = trusting.authority.sign(&[HERE]);
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(certified.server(&[], None)));
    // Speaks TLS with those who do, and plain HTTP with others.
    let backend = Backend::raw(move |backend, wire: Wire| {
        let acceptor = acceptor.clone();
        async move {
            let tcp = wire.into_tcp();
            let mut first = [0];
            match tcp.peek(&mut first).await {
                Ok(1) if first[0] == 0x16 => {
                    let stream = acceptor.accept(tcp).await.unwrap();
                    backend.echo_on(Wire::from(stream)).await;
                }
                _ => backend.echo_on(Wire::from(tcp)).await,
            }
        }
    });
    let (plain, secure) = (Proxy::before(&[&backend]), trusting.before(&[&backend], ""));
    let mut proxy = plain.clone().start();
    let mut client = proxy.client().await;
    for (setup, connections) in [(&plain, 1), (&plain, 1), (&secure, 2), (&secure, 2)] {
        let reloaded = proxy.reload(setup);
        assert_eq!(client.get("/", "").await.status(), 200);
        assert_eq!(backend.connections(), connections, "{reloaded:?}");
    }
    let reloaded = proxy.reload(&plain);
    assert_eq!(reloaded.upstreams_changed, ["chat"]);
    drop(proxy);
    let before = backend.connections();
    let mut proxy = secure.clone().start();
    let mut client = proxy.client().await;
    for (setup, connections) in [(&secure, 1), (&plain, 2), (&plain, 2)] {
        proxy.reload(setup);
        assert_eq!(client.get("/", "").await.status(), 200);
        assert_eq!(backend.connections() - before, connections);
    }
    proxy.stop().await;
}

#[tokio::test]
async fn sessions_live_on_over_a_reload_that_changes_their_tls() {
    let trusting = Trusting::new();
    let (backend, _) = trusting.echo();
    let mut proxy = trusting.before(&[&backend], "").start();
    let mut client = proxy.session().await;
    proxy.reload(&trusting.before(&[&backend], "sni: false"));
    client.send(masked(TEXT, "still here")).await;
    client.expect(unmasked(TEXT, "still here")).await;
    client.leave().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_file_that_is_broken_at_a_reload_keeps_the_old_one() {
    let trusting = Trusting::new();
    let (backend, handshakes) = trusting.echo();
    trusting.authority.sign(&["longwire"]).write(trusting.folder.path(), "own");
    trusting.write("list.crl", &trusting.authority.revoke(&[], false));
    let setup = trusting.before(&[&backend], "cert: own.crt, key: own.key, crl: list.crl");
    let proxy = setup.clone().start();
    proxy.session().await.leave().await;
    for file in ["ca.pem", "own.crt", "own.key", "list.crl"] {
        let before = fs_err::read_to_string(trusting.folder.path().join(file)).unwrap();
        trusting.write(file, "nothing");
        let error = proxy.control().reload(setup.config()).unwrap_err().to_string();
        assert!(error.contains(file), "{error}");
        proxy.session().await.leave().await;
        trusting.write(file, &before);
    }
    assert_eq!(handshakes.kinds(), [Full, Resumed, Resumed, Resumed, Resumed]);
    proxy.control().reload(setup.config()).unwrap();
    proxy.stop().await;
}
