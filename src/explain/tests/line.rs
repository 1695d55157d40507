//! A record that a test describes.

/// A session that ends well, unless something else is said.
#[derive(Debug, Clone)]
pub(in crate::explain) struct RecordLine {
    began: f64,
    age: f64,
    client: String,
    route: String,
    backend: String,
    cause: String,
    how: &'static str,
    status: u16,
    silences: [(f64, f64); 2],
    pings: [u32; 2],
    frames: u32,
    has_answered: bool,
    is_refused: bool,
    is_old: bool,
}

impl RecordLine {
    /// When the log begins, in seconds since 1970.
    pub(in crate::explain) const BEGIN: i64 = 1_772_323_200;

    /// A session of one of four routes, three backends and twenty networks, that begins within an hour.
    pub(in crate::explain) fn new(number: u32) -> Self {
        Self {
            began: super::spread(number, 0.0, 3600.0),
            age: 100.0,
            client: format!("10.0.{}.{}", number % 20, number % 250),
            route: format!("*/{}/", number % 4),
            backend: format!("192.0.2.{}:80", number % 3),
            cause: "client_close".to_owned(),
            how: "close",
            status: 101,
            silences: [(super::spread(number, 0.0, 20.0), super::spread(number, 0.0, 15.0)); 2],
            pings: [0; 2],
            frames: 20,
            has_answered: false,
            is_refused: false,
            is_old: false,
        }
    }

    pub(in crate::explain) fn age(self, age: f64) -> Self {
        Self { age, ..self }
    }

    pub(in crate::explain) fn began(self, began: f64) -> Self {
        Self { began, ..self }
    }

    pub(in crate::explain) fn ended(self, ended: f64) -> Self {
        Self { began: ended - self.age, ..self }
    }

    pub(in crate::explain) fn client(self, client: &str) -> Self {
        Self { client: client.to_owned(), ..self }
    }

    pub(in crate::explain) fn route(self, route: &str) -> Self {
        Self { route: route.to_owned(), ..self }
    }

    pub(in crate::explain) fn backend(self, backend: &str) -> Self {
        Self { backend: backend.to_owned(), ..self }
    }

    pub(in crate::explain) fn cause(self, cause: &str) -> Self {
        Self { cause: cause.to_owned(), how: "ours", ..self }
    }

    pub(in crate::explain) fn how(self, how: &'static str) -> Self {
        Self { how, ..self }
    }

    pub(in crate::explain) fn lost(self, side: &str, how: &'static str) -> Self {
        Self { cause: format!("{side}_lost"), how, ..self }
    }

    pub(in crate::explain) fn dead(self, side: &str) -> Self {
        Self { cause: format!("{side}_dead"), how: "silent", ..self }
    }

    /// The seconds in which nothing came from a side, and in which nothing went to it.
    pub(in crate::explain) fn silent(mut self, side: &str, from: f64, to: f64) -> Self {
        self.silences[usize::from(side == "backend")] = (from, to);
        self
    }

    pub(in crate::explain) fn pings(self, client: u32, backend: u32) -> Self {
        Self { pings: [client, backend], ..self }
    }

    pub(in crate::explain) fn answered(self) -> Self {
        Self { has_answered: true, ..self }
    }

    pub(in crate::explain) fn mute(self) -> Self {
        Self { frames: 0, ..self }
    }

    pub(in crate::explain) fn refused(self, status: u16, cause: &str) -> Self {
        Self { is_refused: true, status, cause: cause.to_owned(), ..self }
    }

    /// Without the fields that an older longwire did not write.
    pub(in crate::explain) fn old(self) -> Self {
        Self { is_old: true, ..self }
    }

    pub(in crate::explain) fn json(&self) -> String {
        let time = jiff::Timestamp::from_millisecond(Self::BEGIN * 1000 + (self.began * 1000.0) as i64).unwrap();
        let mut record = serde_json::json!({
            "time": time, "kind": if self.is_refused { "request" } else { "session" }, "client": self.client, "route": self.route,
            "backend": self.backend, "status": self.status, "cause": self.cause, "duration_ms": self.age * 1000.0,
        });
        if self.is_refused {
            record["handshake"] = true.into();
            record["duration_ms"] = 1.0.into();
            return record.to_string();
        }
        let ([(from_client, to_client), (from_backend, to_backend)], [client, backend]) = (self.silences, self.pings);
        let fields = [
            ("frames_to_client", self.frames.into()),
            ("frames_to_backend", self.frames.into()),
            ("pings_client", client.into()),
            ("pings_backend", backend.into()),
        ];
        let new = [
            ("silence_from_client_ms", (from_client * 1000.0).into()),
            ("silence_to_client_ms", (to_client * 1000.0).into()),
            ("silence_from_backend_ms", (from_backend * 1000.0).into()),
            ("silence_to_backend_ms", (to_backend * 1000.0).into()),
            ("how", self.how.into()),
        ];
        for (field, value) in fields.into_iter().chain(new.into_iter().filter(|_| !self.is_old)) {
            record[field] = value;
        }
        if self.has_answered {
            record["rtt_last_ms"] = 20.5.into();
        }
        record.to_string()
    }
}
