//! Where spans go.

use super::Resolver;
use crate::config::{Tracing, file};

impl Resolver {
    pub(super) fn tracing(&mut self, tracing: file::Tracing) -> Tracing {
        let at = self.root.key("tracing");
        let file::Tracing { endpoint, service_name, sample } = tracing;
        if !cfg!(feature = "otlp") {
            self.error(at.clone(), "this build has no traces: build it with --features otlp", "or remove this key");
        }
        if endpoint.is_grpc() {
            let help = "a collector takes OTLP over HTTP on port 4318";
            self.warn(at.key("endpoint"), "4317 is the port of OTLP over gRPC, which longwire does not speak", help);
        }
        if service_name.is_empty() {
            self.error(at.key("service_name"), "a service has a name", "remove the key for longwire");
        }
        Tracing { endpoint: endpoint.0, service_name, sample: sample.0 }
    }
}
