//! Wall time and the CPU time of the whole process between two moments: what a piece of work took, on however many threads.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Started at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu: f64,
}

/// What passed, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub wall: f64,
    /// Of all threads of the process together, in user and system mode.
    pub cpu: f64,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// Returns what has passed since the start.
    pub fn read(&self) -> Spent {
        Spent { wall: self.wall.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }

    /// Does some work, and returns what it took beside what it made.
    pub fn time<T>(work: impl FnOnce() -> T) -> (T, Spent) {
        let watch = Self::start();
        let made = work();
        (made, watch.read())
    }
}

fn cpu_seconds() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_cpu_time_and_waiting_takes_wall_time() {
        let busy = Stopwatch::start();
        let mut x = 1.0f64;
        while busy.read().cpu < 0.02 {
            x = std::hint::black_box(x.sqrt() + 1.0);
        }
        let ((), waited) = Stopwatch::time(|| std::thread::park_timeout(std::time::Duration::from_millis(20)));
        assert!(busy.read().wall > 0.0 && waited.wall >= 0.02);
    }
}
