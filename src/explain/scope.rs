//! Where a pattern is: everywhere, or only at one route, backend or network.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use super::{
    Evidence,
    chance::ln_poisson_deficit,
    facts::{EndFacts, NetworkPrefix},
    peaks::FEWEST,
};

/// The most values of one dimension at each of which a pattern is told by itself. With more, it is told once for all.
const MOST_PLACES: usize = 8;
/// The most facts of which it is counted where they are. Of more, one in several stands for the others.
const MOST_COUNTED: usize = 1 << 17;
/// A place has a pattern if it has at least this part of the rate of the place with most cases.
const SAME: f64 = 0.2;
/// The others have no pattern if they have at most this part of the cases that this rate would give them.
const SPARED: f64 = 0.2;
/// The chance that the others have so few by chance is at most this.
const CHANCE_OF_SPARED: f64 = 1e-4;
/// The others must be at least this part of all, or too little is known of them.
const LEAST_OTHERS: f64 = 0.1;

/// A part of all records: `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct PatternScope {
    pub(super) route: Option<u16>,
    pub(super) backend: Option<u16>,
    pub(super) network: Option<NetworkPrefix>,
}

/// One of the three things that a scope can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dimension {
    Route,
    Backend,
    Network,
}

/// A place of one dimension, as a number.
pub(super) type PlaceNumber = u64;

impl PatternScope {
    pub(super) fn holds(&self, facts: &EndFacts) -> bool {
        self.route.is_none_or(|route| route == facts.route)
            && self.backend.is_none_or(|backend| backend == facts.backend)
            && self.network.is_none_or(|network| Some(network) == facts.network)
    }
}

impl Dimension {
    /// Where these facts are, in this dimension; `None` = nowhere.
    pub(super) fn place(self, facts: &EndFacts) -> Option<PlaceNumber> {
        match self {
            Self::Route => Some(facts.route.into()).filter(|route| *route > 0),
            Self::Backend => Some(facts.backend.into()).filter(|backend| *backend > 0),
            Self::Network => facts.network.map(NetworkPrefix::bits),
        }
    }

    /// The part of a scope in which these facts are; `None`: the scope is one place already, or they are nowhere.
    pub(super) fn narrowed(self, scope: PatternScope, facts: &EndFacts) -> Option<PatternScope> {
        self.place(facts).filter(|_| self.is_free(&scope)).map(|_| self.within(scope, facts))
    }

    fn is_free(self, scope: &PatternScope) -> bool {
        match self {
            Self::Route => scope.route.is_none(),
            Self::Backend => scope.backend.is_none(),
            Self::Network => scope.network.is_none(),
        }
    }

    fn within(self, scope: PatternScope, facts: &EndFacts) -> PatternScope {
        match self {
            Self::Route => PatternScope { route: Some(facts.route), ..scope },
            Self::Backend => PatternScope { backend: Some(facts.backend), ..scope },
            Self::Network => PatternScope { network: facts.network, ..scope },
        }
    }
}

/// To which facts a pattern could have happened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exposed<'e> {
    pub(super) which: fn(&EndFacts) -> bool,
    /// The age that they have at least, in seconds. What ended before could not fall victim to a limit.
    pub(super) age: f64,
    /// Whether the cases lie in a peak. Then a place that has the same peak has the pattern, however rarely.
    pub(super) is_peak: bool,
    /// Where it is told already.
    pub(super) told: &'e [PatternScope],
}

impl Exposed<'_> {
    pub(super) fn holds(&self, facts: &EndFacts) -> bool {
        let is_old_enough = self.age <= 0.0 || facts.age.seconds().is_some_and(|age| age >= self.age);
        is_old_enough && (self.which)(facts) && !is_in_any(self.told, facts)
    }
}

/// Whether one of these scopes has these facts.
pub(super) fn is_in_any(scopes: &[PatternScope], facts: &EndFacts) -> bool {
    scopes.iter().any(|scope| scope.holds(facts))
}

/// The cases of a pattern, each with what it weighs: more than nothing inside of the peak, less beside it, so that the sum is
/// the number of cases above what is usual.
pub(super) struct Weighed {
    /// The place of the facts in the evidence.
    pub(super) fact: u32,
    pub(super) weight: f64,
}

/// What is known of one place.
#[derive(Debug, Clone, Copy, Default)]
struct PlaceCount {
    /// Cases above what is usual.
    cases: f64,
    /// Those that would be there anyhow.
    usual: f64,
    /// All to which it could have happened.
    all: f64,
    /// One of the facts there.
    fact: u32,
}

/// What is known of each place.
type PlaceCounts = HashMap<PlaceNumber, PlaceCount, BuildHasherDefault<PlaceHasher>>;

/// Hashes the number of a place by one multiplication (Fibonacci hashing). The records choose no number: those of routes and
/// backends are given in turn, and a network is told only with its own cases.
#[derive(Debug, Default)]
pub(super) struct PlaceHasher(u64);

