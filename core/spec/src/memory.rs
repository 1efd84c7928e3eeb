//! Where a pipeline's memory goes: fixed shares, divided before start.

/// What one component holds at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Bytes that do not depend on the budget: buffers, decoders.
    pub fixed_bytes: u64,
    /// Whether it keeps state that grows with the data (tables, windows).
    pub state: StateMemory,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StateMemory {
    #[default]
    None,
    /// An equal share of what the budget and its caches leave.
    Share,
    /// Half of such a share, and no more than so many bytes: what it does not hold it finds out anew.
    Cache(u64),
    /// What its options ask for, in bytes.
    Bytes(u64),
}

impl Memory {
    pub const fn fixed(bytes: u64) -> Memory {
        Memory { fixed_bytes: bytes, state: StateMemory::None }
    }
    pub const fn share(fixed_bytes: u64) -> Memory {
        Memory { fixed_bytes, state: StateMemory::Share }
    }
    pub const fn cache(fixed_bytes: u64, bytes_max: u64) -> Memory {
        Memory { fixed_bytes, state: StateMemory::Cache(bytes_max) }
    }
    pub const fn bytes(fixed_bytes: u64, state_bytes: u64) -> Memory {
        Memory { fixed_bytes, state: StateMemory::Bytes(state_bytes) }
    }
}

/// The budget of a pipeline that does not set one.
pub const MEMORY_DEFAULT_BYTES: u64 = 512 << 20;
/// Program, allocator and runtime, before any component.
pub const PROCESS_BYTES: u64 = 24 << 20;
/// Batches that an edge queues at most.
pub const EDGE_BATCHES_MAX: usize = 8;
/// Bytes that an edge queues at most, at any budget.
pub const EDGE_BYTES_MAX: u64 = 4 << 20;
/// The least an edge works with.
pub const EDGE_BYTES_MIN: u64 = 128 << 10;
/// The share of the budget that all edges together may take: one in this many.
pub const EDGES_PART: u64 = 4;

/// How a budget was divided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Division {
    pub budget_bytes: u64,
    pub edge_bytes: u64,
    /// State bytes of each component, in the order given.
    pub state_bytes: Vec<u64>,
    pub total_bytes: u64,
}

/// Divides `budget_bytes` among `edges` queues and these components.
///
/// Queues and tables may exceed their limit by one batch, which is why a share is what is left
/// after everything fixed. Fails with the bytes missing when the fixed part alone is too much.
pub fn divide(budget_bytes: u64, edges: usize, components: &[Memory]) -> Result<Division, u64> {
    let edge_bytes = (budget_bytes / EDGES_PART / edges.max(1) as u64).clamp(EDGE_BYTES_MIN, EDGE_BYTES_MAX);
    let asked = |m: &Memory| match m.state {
        StateMemory::Bytes(bytes) => m.fixed_bytes + bytes,
        _ => m.fixed_bytes,
    };
    let fixed = PROCESS_BYTES + edge_bytes * edges as u64 + components.iter().map(asked).sum::<u64>();
    let Some(left) = budget_bytes.checked_sub(fixed) else { return Err(fixed - budget_bytes) };
    let share = share(left, components);
    let state_bytes: Vec<u64> = components
        .iter()
        .map(|m| match m.state {
            StateMemory::None => 0,
            StateMemory::Share => share,
            StateMemory::Cache(bytes_max) => (share / 2).min(bytes_max),
            StateMemory::Bytes(bytes) => bytes,
        })
        .collect();
    let shared = |(m, bytes): (&Memory, &u64)| if matches!(m.state, StateMemory::Bytes(_)) { 0 } else { *bytes };
    let total_bytes = fixed + components.iter().zip(&state_bytes).map(shared).sum::<u64>();
    Ok(Division { budget_bytes, edge_bytes, state_bytes, total_bytes })
}

/// The share of those bytes that each gets: what a cache does not take goes to the others.
fn share(bytes: u64, components: &[Memory]) -> u64 {
    let mut caches: Vec<u64> = Vec::new();
    let mut halves = 0;
    for component in components {
        match component.state {
            StateMemory::Share => halves += 2,
            StateMemory::Cache(bytes_max) => caches.push(bytes_max),
            _ => {}
        }
    }
    caches.sort_unstable();
    let mut left = bytes;
    for (at, bytes_max) in caches.iter().enumerate() {
        let half = left / (halves + (caches.len() - at) as u64);
        if half <= *bytes_max {
            return 2 * half;
        }
        left -= bytes_max;
    }
    match halves {
        // All of them are caches, and none wants more.
        0 => 2 * caches.last().copied().unwrap_or(0),
        _ => left / (halves / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_stay_within_the_budget() {
        let all = [Memory::fixed(1 << 20), Memory::share(0), Memory::share(0), Memory::bytes(0, 5 << 20)];
        let d = divide(256 << 20, 3, &all).unwrap();
        assert_eq!(d.state_bytes[1], d.state_bytes[2]);
        assert_eq!(d.state_bytes[3], 5 << 20);
        assert!(d.total_bytes <= d.budget_bytes && d.budget_bytes - d.total_bytes < 2);
        assert!(divide(16 << 20, 3, &all).is_err());
    }

    #[test]
    fn what_a_cache_does_not_take_goes_to_the_others() {
        let all = [Memory::share(0), Memory::cache(1 << 20, 3 << 20), Memory::cache(0, 1 << 40), Memory::fixed(7)];
        let d = divide(256 << 20, 1, &all).unwrap();
        assert_eq!(d.state_bytes[1], 3 << 20);
        assert_eq!(d.state_bytes[0] / 2, d.state_bytes[2]);
        assert!(d.total_bytes <= d.budget_bytes && d.budget_bytes - d.total_bytes < 4);
        let little = divide(40 << 20, 1, &all).unwrap();
        assert!(little.state_bytes[1] < 3 << 20 && little.state_bytes[0] == 2 * little.state_bytes[1], "{little:?}");
    }
}
