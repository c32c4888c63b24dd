//! Waits for conditions, never for time.

use std::time::{Duration, Instant};

/// A machine that needs longer is broken.
const LIMIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `probe` returns something.
pub fn for_some<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "{LIMIT:?} passed, and still not: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for_some(what, || condition().then_some(()));
}
