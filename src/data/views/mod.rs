//! What a training loop asks of the data, and who answers.

mod contract;
mod bench;
mod held;
mod multicrop;
mod plain;
mod sheet;

pub use bench::time_views;
pub use contract::Views;
pub use multicrop::MultiCrop;
pub use plain::PlainViews;
pub use sheet::contact_sheet;

#[cfg(test)]
mod tests;
