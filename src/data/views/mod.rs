//! What a training loop asks of the data, and who answers.

mod contract;
mod ahead; // the steps of a loop, made before their turn
mod bench;
mod held;
mod multicrop;
mod oriented;
mod plain;
mod sheet;

pub use ahead::Ahead;
pub use bench::{time_pictures, time_views};
pub use contract::Views;
pub use multicrop::MultiCrop;
pub use oriented::Oriented;
pub use plain::PlainViews;
pub use sheet::contact_sheet;

#[cfg(test)]
mod tests;