impl Hasher for PlaceHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number) * 0x9e37_79b9_7f4a_7c15;
        // Both halves have bits of each bit of the number.
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

/// The scopes at which the pattern is, and nowhere else: narrowed by one dimension after the other.
pub(super) fn narrow(
    evidence: &Evidence,
    cases: &[Weighed],
    dimensions: &[Dimension],
    exposed: Exposed<'_>,
) -> Vec<PatternScope> {
    let mut scopes = vec![PatternScope::default()];
    for dimension in dimensions {
        let split = |scope: PatternScope| match split(evidence, cases, *dimension, scope, exposed) {
            Some(scopes) => scopes,
            None => vec![scope],
        };
        scopes = scopes.into_iter().flat_map(split).collect();
    }
    for scope in &mut scopes {
        let routed = PatternScope { route: None, ..*scope };
        if scope.network.is_some() && split(evidence, cases, Dimension::Route, routed, exposed).is_none() {
            // A network that uses only one route is told as a network.
            *scope = routed;
        }
        if dimensions.contains(&Dimension::Backend) {
            name_only_backend(evidence, scope);
        }
    }
    scopes
}

/// Names the backend of a scope that is a route, if the route has only one backend, which no other route has.
fn name_only_backend(evidence: &Evidence, scope: &mut PatternScope) {
    let (Some(route), None) = (scope.route, scope.backend) else { return };
    let mut tried = evidence.facts.iter().filter(|facts| facts.backend > 0);
    let Some(backend) = tried.clone().find(|facts| facts.route == route).map(|facts| facts.backend) else { return };
    if tried.all(|facts| (facts.route == route) == (facts.backend == backend)) {
        scope.backend = Some(backend);
    }
}

/// The parts of `scope` to which the pattern is confined in a dimension. `None`: it is not.
fn split(
    evidence: &Evidence,
    cases: &[Weighed],
    dimension: Dimension,
    scope: PatternScope,
    exposed: Exposed<'_>,
) -> Option<Vec<PatternScope>> {
    if !dimension.is_free(&scope) {
        return None;
    }
    let places = count(evidence, cases, dimension, scope, exposed);
    let most = places.values().copied().max_by(|a, b| a.cases.total_cmp(&b.cases))?;
    let rate = most.cases / most.all.max(1.0);
    let has_it = |place: &PlaceCount| {
        let is_sure = place.cases >= FEWEST as f64 && place.cases >= 3.0 * place.usual.sqrt();
        is_sure && (exposed.is_peak || place.cases >= SAME * rate * place.all)
    };
    let (mut hit, mut others) = (Vec::new(), PlaceCount::default());
    for place in places.values() {
        if has_it(place) {
            hit.push(*place);
        } else {
            others.cases += place.cases;
            others.all += place.all;
        }
    }
    let (hit_cases, hit_all) =
        hit.iter().fold((0.0, 0.0), |(cases, all), place| (cases + place.cases, all + place.all));
    let expected = hit_cases / hit_all.max(1.0) * others.all;
    let is_confined = ln_poisson_deficit(others.cases, expected) <= CHANCE_OF_SPARED.ln()
        && others.cases <= SPARED * expected
        && others.all >= LEAST_OTHERS * (others.all + hit_all)
        && (1..=MOST_PLACES).contains(&hit.len());
    if !is_confined {
        return None;
    }
    hit.sort_by(|a, b| b.cases.total_cmp(&a.cases).then(a.fact.cmp(&b.fact)));
    Some(
        hit.iter()
            .filter_map(|place| Some(dimension.within(scope, evidence.facts.get(place.fact as usize)?)))
            .collect(),
    )
}

fn count(
    evidence: &Evidence,
    cases: &[Weighed],
    dimension: Dimension,
    scope: PatternScope,
    exposed: Exposed<'_>,
) -> PlaceCounts {
    let mut places = PlaceCounts::default();
    for case in cases {
        let Some(facts) = evidence.facts.get(case.fact as usize).filter(|facts| scope.holds(facts)) else { continue };
        if let Some(place) = dimension.place(facts) {
            let count = places.entry(place).or_insert_with(|| PlaceCount { fact: case.fact, ..PlaceCount::default() });
            count.cases += case.weight;
            count.usual += (-case.weight).max(0.0);
        }
    }
    let step = evidence.facts.len().div_ceil(MOST_COUNTED).max(1);
    for (fact, facts) in evidence.numbered().step_by(step) {
        if exposed.holds(facts)
            && scope.holds(facts)
            && let Some(place) = dimension.place(facts)
        {
            places.entry(place).or_insert_with(|| PlaceCount { fact, ..PlaceCount::default() }).all += step as f64;
        }
    }
    // The cases are some of all, even where few are counted.
    for place in places.values_mut() {
        place.all = place.all.max(place.cases);
    }
    places
}
