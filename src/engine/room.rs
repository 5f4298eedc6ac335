//! What running nodes occupy: cores by those that want several, and GPUs.
//!
//! A node that is content with one core always has room, as far as `--jobs` goes: it runs beside a training.

use crate::stage::{Cores, Needs};

/// What is free and what is taken in one run.
pub(super) struct Room {
    cores: usize,
    taken_cores: usize,
    gpus: usize,
    taken_gpus: usize,
}

impl Room {
    pub fn new(gpus: usize) -> Self {
        Self { cores: std::thread::available_parallelism().map_or(1, usize::from), taken_cores: 0, gpus, taken_gpus: 0 }
    }

    /// How many cores a node keeps from others that want several; never more than there are.
    fn cores(&self, needs: Needs) -> usize {
        match needs.cores {
            Cores::Some(0 | 1) => 0,
            Cores::Some(n) => n.min(self.cores),
            Cores::All => self.cores,
        }
    }

    pub fn has(&self, needs: Needs) -> bool {
        let cores = self.cores(needs);
        (cores == 0 || self.taken_cores + cores <= self.cores) && self.taken_gpus + needs.gpus <= self.gpus
    }

    pub fn take(&mut self, needs: Needs) {
        self.taken_cores += self.cores(needs);
        self.taken_gpus += needs.gpus;
    }

    pub fn leave(&mut self, needs: Needs) {
        self.taken_cores -= self.cores(needs);
        self.taken_gpus -= needs.gpus;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trainings_take_turns_and_small_nodes_run_beside_them() {
        let mut room = Room { cores: 8, taken_cores: 0, gpus: 1, taken_gpus: 0 };
        let needs = |cores, gpus| Needs { cores, gpus };
        room.take(needs(Cores::All, 0));
        assert!(!room.has(needs(Cores::All, 0)) && !room.has(needs(Cores::Some(2), 0)));
        assert!(room.has(needs(Cores::Some(1), 0)) && room.has(needs(Cores::Some(1), 1)));
        room.leave(needs(Cores::All, 0));
        room.take(needs(Cores::Some(6), 1));
        assert!(room.has(needs(Cores::Some(2), 0)) && !room.has(needs(Cores::Some(3), 0)));
        assert!(!room.has(needs(Cores::Some(1), 1)));
    }
}
