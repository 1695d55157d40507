//! How the balancer in front chooses an instance: Maglev's table, built as in section 3.4 of Eisenbud and others, "Maglev: A Fast and
//! Reliable Software Network Load Balancer" (NSDI 2016).

use longwire::balance::random_at;

/// The table is at least so many times longer than the list of instances, so that their parts differ by 1 % at most.
const TIMES: usize = 100;

/// For each slot the place of an instance in the list.
#[derive(Debug)]
pub struct Table {
    slots: Vec<u16>,
}

impl Table {
    /// The length of the table for so many instances, those included that are out: a table whose length changes moves every flow.
    pub fn length(instances: usize) -> usize {
        (TIMES * instances.max(1)..).find(|&number| is_prime(number)).unwrap_or(2)
    }

    /// The table for those of the instances that are `in_turn`. The hash is of the place in the list, which stands for the name.
    pub fn new(length: usize, in_turn: &[bool]) -> Self {
        const FREE: u16 = u16::MAX;
        let mut slots = vec![FREE; length];
        let mut preferences: Vec<_> = (0_u16..)
            .zip(in_turn)
            .filter(|(_, is_in)| **is_in)
            .map(|(place, _)| {
                let hash = |salt: u64| random_at((u64::from(place) << 1) | salt);
                let (modulus, skips) = (length as u64, length as u64 - 1);
                // Each instance wants all slots, in an order of its own: from an offset on, by a stride that no prime length shares.
                (place, (hash(0) % modulus) as usize, (hash(1) % skips) as usize + 1)
            })
            .collect();
        if preferences.is_empty() {
            return Self { slots: Vec::new() };
        }
        let mut filled = 0;
        'fill: loop {
            for (place, wanted, stride) in &mut preferences {
                while slots[*wanted] != FREE {
                    *wanted = (*wanted + *stride) % length;
                }
                slots[*wanted] = *place;
                filled += 1;
                if filled == length {
                    break 'fill;
                }
            }
        }
        Self { slots }
    }

    /// The instance of a flow with this hash; `None` where no instance is in turn.
    pub fn instance(&self, hash: u64) -> Option<u16> {
        let length = self.slots.len() as u64;
        (length > 0).then(|| self.slots[(hash % length) as usize])
    }

    /// The share of the slots that another table gives to another instance although theirs is in turn in both: flows that a balancer
    /// without a memory of its connections would cut.
    pub fn moved(&self, other: &Self, in_turn: &[bool]) -> f64 {
        let pairs = || self.slots.iter().zip(&other.slots);
        let stay = pairs().filter(|(ours, _)| in_turn[usize::from(**ours)]).count();
        let moved = pairs().filter(|(ours, theirs)| in_turn[usize::from(**ours)] && ours != theirs).count();
        moved as f64 / stay.max(1) as f64
    }
}

/// The hash of a client's address, where that alone decides.
pub fn hash_of_address(address: u32) -> u64 {
    random_at(u64::from(address))
}

fn is_prime(number: usize) -> bool {
    number >= 2
        && (2..).take_while(|divisor| divisor * divisor <= number).all(|divisor| !number.is_multiple_of(divisor))
}
