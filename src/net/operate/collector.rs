//! How spans leave the process: a bounded queue, a thread of the SDK that takes batches from it, and one HTTP request for
//! each batch.
//!
//! A handshake never waits for the export. A span that finds the queue full is dropped and counted.

#![expect(
    clippy::disallowed_types,
    reason = "the thread of the spans has a runtime of its own, and no worker's sockets"
)]

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, Uri,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
    },
};
use tokio::{net::TcpStream, runtime, time::timeout};

use crate::{balance::alternate, config::Tracing, metrics::SpanCounts, net::backend::connect::reach, traces::Traces};

/// The most spans that may wait for the collector.
const QUEUE: usize = 2048;
/// The most spans in one request.
const BATCH: usize = 512;
/// The longest that a span waits for others to be sent with it.
const DELAY: Duration = Duration::from_secs(1);
/// The deadline of a request to the collector, and of all its repetitions together.
const DEADLINE: Duration = Duration::from_secs(5);
/// The most bytes of a collector's answer.
const LONGEST_ANSWER: usize = 64 * 1024;

/// The source of the process's traces. Their spans go where `config` says, from a thread of its own.
pub(in crate::net) fn traces(config: Option<&Tracing>, counts: SpanCounts) -> Traces {
    Traces::new(config.and_then(|config| provider(config, counts)))
}

/// Makes the way of spans to the collector; `None` = it cannot be made, and the log says why.
fn provider(config: &Tracing, counts: SpanCounts) -> Option<SdkTracerProvider> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(CollectorClient)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&config.endpoint)
        .with_timeout(DEADLINE)
        .build()
        .inspect_err(|error| tracing::error!(%error, "there will be no traces"))
        .ok()?;
    let queue = SpanQueue::new(exporter, counts, DELAY);
    // In a trace that a client has begun, the client's flag decides and not the ratio.
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample)));
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Some(SdkTracerProvider::builder().with_span_processor(queue).with_sampler(sampler).with_resource(resource).build())
}

/// Bounds and counts the spans that wait. So the queue of the SDK is never full, and no span is dropped uncounted.
#[derive(Debug)]
struct SpanQueue {
    batches: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    counts: SpanCounts,
}

impl SpanQueue {
    fn new(exporter: impl SpanExporter + 'static, counts: SpanCounts, delay: Duration) -> Self {
        let waiting = Arc::new(AtomicUsize::new(0));
        let fails = AtomicBool::new(false);
        let exporter = CountingExporter { exporter, waiting: Arc::clone(&waiting), counts: counts.clone(), fails };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(delay)
            .build();
        Self { batches: BatchSpanProcessor::new(exporter, batches), waiting, counts }
    }
}

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Relaxed) < QUEUE {
            self.batches.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Relaxed);
            self.counts.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts the spans by outcome. Logs once that the collector takes no spans, and once that it takes them again.
#[derive(Debug)]
struct CountingExporter<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    counts: SpanCounts,
    fails: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for CountingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.waiting.fetch_sub(count, Relaxed);
        let result = self.exporter.export(batch).await;
        let failed_before = self.fails.swap(result.is_err(), Relaxed);
        let counter = if result.is_ok() { &self.counts.exported } else { &self.counts.failed };
        counter.inc_by(count as u64);
        match &result {
            Err(error) if !failed_before => tracing::warn!(%error, "the collector takes no spans: they are lost"),
            Ok(()) if failed_before => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// A client that opens a connection for each request. There is about one request a second at most, from a thread that has no
/// runtime.
#[derive(Debug)]
struct CollectorClient;

impl HttpClient for CollectorClient {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let answer = runtime.block_on(async { timeout(DEADLINE, post(request)).await });
            // A look-up of a name that still runs must not hold the thread.
            runtime.shutdown_background();
            let answer = answer.unwrap_or_else(|late| Err(late.into()));
            // The SDK passes on only that there was an error, not which.
            answer.inspect_err(|error| tracing::debug!(%error, "no answer of the collector"))
        })
    }
}

async fn post(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("no authority")?;
    let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
    let arrange = |addresses: &[SocketAddr]| alternate(addresses, |_| {});
    let socket = reach(&address, DEADLINE, arrange, TcpStream::connect::<SocketAddr>).await?.socket;
    head.headers.insert(HOST, HeaderValue::try_from(authority.as_str())?);
    head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // The task ends with the runtime.
    tokio::spawn(connection);
    let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use opentelemetry::trace::{Span as _, Tracer as _, TracerProvider as _};

    use super::*;
    use crate::metrics::Metrics;

    /// An exporter that reports a call, and returns when it is told to.
    #[derive(Debug)]
    struct Stuck(Mutex<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

    impl SpanExporter for Stuck {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            let ends = self.0.lock().unwrap();
            ends.0.send(()).unwrap();
            // An error here means that the test is over.
            let _ = ends.1.recv();
            Ok(())
        }
    }

    #[test]
    fn while_the_collector_is_stuck_spans_wait_up_to_a_bound_and_the_rest_are_dropped_and_counted() {
        let ((called, calls), (release, released)) = (mpsc::channel(), mpsc::channel());
        let counts = Metrics::default().spans();
        let queue = SpanQueue::new(Stuck(Mutex::new((called, released))), counts.clone(), Duration::from_secs(3600));
        let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
        let tracer = provider.tracer("test");
        let end = |count: usize| (0..count).for_each(|_| tracer.start("a span").end());
        end(BATCH);
        calls.recv().unwrap();
        end(QUEUE + 10);
        assert_eq!((counts.exported.get(), counts.dropped.get()), (0, 10));
        drop(release);
        provider.shutdown().unwrap();
        assert_eq!(counts.exported.get(), (BATCH + QUEUE) as u64);
        assert_eq!((counts.failed.get(), counts.dropped.get()), (0, 10));
    }
}
