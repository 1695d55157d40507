//! A family of metrics that can forget series. The family of `prometheus_client` cannot list its labels.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{
        MetricType, TypedMetric,
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
};

/// First names, each with its second names. A look-up takes the two names of a pair one after the other, so it allocates
/// nothing.
#[derive(Debug, Default)]
pub(super) struct NamePairs(HashMap<String, HashSet<String>>);

/// What has a place in the metrics: everything that is configured, or has sessions or requests left.
#[derive(Debug, Default)]
pub(super) struct Living {
    /// The upstreams of each route, by its name.
    pub(super) routes: NamePairs,
    /// The backends of each upstream, by its name; `None` = all.
    pub(super) backends: Option<NamePairs>,
}

impl<'a> FromIterator<(&'a str, &'a str)> for NamePairs {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        let mut by_first = HashMap::<_, HashSet<_>>::new();
        for (first, second) in pairs {
            by_first.entry(first.to_owned()).or_default().insert(second.to_owned());
        }
        Self(by_first)
    }
}

impl NamePairs {
    fn has(&self, first: &str, second: &str) -> bool {
        self.0.get(first).is_some_and(|seconds| seconds.contains(second))
    }
}

impl Living {
    pub(super) fn has_name(&self, route: &str) -> bool {
        self.routes.0.contains_key(route)
    }

    pub(super) fn has_route(&self, route: &str, upstream: &str) -> bool {
        self.routes.has(route, upstream)
    }

    pub(super) fn has_upstream(&self, upstream: &str) -> bool {
        self.backends.as_ref().is_none_or(|backends| backends.0.contains_key(upstream))
    }

    pub(super) fn has_backend(&self, upstream: &str, backend: &str) -> bool {
        self.backends.as_ref().is_none_or(|backends| backends.has(upstream, backend))
    }
}

/// A set of labels.
pub(super) trait Label {
    /// Whether the things that the labels name live. Words of a fixed list always do.
    fn lives(&self, living: &Living) -> bool;
}

/// A part of the table that can forget.
pub(super) trait Forgetful {
    /// Forgets the series whose labels name something that is gone.
    fn forget_gone(&self, living: &Living);
}

/// The series of one metric, by their labels.
#[derive(Debug)]
pub(super) struct Series<L, M, C = fn() -> M> {
    family: Family<L, M, C>,
    /// The series of `family`. A lock, held while a series is looked up, added or removed.
    known: Arc<Mutex<HashMap<L, M>>>,
}

impl<L: Clone + Hash + Eq, M: Clone, C: MetricConstructor<M>> Series<L, M, C> {
    pub(super) fn new(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), known: Arc::default() }
    }

    /// The metric with these labels.
    pub(super) fn of(&self, labels: &L) -> M {
        let mut known = self.known();
        if let Some(metric) = known.get(labels) {
            return metric.clone();
        }
        let metric = self.family.get_or_create_owned(labels);
        known.insert(labels.clone(), metric.clone());
        metric
    }

    pub(super) fn clear(&self) {
        let mut known = self.known();
        known.clear();
        self.family.clear();
    }
}

impl<L, M, C> Series<L, M, C> {
    fn known(&self) -> MutexGuard<'_, HashMap<L, M>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Clone + Hash + Eq + Label, M: Clone, C: MetricConstructor<M>> Forgetful for Series<L, M, C> {
    fn forget_gone(&self, living: &Living) {
        let mut known = self.known();
        known.retain(|labels, _| {
            let lives = labels.lives(living);
            if !lives {
                self.family.remove(labels);
            }
            lives
        });
    }
}

impl<N, A> Forgetful for Gauge<N, A> {
    fn forget_gone(&self, _: &Living) {}
}

impl<N, A> Forgetful for Counter<N, A> {
    fn forget_gone(&self, _: &Living) {}
}

impl Forgetful for Histogram {
    fn forget_gone(&self, _: &Living) {}
}

impl<L, M, C: Clone> Clone for Series<L, M, C> {
    fn clone(&self) -> Self {
        Self { family: self.family.clone(), known: Arc::clone(&self.known) }
    }
}

impl<L, M, C> EncodeMetric for Series<L, M, C>
where
    L: Clone + Hash + Eq + EncodeLabelSet,
    M: EncodeMetric + TypedMetric,
    C: MetricConstructor<M>,
{
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.family.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}
