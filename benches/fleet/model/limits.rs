//! The limits of the fleet: exact while Valkey answers, and each instance's share of them (`on_loss: share`) while it does not.

/// `limits.sessions_per_client` and `limits.sessions` of the fleet.
#[derive(Debug, Clone, Copy)]
pub struct LimitRules {
    /// 0 = no limit, as for the next one.
    pub per_client: u32,
    pub sessions: u32,
    /// How many sessions each address would like to have.
    pub wanted: u32,
}

#[derive(Debug)]
pub struct Limits {
    rules: LimitRules,
    instances: usize,
    /// Of each address at each instance.
    counts: Vec<u16>,
    /// Of each address.
    totals: Vec<u32>,
    total: u32,
    /// Whether Valkey answers.
    pub is_exact: bool,
    /// The instances that live, as Valkey said last.
    pub living: u32,
}

/// How far the fleet is from its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Deviation {
    /// The most sessions of one address.
    pub most: u32,
    /// Sessions over the limit of their address, to all that may be.
    pub over: f64,
    /// Sessions that addresses want and may have, and have not, to all that may be.
    pub under: f64,
    /// All sessions to `limits.sessions`.
    pub sessions: f64,
}

impl Limits {
    pub fn new(rules: LimitRules, seats: u32, instances: usize) -> Self {
        let addresses = seats.div_ceil(rules.wanted) as usize;
        Self {
            rules,
            instances,
            counts: vec![0; addresses * instances],
            totals: vec![0; addresses],
            total: 0,
            is_exact: true,
            living: instances as u32,
        }
    }

    pub fn address(&self, id: u32) -> u32 {
        id / self.rules.wanted
    }

    /// Lets one more session in at this instance, or not. `here`: the sessions of that instance.
    pub fn admit(&mut self, id: u32, home: u16, here: u32) -> bool {
        let address = self.address(id) as usize;
        let count = &mut self.counts[address * self.instances + usize::from(home)];
        let share = |limit: u32| limit.div_ceil(self.living.max(1));
        let LimitRules { per_client, sessions, .. } = self.rules;
        let (of_client, of_all) = if self.is_exact {
            (self.totals[address] < per_client, self.total < sessions)
        } else {
            (u32::from(*count) < share(per_client), here < share(sessions))
        };
        let is_let_in = (of_client || per_client == 0) && (of_all || sessions == 0);
        if is_let_in {
            *count += 1;
            self.totals[address] += 1;
            self.total += 1;
        }
        is_let_in
    }

    pub fn leave(&mut self, id: u32, home: u16) {
        let address = self.address(id) as usize;
        self.counts[address * self.instances + usize::from(home)] -= 1;
        self.totals[address] -= 1;
        self.total -= 1;
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    pub fn deviation(&self) -> Deviation {
        let limit = if self.rules.per_client == 0 { u32::MAX } else { self.rules.per_client };
        let may = limit.min(self.rules.wanted);
        let sum = |part: &dyn Fn(u32) -> u32| self.totals.iter().map(|total| f64::from(part(*total))).sum::<f64>();
        let all = f64::from(may) * self.totals.len() as f64;
        Deviation {
            most: self.totals.iter().copied().max().unwrap_or(0),
            over: sum(&|total| total.saturating_sub(limit)) / all,
            under: sum(&|total| may.saturating_sub(total)) / all,
            sessions: f64::from(self.total) / f64::from(self.rules.sessions.max(1)),
        }
    }
}
