//! What a loop will ask for, made before it asks: in order, a few ahead, on threads of their own.
//!
//! Unaware of what is made. What comes out depends on the number of the step alone, so on no number of threads.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::Scope;

use crate::diagnostic::{Context, Failure};

/// The steps of a loop, each made ahead of its turn.
///
/// At most `waiting` steps wait to be asked for while one more is being made: memory is bounded however slow the loop is.
pub struct Ahead<T> {
    made: Receiver<Result<T, Failure>>,
}

impl<T: Send> Ahead<T> {
    /// Begins to make `steps` one after the other. `make` runs among `threads` threads that do nothing else, over which its parallel
    /// loops spread; they end with the last step, with the first that fails, or when this is dropped.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        steps: Range<u64>,
        waiting: usize,
        threads: usize,
        make: impl Fn(u64) -> Result<T, Failure> + Send + Sync + 'scope,
    ) -> Result<Self, Failure>
    where
        T: 'scope,
    {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("views {i}"));
        let pool = pool.build().doing(|| format!("failed to start {threads} threads for the views"))?;
        let (sender, made) = sync_channel(waiting);
        scope.spawn(move || {
            for step in steps {
                let made = pool.install(|| make(step));
                let failed = made.is_err();
                if sender.send(made).is_err() || failed {
                    return;
                }
            }
        });
        Ok(Self { made })
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = Result<T, Failure>;

    /// Returns the next step, as soon as it is made, or what kept it from being made: then there is none after it.
    fn next(&mut self) -> Option<Self::Item> {
        self.made.recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use rayon::prelude::*;

    use super::*;

    #[test]
    fn steps_come_in_order_and_are_the_same_for_any_number_of_threads() {
        let all = |threads: usize| -> Vec<Vec<u64>> {
            std::thread::scope(|scope| {
                let make = |step| Ok((0..50u64).into_par_iter().map(|i| step * 1000 + i * i).collect());
                let mut ahead = Ahead::start(scope, 3..20, 2, threads, make).unwrap();
                let steps = ahead.by_ref().map(Result::unwrap).collect();
                assert!(ahead.next().is_none());
                steps
            })
        };
        let one = all(1);
        assert_eq!((one[0][0], one[16][0]), (3000, 19_000));
        assert_eq!((&one, &one), (&all(2), &all(5)));
    }

    #[test]
    fn no_more_steps_are_made_than_may_wait() {
        let begun = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let make = |step: u64| {
                begun.fetch_add(1, Ordering::SeqCst);
                Ok(step)
            };
            let mut ahead = Ahead::start(scope, 0..1000, 2, 1, make).unwrap();
            let begun_after = |n: u64| {
                let start = Instant::now();
                while begun.load(Ordering::SeqCst) < n && start.elapsed() < Duration::from_secs(20) {
                    std::thread::yield_now();
                }
                std::thread::park_timeout(Duration::from_millis(30));
                begun.load(Ordering::SeqCst)
            };
            // Two wait, and one that is made waits for room.
            assert_eq!(begun_after(3), 3);
            assert_eq!(ahead.next().unwrap().unwrap(), 0);
            assert_eq!(begun_after(4), 4);
        });
    }

    #[test]
    fn a_step_that_cannot_be_made_says_why_in_its_turn_and_ends_the_work() {
        std::thread::scope(|scope| {
            let make = |step: u64| if step == 2 { Err(Failure::new("no picture")) } else { Ok(step) };
            let mut ahead = Ahead::start(scope, 0..9, 4, 2, make).unwrap();
            assert_eq!([0, 1].map(|_| ahead.next().unwrap().unwrap()), [0, 1]);
            assert_eq!(ahead.next().unwrap().unwrap_err().message(), "no picture");
            assert!(ahead.next().is_none());
        });
    }
}
