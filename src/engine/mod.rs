//! Plan and run: decides what must run, and runs it.

mod decide;
mod event;
mod plan;
mod run;
mod work;

pub use decide::{Places, Reason};
pub use event::{Event, Outcome, Status, Summary};
pub use plan::{Planned, plan};
pub use run::{Options, run};
