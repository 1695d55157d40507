//! The admin interface: where an operator looks and orders, over HTTP/1.1 and JSON (docs/openapi.yaml).
//!
//! It runs on the thread for what is no worker's, until the process exits, so that it still answers in a drain. Every
//! head, body and wait is bounded, and so is the number of connections. A connection serves one request. `desk/access`
//! says who may ask, `calls` what can be asked, `views` what is answered.

mod calls;
mod metrics;
mod page;
mod rebalancing;
mod target;
mod views;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    runtime::Handle,
    sync::Semaphore,
    time::{MissedTickBehavior, timeout},
};

use super::{control::Control, desk::socket::AdminListener, history::STEP};
use crate::net::thread::vital::Fault;

/// The most connections at a time. More wait in the kernel.
const CONNECTIONS: usize = 64;
/// The most bytes of a request's head.
const HEAD: usize = 16 * 1024;
/// The most header fields of a request.
const FIELDS: usize = 64;
/// The most time from the accept to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most time from the accept to the end of the answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// The pause after a failed accept. Without free descriptors there is nothing to do but to wait for some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Answers from now on, on this runtime. `listener`: `None` = the address has to be opened first.
pub(in crate::net) fn serve(listener: Option<AdminListener>, runtime: &Handle, control: Arc<Control>) {
    runtime.spawn(async move {
        let _vital = control.vitals().guard("the admin interface");
        let Some(desk) = control.desk() else { return };
        let served = async {
            let listener = match listener {
                Some(listener) => listener,
                None => desk.open().await?,
            };
            match listener {
                AdminListener::Tcp(listener) => serve_tcp(listener, Arc::clone(&control)).await,
                AdminListener::Unix(listener, file) => {
                    file.take_back();
                    serve_unix(listener, Arc::clone(&control)).await
                }
            }
        };
        tokio::select! {
            served = served => if let Err(error) = served {
                tracing::error!(address = %desk.bind(), %error, "the admin interface cannot be served");
                control.vitals().fail("the admin interface");
            },
            () = desk.wait_for_successor() => {}
        }
    });
}

/// Takes samples for the page until the proxy is gone.
pub(in crate::net) fn watch(runtime: &Handle, control: Weak<Control>) {
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(STEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(control) = control.upgrade() else { return };
            let _vital = control.vitals().guard("the samples of the last hour");
            let Some(history) = control.history() else { return };
            history.take(control.sessions(), Instant::now());
        }
    });
}

async fn serve_tcp(listener: std::net::TcpListener, control: Arc<Control>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await.and_then(|(stream, _)| Ok((stream.local_addr()?, stream))) {
            Ok((address, stream)) => {
                control.vitals().strike(Fault::AdminLoop);
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    serve_one(stream, Some(address), control).await;
                    drop(place);
                });
            }
            Err(error) => back_off(&error).await,
        }
    }
    Ok(())
}

async fn serve_unix(listener: std::os::unix::net::UnixListener, control: Arc<Control>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    serve_one(stream, None, control).await;
                    drop(place);
                });
            }
            Err(error) => back_off(&error).await,
        }
    }
    Ok(())
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "the admin interface cannot accept");
    #[expect(clippy::disallowed_methods, reason = "nothing says when descriptors are free again")]
    tokio::time::sleep(BACK_OFF).await;
}

/// Serves one request. `address`: our address that it came to. `None` = it came by a path.
async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: Option<SocketAddr>,
    control: Arc<Control>,
) {
    let service = service_fn(|request| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(calls::answer(&control, address, request).await) }
    });
    let connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD)
            .max_headers(FIELDS)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    match timeout(DEADLINE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection to the admin interface ended"),
        Err(_) => tracing::debug!("a connection to the admin interface took too long"),
    }
}
