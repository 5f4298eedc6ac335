//! Plan and run: decides what must run, and runs it.

mod decide;
mod event;
mod gpu;
mod lock;
mod pieces;
mod plan;
mod rebuild;
mod room;
mod run;
mod states;
mod work;

pub use decide::{Places, Reason};
pub use event::{Event, Outcome, Status, Summary};
pub use lock::{Drift, Figure, LOCK_FORMAT, Level, Lock, LockedNode, lock, verify};
pub use plan::{Planned, plan};
pub use rebuild::{Lab, Off, Remade, rebuild};
pub use run::{Options, run};
